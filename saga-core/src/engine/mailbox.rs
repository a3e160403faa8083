//! Messages on their way from the journal to the sagas that run here.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

use super::Inner;
use super::incarnation::Incarnation;
use crate::journal::{JournalError, Received};

/// What has come for one saga and was not taken in yet.
#[derive(Debug, Default)]
pub(crate) struct Mailbox {
    letters: Mutex<Letters>,
    arrived: Notify,
}

#[derive(Debug, Default)]
struct Letters {
    waiting: Vec<Received>,
    /// All that ever came, by id: until the turn is durable that takes a message in, the journal goes on
    /// handing it out.
    seen: HashSet<String>,
}

impl Mailbox {
    pub(crate) fn put(&self, message: Received) {
        let mut letters = self.letters.lock().unwrap_or_else(PoisonError::into_inner);
        if letters.seen.insert(message.id.clone()) {
            letters.waiting.push(message);
            self.arrived.notify_one();
        }
    }

    pub(crate) fn take(&self) -> Vec<Received> {
        std::mem::take(&mut self.letters.lock().unwrap_or_else(PoisonError::into_inner).waiting)
    }

    /// Returns when something has come since the last time.
    pub(crate) async fn arrived(&self) {
        self.arrived.notified().await;
    }
}

/// Hands the messages to this worker's sagas to those who drive them.
pub(crate) async fn deliver(inner: &Inner, incarnation: &Incarnation) -> Result<(), JournalError> {
    for message in inner.journal.inbox(incarnation.lease).await? {
        // A saga that nobody drives here has just been parked: it is due, and claimed with its messages.
        if let Some(mailbox) = incarnation.mailbox(message.saga) {
            mailbox.put(message);
        }
    }
    Ok(())
}
