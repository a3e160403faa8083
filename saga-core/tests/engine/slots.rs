//! What becomes of a start while the worker has as many sagas in flight as it may have.

use std::time::Duration;

use saga_core::journal::MemoryJournal;
use saga_core::{Definition, Limits, StepContext, step_fn};
use saga_testkit::faults::FaultJournal;
use tokio::time::Instant;

use super::support::{completed, engine_on};

/// A saga whose step takes so many milliseconds.
fn takes() -> Definition<u64, u64> {
    Definition::build("takes", 1, |saga, millis| {
        let step = step_fn(async |_: StepContext, millis: u64| {
            tokio::time::sleep(Duration::from_millis(millis)).await;
            Ok(millis)
        });
        let taken = saga.query("step", step, millis);
        saga.returns(taken)
    })
    .unwrap()
}

fn one_slot() -> Limits {
    let mut limits = Limits::default();
    limits.in_flight_max = 1;
    limits
}

#[tokio::test(start_paused = true)]
async fn a_start_waits_a_moment_for_a_slot_and_then_needs_no_claim() {
    let (definition, journal) = (takes(), FaultJournal::new(MemoryJournal::new()));
    let engine = engine_on(journal.clone()).limits(one_slot()).register(&definition).open().await.unwrap();
    let first = engine.start(&definition, "first", 100).await.unwrap();
    let second = engine.start(&definition, "second", 5).await.unwrap();
    assert_eq!((completed(&first).await, completed(&second).await), (100, 5));
    assert_eq!(journal.calls("load"), 0, "nothing was claimed");
}

#[tokio::test(start_paused = true)]
async fn a_start_that_finds_no_slot_is_durable_soon_and_runs_later() {
    let (definition, journal) = (takes(), MemoryJournal::new());
    let engine = engine_on(journal).limits(one_slot()).register(&definition).open().await.unwrap();
    let first = engine.start(&definition, "first", 10_000).await.unwrap();
    let asked = Instant::now();
    let second = engine.start(&definition, "second", 5).await.unwrap();
    assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
    assert_eq!((completed(&first).await, completed(&second).await), (10_000, 5));
}
