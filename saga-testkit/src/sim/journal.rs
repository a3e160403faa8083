//! The simulated journal: the one in memory, as one process sees it.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use saga_core::definition::Outline;
use saga_core::journal::{
    Appended, Claim, ClaimOne, DeadEvent, DeadLetter, History, Journal, JournalError, Lease, ListFilter, LockEntry,
    Message, NewSaga, OutboxBatch, Received, SagaHeader, SagaSummary, Sent, SettledEvent, StartReceipt, Turn,
};
use saga_core::machine::{Record, decode_turn};
use saga_core::{Epoch, SagaId, Timestamp};

use super::fate::Fate;
use super::gate::Side;
use super::point::Point;
use super::process::Process;
use super::tape::Entry;
use super::{Sim, tell};

/// Passes calls on, until its process ends.
#[derive(Debug)]
pub(crate) struct SimJournal {
    pub(crate) sim: Arc<Sim>,
    pub(crate) process: Arc<Process>,
}

/// A turn on its way to the journal.
struct Written {
    saga: SagaId,
    records: Vec<Record>,
}

impl SimJournal {
    async fn pass<T>(&self, call: impl Future<Output = T> + Send) -> T {
        self.process.alive().await;
        let answer = call.await;
        self.process.alive().await;
        answer
    }

    /// Writes turns, unless the process ends before or after it.
    async fn write<T>(
        &self,
        turns: Vec<Written>,
        call: impl Future<Output = Result<T, JournalError>> + Send,
        wrote: impl Fn(&T) -> bool + Send,
    ) -> Result<T, JournalError> {
        self.process.alive().await;
        let all: Vec<Record> = turns.iter().flat_map(|turn| turn.records.iter().cloned()).collect();
        let (nth, text, fate) = self.begin(&turns, &all).await;
        // Starts come from outside: what they lead to is held back, not they.
        let starts = all.iter().any(|record| matches!(record, Record::Started { .. }));
        if !starts {
            self.sim.gate.pass(Side::Before, &all).await;
        }
        self.process.alive().await;
        if fate == Some(Fate::CrashBefore) {
            return self.sim.crash(&format!("before write {nth}: {text}")).await;
        }
        let answer = call.await;
        if answer.as_ref().is_ok_and(wrote) {
            self.end(&turns, &format!("write {nth}: {text}"));
        }
        if !starts {
            self.sim.gate.pass(Side::After, &all).await;
        }
        self.process.alive().await;
        if fate == Some(Fate::CrashAfter) {
            return self.sim.crash(&format!("after write {nth}")).await;
        }
        answer
    }

    async fn begin(&self, turns: &[Written], all: &[Record]) -> (u32, String, Option<Fate>) {
        let mut texts = Vec::new();
        for turn in turns {
            let definition = self.definition(turn.saga).await;
            let state = self.sim.locked();
            let label = |step: &str| definition.as_ref().map_or(step.to_owned(), |name| state.label(name, step));
            texts.push(tell::records(&label, &turn.records));
        }
        let mut state = self.sim.locked();
        state.comes(all);
        let nth = state.count("write".to_owned()) - 1;
        let fate = state.visit(Point::Write { nth }, Fate::of_write());
        (nth, texts.join(" | "), fate)
    }

    fn end(&self, turns: &[Written], text: &str) {
        {
            let mut state = self.sim.locked();
            state.tape.add(Entry::new(text));
            turns.iter().for_each(|turn| state.came(&turn.records));
        }
        turns.iter().for_each(|turn| self.sim.land(turn.saga, &turn.records));
        self.sim.written.notify_one();
        self.sim.events.notify_waiters();
    }

    async fn definition(&self, saga: SagaId) -> Option<String> {
        // The journal in memory does not fail.
        self.sim.store.summary(saga).await.ok().flatten().map(|summary| summary.header.definition)
    }
}

/// The records of a body; none of one that cannot be read, which is the engine's to find out.
fn read(body: &str) -> Vec<Record> {
    decode_turn(body).unwrap_or_default()
}

#[async_trait]
impl Journal for SimJournal {
    async fn register(&self, outlines: &[Outline]) -> Result<Vec<Outline>, JournalError> {
        self.pass(self.sim.store.register(outlines)).await
    }

    async fn open_lease(&self, worker: &str, ttl: Duration) -> Result<(Lease, Timestamp), JournalError> {
        let opened = self.pass(self.sim.store.open_lease(worker, ttl)).await?;
        self.process.holds(opened.0);
        Ok(opened)
    }

    async fn renew_lease(&self, lease: Lease, ttl: Duration) -> Result<Timestamp, JournalError> {
        self.pass(self.sim.store.renew_lease(lease, ttl)).await
    }

    async fn close_lease(&self, lease: Lease) -> Result<u64, JournalError> {
        let closed = self.pass(self.sim.store.close_lease(lease)).await;
        self.sim.events.notify_waiters();
        closed
    }

