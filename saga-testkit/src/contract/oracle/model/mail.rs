//! Messages to sagas.

use saga_core::SagaId;
use saga_core::journal::{Lease, Message, Received, Sent};
use saga_core::machine::Mail;

use super::{MessageRow, Model, Refusal, Stands, expect};

impl Model {
    pub(in super::super) fn send(&mut self, messages: &[Message]) -> Vec<Sent> {
        messages.iter().map(|message| self.send_one(message)).collect()
    }

    fn send_one(&mut self, message: &Message) -> Sent {
        let known = self.messages.iter().any(|row| {
            let Message { definition, key, id, .. } = &row.message;
            (definition, key, id) == (&message.definition, &message.key, &message.id)
        });
        if known {
            return Sent::Duplicate;
        }
        let row =
            self.sagas.iter().find(|row| row.header.definition == message.definition && row.header.key == message.key);
        let to = row.map(|row| (row.header.id, row.stands));
        if let Some((_, Stands::Over { .. })) = to {
            return Sent::TooLate;
        }
        self.messages.push(MessageRow { message: message.clone(), at: self.now, read: false });
        to.into_iter().for_each(|(saga, _)| self.wake(saga));
        Sent::Accepted
    }

    /// In the order in which they came.
    pub(super) fn unread_of(&self, saga: SagaId) -> Vec<&MessageRow> {
        let Some(header) = self.header(saga) else { return Vec::new() };
        let to = |row: &&MessageRow| row.message.definition == header.definition && row.message.key == header.key;
        self.messages.iter().filter(|row| !row.read).filter(to).collect()
    }

    pub(super) fn read(&mut self, saga: SagaId, ids: &[String]) {
        let Some(header) = self.header(saga) else { return };
        for row in &mut self.messages {
            let to = row.message.definition == header.definition && row.message.key == header.key;
            row.read |= to && ids.contains(&row.message.id);
        }
        for row in &mut self.lines {
            row.read |= row.saga == saga && row.granted && ids.contains(&format!("lock:{}", row.step));
        }
    }

    pub(in super::super) fn inbox(
        &mut self,
        lease: Lease,
        answer: &Result<Vec<Received>, Refusal>,
    ) -> Result<(), String> {
        let owned = |row: &&super::SagaRow| matches!(row.stands, Stands::Owned(epoch) if epoch == lease.epoch);
        let owned: Vec<SagaId> = self.sagas.iter().filter(owned).map(|row| row.header.id).collect();
        let Ok(received) = answer else { return Err("an inbox".to_owned()) };
        let expected = owned.iter().flat_map(|saga| {
            let of =
                |row: &MessageRow| Received { saga: *saga, id: row.message.id.clone(), body: row.message.body.clone() };
            self.unread_of(*saga).into_iter().map(of).collect::<Vec<_>>()
        });
        let mut expected: Vec<Received> = expected.collect();
        // Those of one saga in their order.
        expected.sort_by_key(|received| received.saga);
        let is_grant = |received: &&Received| received.id.starts_with("lock:");
        let mut found: Vec<Received> = received.iter().filter(|received| !is_grant(received)).cloned().collect();
        found.sort_by_key(|received| received.saga);
        expect(&found, &expected)?;
        let mut grants: Vec<(SagaId, String, Vec<String>)> = Vec::new();
        for grant in received.iter().filter(is_grant) {
            let Ok(Mail::Locked { step, tokens }) = serde_json::from_str(&grant.body) else {
                return Err(format!("a grant, not {grant:?}"));
            };
            for (key, token) in &tokens {
                self.see_token(grant.saga, key, *token)?;
            }
            grants.push((grant.saga, format!("lock:{step}"), tokens.into_keys().collect()));
        }
        let granted = self.lines.iter().filter(|row| row.granted && !row.read && owned.contains(&row.saga));
        let mut expected: Vec<_> =
            granted.map(|row| (row.saga, format!("lock:{}", row.step), row.keys.clone())).collect();
        grants.sort_unstable();
        expected.sort_unstable();
        expect(&grants, &expected)
    }
}
