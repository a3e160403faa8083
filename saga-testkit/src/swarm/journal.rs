//! The journal, as one process reaches it.

use std::time::Duration;

use async_trait::async_trait;
use saga_core::definition::Outline;
use saga_core::journal::{
    Appended, Claim, ClaimOne, DeadEvent, DeadLetter, History, Journal, JournalError, Lease, ListFilter, LockEntry,
    MemoryJournal, Message, NewSaga, OutboxBatch, Received, SagaHeader, SagaSummary, Sent, SettledEvent, StartReceipt,
    Turn,
};
use saga_core::machine::decode_turn;
use saga_core::{Epoch, SagaId, Timestamp};

use super::net::{Line, Nature};
use crate::sim::{Entry, tell_records};

/// Passes calls on to the one journal.
#[derive(Debug)]
pub(super) struct NetJournal(pub(super) Line);

impl NetJournal {
    fn store(&self) -> MemoryJournal {
        self.0.net.sim.store.clone()
    }

    /// How long a lease is by the journal, when this worker asks for so long.
    fn granted(&self, ttl: Duration) -> Duration {
        if self.0.net.is_healed() { ttl } else { ttl * self.0.lease_percent / 100 }
    }

    /// The journal's time as this worker takes it: late, where its clock is.
    fn told(&self, now: Timestamp) -> Timestamp {
        let behind = if self.0.net.is_healed() { 0 } else { self.0.net.jump() };
        Timestamp::from_micros(now.as_micros().saturating_sub(behind))
    }
}

/// A turn in the run's story.
fn line(name: &str, epoch: Option<Epoch>, what: &str, body: &str) -> Entry {
    let records = decode_turn(body).unwrap_or_default();
    let label = |step: &str| step.to_owned();
    let epoch = epoch.map_or(String::new(), |epoch| format!(" ({epoch})"));
    Entry::new(format!("{name}{epoch} writes {what}: {}", tell_records(&label, &records)))
}

#[async_trait]
impl Journal for NetJournal {
    async fn open_lease(&self, worker: &str, ttl: Duration) -> Result<(Lease, Timestamp), JournalError> {
        let (store, worker, ttl) = (self.store(), worker.to_owned(), self.granted(ttl));
        let make = move || {
            let (store, worker) = (store.clone(), worker.clone());
            async move { store.open_lease(&worker, ttl).await }
        };
        let (lease, now) = self.0.call("open_lease", Nature::Once, make, |_| ()).await?;
        Ok((lease, self.told(now)))
    }

    async fn renew_lease(&self, lease: Lease, ttl: Duration) -> Result<Timestamp, JournalError> {
        let (store, ttl) = (self.store(), self.granted(ttl));
        let make = move || {
            let store = store.clone();
            async move { store.renew_lease(lease, ttl).await }
        };
        self.0.call("renew_lease", Nature::Repeats, make, |_| ()).await.map(|now| self.told(now))
    }

    async fn start(&self, lease: Option<Lease>, sagas: &[NewSaga]) -> Result<Vec<StartReceipt>, JournalError> {
        let (store, sagas) = (self.store(), sagas.to_vec());
        let (sim, name, told) = (self.0.net.sim.clone(), self.0.name.clone(), sagas.clone());
        let make = move || {
            let (store, sagas) = (store.clone(), sagas.clone());
            async move { store.start(lease, &sagas).await }
        };
        let answered = move |receipts: &Vec<StartReceipt>| {
            for (saga, receipt) in told.iter().zip(receipts) {
                let known = if *receipt == StartReceipt::Created { "" } else { ", which is known" };
                let what = format!("{}/{}{known}", saga.definition, saga.key);
                sim.note(line(&name, lease.map(|lease| lease.epoch), &what, &saga.body));
            }
        };
        self.0.call("start", Nature::Repeats, make, answered).await
    }

