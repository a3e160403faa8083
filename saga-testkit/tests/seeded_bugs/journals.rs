//! What the contract of journals asks for, of the journal in memory.

use std::time::Duration;

use saga_core::journal::MemoryJournal;
use saga_core::{Definition, Engine, async_trait, step_fn};
use saga_testkit::contract::{Fixture, append, fence, oracle, outbox};
use saga_testkit::seeded::assert_caught;

struct Memory;

#[async_trait]
impl Fixture for Memory {
    type Journal = MemoryJournal;

    async fn fresh(&self) -> MemoryJournal {
        MemoryJournal::new()
    }

    async fn reopen(&self, journal: &MemoryJournal) -> MemoryJournal {
        journal.clone()
    }

    async fn pass(&self, by: Duration) {
        tokio::time::advance(by).await;
    }
}

#[tokio::test(start_paused = true)]
pub(crate) async fn a_fenced_lease_can_do_nothing() {
    fence::j4_a_fenced_lease_can_do_nothing(&Memory).await;
}

#[tokio::test(start_paused = true)]
pub(crate) async fn events_are_one_leases() {
    outbox::j14_a_fenced_lease_settles_nothing_of_what_is_anothers(&Memory).await;
    outbox::j14_events_wait_for_earlier_ones_that_another_lease_has(&Memory).await;
}

#[tokio::test(start_paused = true)]
pub(crate) async fn the_same_turn_again_is_known() {
    append::j5_the_same_turn_again_is_recognised(&Memory).await;
}

#[tokio::test(start_paused = true)]
pub(crate) async fn every_answer_is_the_models() {
    oracle::every_answer_is_the_models(&Memory).await;
}

/// Whatever a journal does wrong is another answer sooner or later, without a test that was made for it.
#[test]
fn the_models_answers_are_not_those_of_a_journal_with_a_bug_are_caught() {
    for bug in ["M4", "M5", "M8", "M10", "M13", "M21", "M11"] {
        assert_caught(bug, "journals::every_answer_is_the_models", "another answer than the model's");
    }
}

#[tokio::test(start_paused = true)]
pub(crate) async fn a_changed_definition_is_refused() {
    let journal = MemoryJournal::new();
    let named = |step: &str| {
        let definition = Definition::build("order", 1, |saga, n| {
            let done = saga.query(step, step_fn(async |_, n: i64| Ok(n)), n);
            saga.returns(done)
        });
        definition.unwrap()
    };
    Engine::builder(journal.clone()).register(&named("look")).open().await.unwrap();
    let other = Engine::builder(journal).register(&named("see")).open().await;
    assert!(other.is_err(), "it opened with another definition under the same version");
}