    async fn fence_lapsed(&self) -> Result<Vec<Epoch>, JournalError> {
        let fenced = self.pass(self.sim.store.fence_lapsed()).await;
        self.sim.events.notify_waiters();
        fenced
    }

    async fn start(&self, lease: Option<Lease>, sagas: &[NewSaga]) -> Result<Vec<StartReceipt>, JournalError> {
        let turns = sagas.iter().map(|saga| Written { saga: saga.id, records: read(&saga.body) }).collect();
        let created = |receipts: &Vec<StartReceipt>| receipts.contains(&StartReceipt::Created);
        self.write(turns, self.sim.store.start(lease, sagas), created).await
    }

    async fn append(&self, lease: Lease, turns: &[Turn]) -> Result<Vec<Appended>, JournalError> {
        let written = turns.iter().map(|turn| Written { saga: turn.saga, records: read(&turn.body) }).collect();
        let wrote = |answers: &Vec<Appended>| answers.contains(&Appended::Written);
        self.write(written, self.sim.store.append(lease, turns), wrote).await
    }

    async fn claim(&self, lease: Lease, definitions: &[(String, u32)], limit: usize) -> Result<Claim, JournalError> {
        self.pass(self.sim.store.claim(lease, definitions, limit)).await
    }

    async fn claim_one(&self, lease: Lease, saga: SagaId) -> Result<ClaimOne, JournalError> {
        self.pass(self.sim.store.claim_one(lease, saga)).await
    }

    async fn owned(&self, lease: Lease) -> Result<Vec<SagaHeader>, JournalError> {
        self.pass(self.sim.store.owned(lease)).await
    }

    async fn send(&self, messages: &[Message]) -> Result<Vec<Sent>, JournalError> {
        self.pass(self.sim.store.send(messages)).await
    }

    async fn inbox(&self, lease: Lease) -> Result<Vec<Received>, JournalError> {
        self.pass(self.sim.store.inbox(lease)).await
    }

    async fn load(&self, sagas: &[SagaId]) -> Result<Vec<History>, JournalError> {
        self.pass(self.sim.store.load(sagas)).await
    }

    async fn find(&self, definition: &str, key: &str) -> Result<Option<SagaSummary>, JournalError> {
        self.pass(self.sim.store.find(definition, key)).await
    }

    async fn summary(&self, saga: SagaId) -> Result<Option<SagaSummary>, JournalError> {
        self.pass(self.sim.store.summary(saga)).await
    }

    async fn list(&self, filter: &ListFilter, limit: usize) -> Result<Vec<SagaSummary>, JournalError> {
        self.pass(self.sim.store.list(filter, limit)).await
    }

    async fn dead_letters(&self, saga: Option<SagaId>, limit: usize) -> Result<Vec<DeadLetter>, JournalError> {
        self.pass(self.sim.store.dead_letters(saga, limit)).await
    }

    async fn unalerted(&self, limit: usize) -> Result<Vec<DeadLetter>, JournalError> {
        self.pass(self.sim.store.unalerted(limit)).await
    }

    async fn mark_alerted(&self, letters: &[DeadLetter]) -> Result<(), JournalError> {
        self.pass(self.sim.store.mark_alerted(letters)).await
    }

    async fn outbox(&self, lease: Lease, limit: usize) -> Result<OutboxBatch, JournalError> {
        // A simulation lasts for months, and need not look every hour: it is told when there is something.
        loop {
            let mut news = std::pin::pin!(self.sim.events.notified());
            news.as_mut().enable();
            let batch = self.pass(self.sim.store.outbox(lease, limit)).await?;
            if !batch.events.is_empty() || batch.next_due_at.is_some() {
                return Ok(batch);
            }
            news.await;
        }
    }

    async fn settle_events(&self, lease: Lease, settled: &[SettledEvent]) -> Result<(), JournalError> {
        self.pass(self.sim.store.settle_events(lease, settled)).await
    }

    async fn dead_events(&self, limit: usize) -> Result<Vec<DeadEvent>, JournalError> {
        self.pass(self.sim.store.dead_events(limit)).await
    }

    async fn revive_event(&self, id: &str, again: bool) -> Result<bool, JournalError> {
        let revived = self.pass(self.sim.store.revive_event(id, again)).await;
        self.sim.events.notify_waiters();
        revived
    }

    async fn locks(&self, limit: usize) -> Result<Vec<LockEntry>, JournalError> {
        self.pass(self.sim.store.locks(limit)).await
    }

    async fn expired(&self, retention: Duration, limit: usize) -> Result<Vec<SagaId>, JournalError> {
        self.pass(self.sim.store.expired(retention, limit)).await
    }

    async fn forget(&self, sagas: &[SagaId], retention: Duration) -> Result<u64, JournalError> {
        self.pass(self.sim.store.forget(sagas, retention)).await
    }

    async fn wait_for_work(&self, timeout: Duration) {
        self.process.alive().await;
        self.sim.store.wait_for_work(timeout).await;
    }
}
