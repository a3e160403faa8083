//! The measuring loop: so many callers, each starting a saga and waiting for its outcome.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use saga_core::{Definition, Engine, SagaOutcome};

/// What a run measured.
#[derive(Clone, Debug)]
pub struct Measured {
    /// Sagas that completed while measuring.
    pub sagas: u64,
    /// How long the measuring took.
    pub took: Duration,
    /// Half of the sagas took at most this long, from start to outcome.
    pub p50: Duration,
    /// 99 of 100 sagas took at most this long.
    pub p99: Duration,
}

/// One saga of the engine, from start to outcome.
///
/// # Errors
/// When it does not complete.
pub async fn run_saga(engine: &Engine, definition: &Definition<String, String>, key: &str) -> Result<(), String> {
    let saga = engine.start(definition, key, String::new()).await.map_err(|error| error.to_string())?;
    match saga.outcome().await.map_err(|error| error.to_string())? {
        SagaOutcome::Completed(_) => Ok(()),
        other => Err(format!("a saga that does nothing failed: {other:?}")),
    }
}

/// Runs `concurrency` callers, each one saga after the other: first without measuring for `warm_up`, then for
/// `lasting`. `mark` is called when the measuring begins and when it ends.
///
/// # Errors
/// The first failed saga.
pub async fn measure<Fut: Future<Output = Result<(), String>> + Send>(
    saga: impl Fn(String) -> Fut + Clone + Send + 'static,
    concurrency: usize,
    warm_up: Duration,
    lasting: Duration,
    mut mark: impl AsyncFnMut() -> Result<(), String>,
) -> Result<Measured, String> {
    static RUN: AtomicU64 = AtomicU64::new(0);
    let run = RUN.fetch_add(1, Ordering::Relaxed);
    let (measuring, stop) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let callers: Vec<_> = (0..concurrency)
        .map(|caller| {
            let (saga, measuring, stop) = (saga.clone(), measuring.clone(), stop.clone());
            tokio::spawn(async move {
                let mut latencies = Vec::new();
                let mut nth = 0_u64;
                while !stop.load(Ordering::Relaxed) {
                    nth += 1;
                    let began = Instant::now();
                    saga(format!("{run}-{caller}-{nth}-{}", std::process::id())).await?;
                    if measuring.load(Ordering::Relaxed) {
                        latencies.push(began.elapsed());
                    }
                }
                Ok::<_, String>(latencies)
            })
        })
        .collect();
    tokio::time::sleep(warm_up).await;
    mark().await?;
    let began = Instant::now();
    measuring.store(true, Ordering::Relaxed);
    tokio::time::sleep(lasting).await;
    measuring.store(false, Ordering::Relaxed);
    let took = began.elapsed();
    mark().await?;
    stop.store(true, Ordering::Relaxed);
    let mut latencies = Vec::new();
    for caller in callers {
        latencies.extend(caller.await.map_err(|error| error.to_string())??);
    }
    latencies.sort_unstable();
    let at = |share: f64| {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "an index"
        )]
        let index = (latencies.len() as f64 * share) as usize;
        latencies.get(index.min(latencies.len().saturating_sub(1))).copied().unwrap_or_default()
    };
    Ok(Measured { sagas: latencies.len() as u64, took, p50: at(0.5), p99: at(0.99) })
}
