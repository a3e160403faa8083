//! Retention: archives and deletes ended sagas in small batches, so that it never gets in anyone's way.

use std::sync::Arc;

use tracing::warn;

use super::{Inner, telemetry};
use crate::journal::JournalError;

/// How many sagas one batch deletes: small enough to commit within milliseconds.
const BATCH: usize = 500;

pub(crate) async fn run(inner: Arc<Inner>) {
    loop {
        tokio::select! {
            biased;
            () = inner.draining.cancelled() => return,
            () = tokio::time::sleep(inner.options.housekeeping_interval) => {}
        }
        loop {
            match sweep(&inner).await {
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

/// One batch. What the archive does not take stays.
async fn sweep(inner: &Inner) -> Result<u64, JournalError> {
    let (journal, retention) = (&inner.journal, inner.options.retention);
    let expired = journal.expired(retention, BATCH).await?;
    if let Some(archive) = inner.options.archive.as_ref().filter(|_| !expired.is_empty()) {
        let histories = journal.load(&expired).await?;
        if let Err(problem) = archive.keep(&histories).await {
            warn!(%problem, sagas = expired.len(), "the archive does not take ended sagas; they stay");
            return Ok(0);
        }
    }
    journal.forget(&expired, retention).await
}