    async fn append(&self, lease: Lease, turns: &[Turn]) -> Result<Vec<Appended>, JournalError> {
        let (store, turns) = (self.store(), turns.to_vec());
        let (net, name, told) = (self.0.net.clone(), self.0.name.clone(), turns.clone());
        let make = move || {
            let (store, turns) = (store.clone(), turns.clone());
            async move { store.append(lease, &turns).await }
        };
        let answered = move |answers: &Vec<Appended>| {
            for (turn, answer) in told.iter().zip(answers) {
                let what = format!("turn {} of {}, {answer:?}", turn.seq, turn.saga);
                net.sim.note(line(&name, Some(lease.epoch), &what, &turn.body));
                if *answer == Appended::Written {
                    net.wrote(lease.epoch, &what);
                    net.sim.land(turn.saga, &decode_turn(&turn.body).unwrap_or_default());
                }
            }
        };
        self.0.call("append", Nature::Repeats, make, answered).await
    }

    async fn register(&self, outlines: &[Outline]) -> Result<Vec<Outline>, JournalError> {
        let (store, outlines) = (self.store(), outlines.to_vec());
        let make = move || {
            let (store, outlines) = (store.clone(), outlines.clone());
            async move { store.register(&outlines).await }
        };
        self.0.call("register", Nature::Repeats, make, |_| ()).await
    }

    async fn close_lease(&self, lease: Lease) -> Result<u64, JournalError> {
        let store = self.store();
        let make = move || {
            let store = store.clone();
            async move { store.close_lease(lease).await }
        };
        let net = self.0.net.clone();
        self.0.call("close_lease", Nature::Repeats, make, move |_| net.gone([lease.epoch])).await
    }

    async fn fence_lapsed(&self) -> Result<Vec<Epoch>, JournalError> {
        let store = self.store();
        let make = move || {
            let store = store.clone();
            async move { store.fence_lapsed().await }
        };
        let net = self.0.net.clone();
        self.0.call("fence_lapsed", Nature::Repeats, make, move |epochs| net.gone(epochs.iter().copied())).await
    }

    async fn claim(&self, lease: Lease, definitions: &[(String, u32)], limit: usize) -> Result<Claim, JournalError> {
        let (store, definitions) = (self.store(), definitions.to_vec());
        let make = move || {
            let (store, definitions) = (store.clone(), definitions.clone());
            async move { store.claim(lease, &definitions, limit).await }
        };
        let claim = self.0.call("claim", Nature::Once, make, |_| ()).await?;
        if claim.sagas.is_empty() { Ok(claim) } else { self.0.claimed("claim", claim) }
    }

    async fn claim_one(&self, lease: Lease, saga: SagaId) -> Result<ClaimOne, JournalError> {
        let store = self.store();
        let make = move || {
            let store = store.clone();
            async move { store.claim_one(lease, saga).await }
        };
        let claim = self.0.call("claim_one", Nature::Once, make, |_| ()).await?;
        if matches!(claim, ClaimOne::Claimed(_)) { self.0.claimed("claim_one", claim) } else { Ok(claim) }
    }

    async fn owned(&self, lease: Lease) -> Result<Vec<SagaHeader>, JournalError> {
        let store = self.store();
        let make = move || {
            let store = store.clone();
            async move { store.owned(lease).await }
        };
        self.0.call("owned", Nature::Reads, make, |_| ()).await
    }

    async fn send(&self, messages: &[Message]) -> Result<Vec<Sent>, JournalError> {
        let (store, messages) = (self.store(), messages.to_vec());
        let make = move || {
            let (store, messages) = (store.clone(), messages.clone());
            async move { store.send(&messages).await }
        };
        self.0.call("send", Nature::Repeats, make, |_| ()).await
    }

    async fn inbox(&self, lease: Lease) -> Result<Vec<Received>, JournalError> {
        let store = self.store();
        let make = move || {
            let store = store.clone();
            async move { store.inbox(lease).await }
        };
        self.0.call("inbox", Nature::Reads, make, |_| ()).await
    }

    async fn load(&self, sagas: &[SagaId]) -> Result<Vec<History>, JournalError> {
        let (store, sagas) = (self.store(), sagas.to_vec());
        let make = move || {
            let (store, sagas) = (store.clone(), sagas.clone());
            async move { store.load(&sagas).await }
        };
        self.0.call("load", Nature::Reads, make, |_| ()).await
    }

    async fn find(&self, definition: &str, key: &str) -> Result<Option<SagaSummary>, JournalError> {
        let (store, definition, key) = (self.store(), definition.to_owned(), key.to_owned());
        let make = move || {
            let (store, definition, key) = (store.clone(), definition.clone(), key.clone());
            async move { store.find(&definition, &key).await }
        };
        self.0.call("find", Nature::Reads, make, |_| ()).await
    }

