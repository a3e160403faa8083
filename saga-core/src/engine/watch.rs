//! Who waits in this process for a saga that runs in this process.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use tokio::sync::oneshot;

use super::saga::Saga;
use crate::id::SagaId;

/// Handles of sagas that were started here and run here.
#[derive(Debug, Default)]
pub(crate) struct Watchers(Mutex<HashMap<SagaId, oneshot::Sender<Box<Saga>>>>);

impl Watchers {
    /// Asks for the saga as it is when this worker lets go of it, if all of that is durable then.
    pub(crate) fn watch(&self, saga: SagaId) -> oneshot::Receiver<Box<Saga>> {
        let (sender, receiver) = oneshot::channel();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(saga, sender);
        receiver
    }

    /// Whoever waits is to ask the journal.
    pub(crate) fn forget(&self, saga: SagaId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&saga);
    }

    /// The worker lets go of the saga, for whatever reason.
    pub(crate) fn settled(&self, saga: Box<Saga>) {
        let watcher = self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&saga.id);
        if let Some(watcher) = watcher {
            // The handle may have been dropped: nobody waits then.
            watcher.send(saga).ok();
        }
    }
}
