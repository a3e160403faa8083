//! What the targets of the engine share: two definitions, one with sealed payloads, and an engine in memory.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use saga_core::codec::AesGcmCodec;
use saga_core::engine::{Alert, EngineBuilder};
use saga_core::journal::{DeadLetter, MemoryJournal};
use saga_core::{
    Definition, Engine, Outcome, SagaId, SagaOutcome, Source as _, StepContext, StepError, async_trait, step_fn,
};

/// The id of the saga in the targets: sealed payloads are bound to it.
///
/// # Panics
/// Never.
#[must_use]
pub fn saga_id(nth: usize) -> SagaId {
    format!("01980000-0000-7000-8000-00000000000{nth}").parse().unwrap()
}

/// The codec of the second definition.
///
/// # Panics
/// Never.
#[must_use]
pub fn codec() -> AesGcmCodec {
    AesGcmCodec::new("k1", [7; 32]).unwrap()
}

/// `pay`, which the journals of earlier versions hold, and `sealed`, the same with sealed payloads.
pub fn definitions() -> &'static [Definition<i64, i64>; 2] {
    static DEFINITIONS: LazyLock<[Definition<i64, i64>; 2]> =
        LazyLock::new(|| [definition("pay"), definition("sealed").with_codec(Arc::new(codec()))]);
    &DEFINITIONS
}

/// Pays 1, refuses 2, cannot at first be undone for 3, and waits for a signal for 4.
fn definition(name: &str) -> Definition<i64, i64> {
    let built = Definition::build(name, 1, |saga, n| {
        let hold = step_fn(async |_, n: i64| Ok(n)).compensate(async |cx: StepContext, n: i64, _: Outcome<i64>| {
            if n == 3 && cx.attempt() == 1 { Err(StepError::fatal("the gateway refuses the void")) } else { Ok(()) }
        });
        let held = saga.compensatable("hold", hold, n);
        let wait =
            saga.when("wait", n.map(|n: i64| n == 4), |saga| saga.wait_for::<i64, _>("go", "go", ().map(|()| None)));
        let take = step_fn(
            async |_, (n, _): (i64, Option<Option<i64>>)| {
                if n == 2 || n == 3 { Err(StepError::rejected("declined")) } else { Ok(n) }
            },
        );
        let taken = saga.pivot("take", take, (held, wait));
        saga.returns(taken)
    });
    built.unwrap()
}

/// A worker on this journal.
pub async fn worker(journal: &MemoryJournal) -> Engine {
    engine(journal).open().await.unwrap()
}

/// A worker to be, on this journal.
#[must_use]
pub fn engine(journal: &MemoryJournal) -> EngineBuilder {
    let engine = Engine::builder(journal.clone()).on_alert(Quiet);
    definitions().iter().fold(engine, |engine, definition| engine.register(definition))
}

/// One saga that cannot be read or run never stops the others: a healthy one still comes to its end.
pub async fn still_works(engine: &Engine) {
    for definition in definitions() {
        let healthy = engine.start(definition, "healthy", 1).await.unwrap();
        let outcome = tokio::time::timeout(Duration::from_secs(3_600), healthy.outcome()).await;
        let outcome = outcome.expect("the engine still works").unwrap();
        assert!(matches!(outcome, SagaOutcome::Completed(1)), "{outcome:?}");
    }
    engine.shutdown(Duration::from_secs(5)).await;
}

/// Runs with time that passes as soon as everybody waits.
pub fn in_no_time<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.unwrap().block_on(future)
}

/// Nobody is to be called.
#[derive(Debug)]
struct Quiet;

#[async_trait]
impl Alert for Quiet {
    async fn alert(&self, _letter: &DeadLetter) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        Ok(())
    }
}
