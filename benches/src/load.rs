//! The measuring loop: so many callers, each starting a saga and waiting for its outcome. The peers are measured by
//! this very file.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::{JoinError, JoinSet};

/// How often a slow engine is looked at for whether it has done enough.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// How to measure.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Callers, each one saga after the other.
    pub at_once: usize,
    /// How long to run before measuring, at least.
    pub warm_up: Duration,
    /// How long to measure, at least.
    pub lasting: Duration,
    /// Warm-up and measuring each go on until as many sagas have ended as there are callers, but for no longer
    /// than this in all: a slow engine shall not be measured by its first wave, nor by none.
    pub patience: Duration,
    /// Whether the callers' last sagas are waited for; otherwise they are left.
    pub drain: bool,
}

impl Load {
    /// The usual load: both limits of time are kept by any engine that ends a saga for each caller in them.
    #[must_use]
    pub fn new(at_once: usize, lasting: Duration) -> Self {
        Self { at_once, warm_up: Duration::from_millis(700), lasting, patience: Duration::from_secs(10), drain: true }
    }
}

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

/// What the callers share with the one who measures.
#[derive(Default)]
struct Progress {
    ended: AtomicU64,
    measuring: AtomicBool,
    stop: AtomicBool,
    latencies: Mutex<Vec<Duration>>,
}

/// Runs the callers: first without measuring, then measuring. `mark` is called when the measuring begins and when
/// it ends.
///
/// # Errors
/// The first failed saga.
pub async fn measure<Fut: Future<Output = Result<(), String>> + Send + 'static>(
    saga: impl Fn(String) -> Fut + Clone + Send + 'static,
    load: Load,
    mut mark: impl AsyncFnMut() -> Result<(), String>,
) -> Result<Measured, String> {
    static RUN: AtomicU64 = AtomicU64::new(0);
    let run = RUN.fetch_add(1, Ordering::Relaxed);
    let progress = Arc::new(Progress::default());
    let mut callers = JoinSet::new();
    for caller in 0..load.at_once {
        callers.spawn(call(saga.clone(), format!("{run}-{caller}"), progress.clone()));
    }
    spend(load.warm_up, &load, &progress, &mut callers).await?;
    mark().await?;
    progress.measuring.store(true, Ordering::Relaxed);
    let took = spend(load.lasting, &load, &progress, &mut callers).await?;
    progress.measuring.store(false, Ordering::Relaxed);
    mark().await?;
    progress.stop.store(true, Ordering::Relaxed);
    if load.drain {
        while let Some(ended) = callers.join_next().await {
            result(ended)?;
        }
    }
    let mut latencies = std::mem::take(&mut *progress.latencies.lock().unwrap_or_else(PoisonError::into_inner));
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

/// One caller: one saga after the other.
async fn call<Fut: Future<Output = Result<(), String>> + Send>(
    saga: impl Fn(String) -> Fut + Send,
    caller: String,
    progress: Arc<Progress>,
) -> Result<(), String> {
    let mut nth = 0_u64;
    while !progress.stop.load(Ordering::Relaxed) {
        nth += 1;
        let began = Instant::now();
        saga(format!("{caller}-{nth}-{}", std::process::id())).await?;
        progress.ended.fetch_add(1, Ordering::Relaxed);
        if progress.measuring.load(Ordering::Relaxed) {
            progress.latencies.lock().unwrap_or_else(PoisonError::into_inner).push(began.elapsed());
        }
    }
    Ok(())
}

/// Waits for `least` and for as many sagas as there are callers, and tells how long that was.
async fn spend(
    least: Duration,
    load: &Load,
    progress: &Progress,
    callers: &mut JoinSet<Result<(), String>>,
) -> Result<Duration, String> {
    let began = Instant::now();
    let enough = progress.ended.load(Ordering::Relaxed) + load.at_once as u64;
    loop {
        let so_far = began.elapsed();
        let done = so_far >= least && progress.ended.load(Ordering::Relaxed) >= enough;
        if done || so_far >= least.max(load.patience) {
            return Ok(so_far);
        }
        tokio::select! {
            Some(ended) = callers.join_next() => result(ended)?,
            () = tokio::time::sleep(least.saturating_sub(so_far).max(LOOK_EVERY)) => {}
        }
    }
}

fn result(ended: Result<Result<(), String>, JoinError>) -> Result<(), String> {
    ended.map_err(|error| error.to_string())?
}
