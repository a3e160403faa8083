//! Who waits in this process for a saga that runs in this process.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use tokio::sync::oneshot;

use super::saga::Saga;
use crate::id::SagaId;
use crate::machine::SagaState;

/// Handles of sagas that were started here and run here.
#[derive(Debug, Default)]
pub(crate) struct Watchers(Mutex<HashMap<SagaId, oneshot::Sender<SagaState>>>);

impl Watchers {
    /// Asks for the state in which this worker lets go of the saga.
    pub(crate) fn watch(&self, saga: SagaId) -> oneshot::Receiver<SagaState> {
        let (sender, receiver) = oneshot::channel();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(saga, sender);
        receiver
    }

    pub(crate) fn forget(&self, saga: SagaId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&saga);
    }

    /// The worker lets go of the saga, for whatever reason.
    pub(crate) fn settled(&self, saga: Saga) {
        let watcher = self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&saga.id);
        if let Some(watcher) = watcher {
            // The handle may have been dropped: nobody waits then.
            watcher.send(saga.into_state()).ok();
        }
    }
}
