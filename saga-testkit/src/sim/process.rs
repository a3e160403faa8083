//! A process that can end at any point.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use saga_core::journal::Lease;
use tokio_util::sync::CancellationToken;

/// One life of the worker: once it has ended, nothing that it calls comes back.
#[derive(Debug, Default)]
pub(crate) struct Process {
    ended: AtomicBool,
    crash: CancellationToken,
    leases: Mutex<Vec<Lease>>,
}

impl Process {
    /// Ends it. What it was about to do next does not happen.
    pub(crate) fn end(&self) {
        self.ended.store(true, Ordering::Release);
        self.crash.cancel();
    }

    /// Never returns once the process has ended.
    pub(crate) async fn alive(&self) {
        if self.ended.load(Ordering::Acquire) {
            std::future::pending().await
        }
    }

    /// Ends the process, and never returns.
    pub(crate) async fn die<T>(&self) -> T {
        self.end();
        std::future::pending().await
    }

    /// Returns once it has ended.
    pub(crate) async fn crashed(&self) {
        self.crash.cancelled().await;
    }

    pub(crate) fn holds(&self, lease: Lease) {
        self.leases.lock().unwrap_or_else(PoisonError::into_inner).push(lease);
    }

    /// The leases that it had.
    pub(crate) fn leases(&self) -> Vec<Lease> {
        self.leases.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
