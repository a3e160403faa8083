//! Retention: deletes ended sagas in small batches, so that it never gets in anyone's way.

use std::sync::Arc;

use tracing::warn;

use super::{Inner, telemetry};

/// How many sagas one batch deletes: small enough to commit within milliseconds.
const BATCH: usize = 500;

pub(crate) async fn run(inner: Arc<Inner>) {
    loop {
        tokio::select! {
            () = inner.draining.cancelled() => return,
            () = tokio::time::sleep(inner.options.housekeeping_interval) => {}
        }
        loop {
            match inner.journal.sweep(inner.options.retention, BATCH).await {
                Ok(deleted) => {
                    telemetry::swept(deleted);
                    if deleted < BATCH as u64 || inner.draining.is_cancelled() {
                        break;
                    }
                }
                Err(problem) => {
                    warn!(%problem, "ended sagas cannot be deleted; trying again later");
                    break;
                }
            }
        }
    }
}
