//! Dead letters are pushed to people: the journal hands each out until its alert is acknowledged, so
//! that a worker which dies between the commit and the call loses none.

use std::fmt::Debug;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::FutureExt as _;
use tracing::{error, warn};

use super::Inner;
use super::attempt::panic_message;
use crate::journal::DeadLetter;

/// How many alerts one round hands out.
const ROUND: usize = 100;

/// Where dead letters are reported: a pager, a chat, a ticket system.
///
/// Each open dead letter is reported at least once, by one worker or another; the saga, step, op and
/// sequence name it for deduplication.
///
/// ```
/// use saga_core::{async_trait, engine::Alert, journal::DeadLetter};
///
/// #[derive(Debug)]
/// struct Pager;
///
/// #[async_trait]
/// impl Alert for Pager {
///     async fn alert(&self, letter: &DeadLetter) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
///         eprintln!("saga {} waits for a human: {}", letter.saga, letter.error);
///         Ok(())
///     }
/// }
/// ```
#[async_trait]
pub trait Alert: Debug + Send + Sync + 'static {
    /// Reports a dead letter. After an error it is reported again later.
    async fn alert(&self, letter: &DeadLetter) -> Result<(), Box<dyn std::error::Error + Send + Sync>>;
}

/// The default: an error in the log.
#[derive(Debug)]
pub(crate) struct LogAlert;

#[async_trait]
impl Alert for LogAlert {
    async fn alert(&self, letter: &DeadLetter) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        error!(
            saga.id = %letter.saga,
            saga.definition = %letter.definition,
            saga.key = %letter.key,
            saga.step = ?letter.step,
            saga.op = %letter.op,
            reason = %letter.reason,
            error = %letter.error,
            attempts = letter.attempts,
            "a saga needs attention"
        );
        Ok(())
    }
}

/// Reports what has not been reported, whenever the engine says so and at every interval.
pub(crate) async fn run(inner: Arc<Inner>) {
    loop {
        round(&inner).await;
        tokio::select! {
            biased;
            () = inner.draining.cancelled() => break,
            () = inner.alerts.notified() => {}
            () = tokio::time::sleep(inner.options.housekeeping_interval) => {}
        }
    }
    // What this worker's last sagas left behind.
    if !inner.alive.is_cancelled() {
        inner.drivers.wait().await;
        round(&inner).await;
    }
}

async fn round(inner: &Inner) {
    let letters = match inner.journal.unalerted(ROUND).await {
        Ok(letters) => letters,
        Err(problem) => {
            warn!(%problem, "dead letters cannot be read; trying again later");
            return;
        }
    };
    for letter in letters {
        // A hook that panics must not be the end of all alerts.
        let alerted = AssertUnwindSafe(inner.options.alert.alert(&letter)).catch_unwind().await;
        if let Err(problem) = alerted.unwrap_or_else(|panic| Err(panic_message(&*panic).to_owned().into())) {
            warn!(saga.id = %letter.saga, %problem, "the alert was not taken; repeating it later");
            continue;
        }
        if let Err(problem) = inner.journal.mark_alerted(std::slice::from_ref(&letter)).await {
            warn!(saga.id = %letter.saga, %problem, "the alert may be repeated: it could not be marked");
        }
    }
}
