//! A saga's place on a worker: among all that are in flight, and among those of its definition.

use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;

use super::Inner;

/// A slot among the sagas in flight, and a place in the room of its definition if that has a limit of its own. It is
/// given up by dropping it, however that comes about, and whoever waits for either is told.
pub(crate) struct Place {
    inner: Arc<Inner>,
    slot: Option<OwnedSemaphorePermit>,
    room: Option<OwnedSemaphorePermit>,
}

impl Place {
    /// A place in the definition's room, to which the slot is yet to come; none when the room is full.
    pub(crate) fn in_room(inner: &Arc<Inner>, definition: &str) -> Option<Self> {
        let room = inner.rooms.try_enter(definition).ok()?;
        Some(Self { inner: inner.clone(), slot: None, room })
    }

    /// A place with this slot; in the definition's room as well, if that is not full.
    pub(crate) fn with_slot(inner: &Arc<Inner>, definition: &str, slot: OwnedSemaphorePermit) -> Self {
        let room = inner.rooms.try_enter(definition).ok().flatten();
        Self { inner: inner.clone(), slot: Some(slot), room }
    }

    /// A place, once there is one: first in the definition's room, which keeps no slot from others meanwhile.
    pub(crate) async fn wait(inner: &Arc<Inner>, definition: &str) -> Self {
        let room = inner.rooms.enter(definition).await;
        let mut place = Self { inner: inner.clone(), slot: None, room };
        place.slot = inner.slots.clone().acquire_owned().await.ok();
        place
    }

    /// Adds the slot.
    pub(crate) fn take_slot(&mut self, slot: OwnedSemaphorePermit) {
        self.slot = Some(slot);
    }

    /// Waits for a place in the definition's room, if that has a limit and was full.
    pub(crate) async fn enter_room(&mut self, definition: &str) {
        if self.room.is_none() {
            self.room = self.inner.rooms.enter(definition).await;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(slot) = self.slot.take() {
            drop(slot);
            self.inner.vacated.notify_one();
        }
        if let Some(room) = self.room.take() {
            drop(room);
            self.inner.claims.wake();
        }
    }
}
