//! Messages to sagas, kept until a turn takes them in.

use std::time::Duration;

use super::{Place, SagaRow, Tables};
use crate::journal::{Lease, Message, Received, SagaHeader, Sent, Standing};
use crate::time::Timestamp;

#[derive(Debug)]
pub(super) struct MessageRow {
    message: Message,
    sent_at: Timestamp,
    read: bool,
}

impl MessageRow {
    fn is_to(&self, saga: &SagaHeader) -> bool {
        self.message.definition == saga.definition && self.message.key == saga.key
    }
}

impl Tables {
    pub(super) fn send(&mut self, message: &Message, now: Timestamp) -> Sent {
        let same = |row: &MessageRow| {
            (&row.message.definition, &row.message.key, &row.message.id)
                == (&message.definition, &message.key, &message.id)
        };
        if self.messages.iter().any(same) {
            return Sent::Duplicate;
        }
        let saga = self.keys.get(&(message.definition.clone(), message.key.clone()));
        let row = saga.and_then(|saga| self.sagas.get(saga));
        if row.is_some_and(|row| matches!(row.place, Place::Ended { .. })) {
            return Sent::TooLate;
        }
        let header = row.map(|row| row.header.clone());
        self.messages.push(MessageRow { message: message.clone(), sent_at: now, read: false });
        if let Some(header) = header {
            self.wake(&header, now);
        }
        Sent::Accepted
    }

    /// Takes note that the saga has read these.
    pub(super) fn read(&mut self, saga: &SagaHeader, ids: &[String]) {
        for row in &mut self.messages {
            row.read |= row.is_to(saga) && ids.contains(&row.message.id);
        }
    }

    /// Whether there is one for the saga that was not read, beside these.
    pub(super) fn has_unread(&self, saga: &SagaHeader, read: &[String]) -> bool {
        self.messages.iter().any(|row| row.is_to(saga) && !row.read && !read.contains(&row.message.id))
    }

    /// What the lease's sagas have not read, in the order in which it came.
    pub(super) fn unread(&self, lease: Lease) -> Vec<Received> {
        let received = |row: &MessageRow| {
            let Message { definition, key, id, body } = row.message.clone();
            let saga = *self.keys.get(&(definition, key)).filter(|_| !row.read)?;
            self.is_owned(saga, lease).then_some(Received { saga, id, body })
        };
        self.messages.iter().filter_map(received).collect()
    }

    /// Takes them as read without the turn that would say so: a seeded bug.
    pub(super) fn consume(&mut self, received: &[Received]) {
        for row in &mut self.messages {
            row.read |= received.iter().any(|received| received.id == row.message.id);
        }
    }

    /// A parked saga with an unread message, or with locks that it does not know of, is due at once.
    pub(super) fn wake(&mut self, saga: &SagaHeader, now: Timestamp) {
        if (self.has_unread(saga, &[]) || self.has_unread_grant(saga.id))
            && let Some(SagaRow { place: Place::Parked { due, standing }, .. }) = self.sagas.get_mut(&saga.id)
            && *standing != Standing::SetAside
        {
            *due = Some(now);
        }
    }

    pub(super) fn forget_messages(&mut self, saga: &SagaHeader) {
        self.messages.retain(|row| !row.is_to(saga));
    }

    /// Deletes messages that no saga came for.
    pub(super) fn forget_orphans(&mut self, retention: Duration, now: Timestamp) {
        let Self { messages, keys, .. } = self;
        messages.retain(|row| {
            let orphan = !keys.contains_key(&(row.message.definition.clone(), row.message.key.clone()));
            !(orphan && row.sent_at.after(retention) < now)
        });
    }
}
