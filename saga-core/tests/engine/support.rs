//! A world that records effects, and short ways to engines and outcomes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use saga_core::engine::EngineBuilder;
use saga_core::journal::MemoryJournal;
use saga_core::{Engine, RetryPolicy, SagaHandle, SagaOutcome, StepContext};

/// What has happened in the world, by idempotency key: an effect counts once however often it is asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct World(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    log: Vec<String>,
    effects: BTreeMap<String, String>,
}

impl World {
    pub(crate) fn note(&self, what: impl Into<String>) {
        self.0.lock().unwrap().log.push(what.into());
    }

    /// The step's effect happens, under the operation's key.
    pub(crate) fn apply(&self, cx: &StepContext) {
        let mut world = self.0.lock().unwrap();
        world.log.push(format!("{} #{}", cx.step(), cx.attempt()));
        world.effects.insert(cx.step_key().to_string(), cx.step().to_string());
    }

    /// The step's effect is undone, found by the step's key.
    pub(crate) fn undo(&self, cx: &StepContext, what: &str) {
        let mut world = self.0.lock().unwrap();
        world.log.push(format!("undo {} ({what}) #{}", cx.step(), cx.attempt()));
        world.effects.remove(&cx.step_key().to_string());
    }

    pub(crate) fn log(&self) -> Vec<String> {
        self.0.lock().unwrap().log.clone()
    }

    pub(crate) fn count(&self, what: &str) -> usize {
        self.log().iter().filter(|entry| entry.starts_with(what)).count()
    }

    pub(crate) fn standing(&self) -> Vec<String> {
        self.0.lock().unwrap().effects.values().cloned().collect()
    }
}

pub(crate) fn engine(journal: &MemoryJournal) -> EngineBuilder {
    engine_on(journal.clone())
}

pub(crate) fn engine_on(journal: impl saga_core::journal::Journal) -> EngineBuilder {
    Engine::builder(journal).lease_ttl(Duration::from_secs(3)).poll_interval(Duration::from_millis(100))
}

/// An engine for tests that wait for days of virtual time: it looks and renews rarely.
pub(crate) fn unhurried(journal: &MemoryJournal) -> EngineBuilder {
    unhurried_on(journal.clone())
}

pub(crate) fn unhurried_on(journal: impl saga_core::journal::Journal) -> EngineBuilder {
    let hour = Duration::from_secs(3600);
    engine_on(journal).lease_ttl(hour).poll_interval(hour).housekeeping_interval(hour)
}

/// Three attempts, 10 ms apart.
pub(crate) fn quick() -> RetryPolicy {
    RetryPolicy::fixed(Duration::from_millis(10)).attempts(3)
}

pub(crate) async fn completed<O: Send + 'static + std::fmt::Debug>(saga: &SagaHandle<O>) -> O {
    match saga.outcome().await.unwrap() {
        SagaOutcome::Completed(output) => output,
        other => panic!("expected completion, found {other:?}"),
    }
}

pub(crate) async fn rolled_back<O: Send + 'static + std::fmt::Debug>(saga: &SagaHandle<O>) -> String {
    match saga.outcome().await.unwrap() {
        SagaOutcome::RolledBack(failure) => failure.to_string(),
        other => panic!("expected a roll-back, found {other:?}"),
    }
}

pub(crate) async fn dead_letters<O: Send + 'static + std::fmt::Debug>(
    saga: &SagaHandle<O>,
) -> Vec<saga_core::journal::DeadLetter> {
    match saga.outcome().await.unwrap() {
        SagaOutcome::NeedsAttention(letters) => letters,
        other => panic!("expected dead letters, found {other:?}"),
    }
}

/// Waits, on virtual time, until the condition holds.
pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    for _ in 0..100_000 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("never came true: {what}");
}