    async fn summary(&self, saga: SagaId) -> Result<Option<SagaSummary>, JournalError> {
        let store = self.store();
        let make = move || {
            let store = store.clone();
            async move { store.summary(saga).await }
        };
        self.0.call("summary", Nature::Reads, make, |_| ()).await
    }

    async fn list(&self, filter: &ListFilter, limit: usize) -> Result<Vec<SagaSummary>, JournalError> {
        let (store, filter) = (self.store(), filter.clone());
        let make = move || {
            let (store, filter) = (store.clone(), filter.clone());
            async move { store.list(&filter, limit).await }
        };
        self.0.call("list", Nature::Reads, make, |_| ()).await
    }

    async fn dead_letters(&self, saga: Option<SagaId>, limit: usize) -> Result<Vec<DeadLetter>, JournalError> {
        let store = self.store();
        let make = move || {
            let store = store.clone();
            async move { store.dead_letters(saga, limit).await }
        };
        self.0.call("dead_letters", Nature::Reads, make, |_| ()).await
    }

    async fn unalerted(&self, limit: usize) -> Result<Vec<DeadLetter>, JournalError> {
        let store = self.store();
        let make = move || {
            let store = store.clone();
            async move { store.unalerted(limit).await }
        };
        self.0.call("unalerted", Nature::Reads, make, |_| ()).await
    }

    async fn mark_alerted(&self, letters: &[DeadLetter]) -> Result<(), JournalError> {
        let (store, letters) = (self.store(), letters.to_vec());
        let make = move || {
            let (store, letters) = (store.clone(), letters.clone());
            async move { store.mark_alerted(&letters).await }
        };
        self.0.call("mark_alerted", Nature::Repeats, make, |_| ()).await
    }

    async fn outbox(&self, lease: Lease, limit: usize) -> Result<OutboxBatch, JournalError> {
        let store = self.store();
        let make = move || {
            let store = store.clone();
            async move { store.outbox(lease, limit).await }
        };
        self.0.call("outbox", Nature::Reads, make, |_| ()).await
    }

    async fn settle_events(&self, lease: Lease, settled: &[SettledEvent]) -> Result<(), JournalError> {
        let (store, settled) = (self.store(), settled.to_vec());
        let make = move || {
            let (store, settled) = (store.clone(), settled.clone());
            async move { store.settle_events(lease, &settled).await }
        };
        self.0.call("settle_events", Nature::Repeats, make, |_| ()).await
    }

    async fn dead_events(&self, limit: usize) -> Result<Vec<DeadEvent>, JournalError> {
        let store = self.store();
        let make = move || {
            let store = store.clone();
            async move { store.dead_events(limit).await }
        };
        self.0.call("dead_events", Nature::Reads, make, |_| ()).await
    }

    async fn revive_event(&self, id: &str, again: bool) -> Result<bool, JournalError> {
        let (store, id) = (self.store(), id.to_owned());
        let make = move || {
            let (store, id) = (store.clone(), id.clone());
            async move { store.revive_event(&id, again).await }
        };
        self.0.call("revive_event", Nature::Repeats, make, |_| ()).await
    }

    async fn locks(&self, limit: usize) -> Result<Vec<LockEntry>, JournalError> {
        let store = self.store();
        let make = move || {
            let store = store.clone();
            async move { store.locks(limit).await }
        };
        self.0.call("locks", Nature::Reads, make, |_| ()).await
    }

    async fn expired(&self, retention: Duration, limit: usize) -> Result<Vec<SagaId>, JournalError> {
        let store = self.store();
        let make = move || {
            let store = store.clone();
            async move { store.expired(retention, limit).await }
        };
        self.0.call("expired", Nature::Reads, make, |_| ()).await
    }

    async fn forget(&self, sagas: &[SagaId], retention: Duration) -> Result<u64, JournalError> {
        let (store, sagas) = (self.store(), sagas.to_vec());
        let make = move || {
            let (store, sagas) = (store.clone(), sagas.clone());
            async move { store.forget(&sagas, retention).await }
        };
        self.0.call("forget", Nature::Repeats, make, |_| ()).await
    }

    async fn wait_for_work(&self, timeout: Duration) {
        self.0.process.alive().await;
        self.store().wait_for_work(timeout).await;
    }
}
