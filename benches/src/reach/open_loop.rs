//! Sagas that start on a schedule, whatever the others do.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::statistics::Latencies;

/// The first sagas meet an engine that is not under way yet.
const WARM_UP: Duration = Duration::from_secs(1);
/// How long the last sagas are waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// How it went.
pub(super) struct Kept {
    /// Sagas that ended in each second, while they were to start.
    pub(super) per_second: f64,
    /// Counted from when each saga was to start, not from when it did: an engine that stalls is late for all that
    /// were due meanwhile.
    pub(super) latencies: Latencies,
}

/// Starts so many sagas in each second.
///
/// # Errors
/// The first failed saga, or that some do not end.
pub(super) async fn open_loop<Fut: Future<Output = Result<(), String>> + Send + 'static>(
    saga: impl Fn(String) -> Fut + Clone + Send + 'static,
    per_second: f64,
    lasting: Duration,
) -> Result<Kept, String> {
    static RUN: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    let run = RUN.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let began = Instant::now();
    let (counts_from, ends) = (began + WARM_UP, began + WARM_UP + lasting);
    let (ended, mut endings) = mpsc::unbounded_channel();
    let mut sagas = JoinSet::new();
    for nth in 0_u64.. {
        let due = began + Duration::from_secs_f64(nth as f64 / per_second);
        if due >= ends {
            break;
        }
        if due > Instant::now() {
            while let Some(joined) = sagas.try_join_next() {
                joined.map_err(|error: tokio::task::JoinError| error.to_string())??;
            }
            tokio::time::sleep_until(due).await;
        }
        let (saga, ended) = (saga(format!("open-{run}-{nth}-{}", std::process::id())), ended.clone());
        sagas.spawn(async move {
            saga.await?;
            ended.send((due, Instant::now())).map_err(|error| error.to_string())
        });
    }
    drop(ended);
    let rest = async {
        while let Some(joined) = sagas.join_next().await {
            joined.map_err(|error| error.to_string())??;
        }
        Ok::<_, String>(())
    };
    tokio::time::timeout(PATIENCE, rest).await.map_err(|_| "the sagas of the schedule do not end")??;
    let (mut latencies, mut in_time) = (Vec::new(), 0_u64);
    while let Some((due, ended)) = endings.recv().await {
        in_time += u64::from(ended >= counts_from && ended < ends);
        if due >= counts_from {
            latencies.push(ended - due);
        }
    }
    Ok(Kept { per_second: in_time as f64 / lasting.as_secs_f64(), latencies: Latencies::new(latencies) })
}
