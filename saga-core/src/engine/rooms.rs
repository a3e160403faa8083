//! Definitions that have a limit of their own for the sagas in flight.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// As many sagas of the definition are in flight as its limit says.
#[derive(Debug)]
pub(crate) struct Full;

/// How many more sagas of each limited definition may be in flight.
#[derive(Debug)]
pub(crate) struct Rooms(HashMap<Arc<str>, Arc<Semaphore>>);

impl Rooms {
    pub(crate) fn new(limits: &HashMap<Arc<str>, NonZeroUsize>) -> Self {
        let room = |(name, sagas): (&Arc<str>, &NonZeroUsize)| {
            (name.clone(), Arc::new(Semaphore::new(sagas.get().min(Semaphore::MAX_PERMITS))))
        };
        Self(limits.iter().map(room).collect())
    }

    /// How many more sagas of the definition may begin; none when it has no limit of its own.
    pub(crate) fn left(&self, definition: &str) -> Option<usize> {
        self.0.get(definition).map(|room| room.available_permits())
    }

    /// A place for a saga of the definition now, if it has a limit of its own.
    pub(crate) fn try_enter(&self, definition: &str) -> Result<Option<OwnedSemaphorePermit>, Full> {
        self.0.get(definition).map(|room| room.clone().try_acquire_owned().map_err(|_| Full)).transpose()
    }

    /// A place for a saga of the definition, once there is one; none when it has no limit of its own.
    pub(crate) async fn enter(&self, definition: &str) -> Option<OwnedSemaphorePermit> {
        self.0.get(definition)?.clone().acquire_owned().await.ok()
    }
}
