//! The journal in memory: the reference implementation. It has the same fencing and failure
//! semantics as the others and forgets everything with the process, so it is for tests, simulation
//! and first contact.

mod locks;
mod messages;
mod outbox;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Notify;

use super::{
    After, Appended, Claim, ClaimOne, Claimed, DeadEvent, DeadLetter, End, History, Journal, JournalError, Lease,
    LetterChange, ListFilter, LockEntry, Message, NewSaga, OutboxBatch, Received, SagaHeader, SagaStatus, SagaSummary,
    Sent, SettledEvent, Standing, StartReceipt, Stored, Turn, check_ids,
};
use locks::LockRow;
use messages::MessageRow;
use outbox::EventRow;

use crate::definition::Outline;
use crate::id::{Epoch, Op, SagaId, StepName};
use crate::seeded::seeded;
use crate::time::Timestamp;

/// A journal in memory. Clones share their content, as connections to one database do.
///
/// Its clock is tokio's: under a paused runtime, time is under the test's control.
#[derive(Clone, Debug)]
pub struct MemoryJournal {
    tables: Arc<Mutex<Tables>>,
    work: Arc<Notify>,
    epoch_start: tokio::time::Instant,
}

#[derive(Debug, Default)]
struct Tables {
    outlines: HashMap<(String, u32), Outline>,
    last_epoch: i64,
    leases: BTreeMap<Epoch, LeaseRow>,
    sagas: BTreeMap<SagaId, SagaRow>,
    keys: HashMap<(String, String), SagaId>,
    letters: Vec<LetterRow>,
    messages: Vec<MessageRow>,
    events: Vec<EventRow>,
    locks: Vec<LockRow>,
    last_arrival: u64,
    last_token: u64,
}

#[derive(Debug)]
struct LeaseRow {
    until: Timestamp,
    fenced: bool,
}

#[derive(Debug)]
struct SagaRow {
    header: SagaHeader,
    turns: Vec<TurnRow>,
    place: Place,
}

#[derive(Debug)]
struct TurnRow {
    nonce: i64,
    stored: Stored,
}

#[derive(Clone, Copy, Debug)]
enum Place {
    Owned(Epoch),
    Parked { due: Option<Timestamp>, standing: Standing },
    Ended { end: End, at: Timestamp },
}

#[derive(Debug)]
struct LetterRow {
    letter: DeadLetter,
    open: bool,
    alerted: bool,
}

impl MemoryJournal {
    /// An empty journal.
    #[must_use]
    pub fn new() -> Self {
        Self { tables: Arc::default(), work: Arc::default(), epoch_start: tokio::time::Instant::now() }
    }

    fn now(&self) -> Timestamp {
        // Any fixed origin will do; this one reads well in logs.
        Timestamp::from_micros(1_767_225_600_000_000).after(self.epoch_start.elapsed())
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        // A panic while the lock was held cannot leave a half-made change: no call panics midway.
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for MemoryJournal {
    fn default() -> Self {
        Self::new()
    }
}

impl Tables {
    fn check(&self, lease: Lease) -> Result<(), JournalError> {
        match self.leases.get(&lease.epoch) {
            Some(row) if !row.fenced => Ok(()),
            Some(_) | None => Err(JournalError::Fenced { epoch: lease.epoch }),
        }
    }

    /// An id belongs to one definition and key.
    fn check_free(&self, sagas: &[NewSaga]) -> Result<(), JournalError> {
        for saga in sagas {
            let stored = self.sagas.get(&saga.id).map(|row| (&*row.header.definition, &*row.header.key));
            if stored.is_some_and(|stored| stored != (&*saga.definition, &*saga.key)) {
                return Err(JournalError::id_taken(saga));
            }
        }
        Ok(())
    }

    fn is_fenced(&self, epoch: Epoch) -> bool {
        self.leases.get(&epoch).is_none_or(|row| row.fenced)
    }

    fn is_owned(&self, saga: SagaId, lease: Lease) -> bool {
        let place = self.sagas.get(&saga).map(|row| row.place);
        matches!(place, Some(Place::Owned(epoch)) if epoch == lease.epoch)
    }

    fn append(&mut self, lease: Lease, turn: &Turn, now: Timestamp) -> Appended {
        let Some(row) = self.sagas.get_mut(&turn.saga) else { return Appended::Rival };
        if let Some(taken) = row.turns.get(turn.seq as usize) {
            let own = taken.nonce == turn.nonce && taken.stored.epoch == Some(lease.epoch);
            if seeded("M21") && own {
                let seq = u32::try_from(row.turns.len()).unwrap_or(u32::MAX);
                return self.append(lease, &Turn { seq, ..turn.clone() }, now);
            }
            return if own { Appended::Repeated } else { Appended::Rival };
        }
        let owned = matches!(row.place, Place::Owned(epoch) if epoch == lease.epoch || seeded("M4"));
        if !owned || row.turns.len() != turn.seq as usize {
            return Appended::Rival;
        }
        let header = row.header.clone();
        if matches!(turn.after, After::End(_)) && self.has_unread(&header, &turn.read) {
            return Appended::Unread;
        }
        let Some(row) = self.sagas.get_mut(&turn.saga) else { return Appended::Rival };
        let stored = Stored { at: now, epoch: Some(lease.epoch), body: turn.body.clone() };
        row.turns.push(TurnRow { nonce: turn.nonce, stored });
        match turn.after {
            After::Keep => {}
            After::Park { wake_at, standing } => row.place = Place::Parked { due: wake_at, standing },
            After::End(end) => row.place = Place::Ended { end, at: now },
        }
        self.read(&header, &turn.read);
        for change in &turn.letters {
            self.change_letter(&header, turn.seq, change, now);
        }
        self.publish(lease, turn, now);
        self.change_locks(turn, now);
        for saga in &turn.starts {
            let pair = (saga.definition.clone(), saga.key.clone());
            if !self.keys.contains_key(&pair) && !self.sagas.contains_key(&saga.id) {
                self.insert(saga, None, now);
            }
        }
        for message in &turn.sends {
            self.send(message, now);
        }
        self.wake(&header, now);
        Appended::Written
    }

    fn insert(&mut self, saga: &NewSaga, epoch: Option<Epoch>, now: Timestamp) {
        let header = SagaHeader {
            id: saga.id,
            definition: saga.definition.clone(),
            version: saga.version,
            key: saga.key.clone(),
            input: saga.input,
            created_at: now,
        };
        let place = epoch.map_or(Place::Parked { due: Some(now), standing: Standing::Waiting }, Place::Owned);
        let stored = Stored { at: now, epoch, body: saga.body.clone() };
        let turns = vec![TurnRow { nonce: saga.nonce, stored }];
        self.keys.insert((saga.definition.clone(), saga.key.clone()), saga.id);
        self.sagas.insert(saga.id, SagaRow { header, turns, place });
    }

    fn change_letter(&mut self, saga: &SagaHeader, seq: u32, change: &LetterChange, now: Timestamp) {
        match change {
            LetterChange::Open { step, op, reason, error, attempts } => {
                if self.open_letter(saga.id, step.as_ref(), *op).is_none() {
                    let letter = DeadLetter {
                        saga: saga.id,
                        definition: saga.definition.clone(),
                        key: saga.key.clone(),
                        step: step.clone(),
                        op: *op,
                        reason: *reason,
                        error: error.clone(),
                        attempts: *attempts,
                        seq,
                        opened_at: now,
                    };
                    self.letters.push(LetterRow { letter, open: true, alerted: false });
                }
            }
            LetterChange::Close { step, op, .. } => {
                if let Some(row) = self.open_letter(saga.id, step.as_ref(), *op) {
                    row.open = false;
                }
            }
        }
    }

    fn open_letter(&mut self, saga: SagaId, step: Option<&StepName>, op: Op) -> Option<&mut LetterRow> {
        self.letters
            .iter_mut()
            .find(|row| row.open && row.letter.saga == saga && row.letter.step.as_ref() == step && row.letter.op == op)
    }

    fn mentions(&self, saga: SagaId, needle: &str) -> bool {
        let turns = self.sagas.get(&saga).map_or(&[][..], |row| &row.turns);
        turns.iter().any(|turn| turn.stored.body.contains(needle))
    }

    fn summary(&self, saga: SagaId) -> Option<SagaSummary> {
        let row = self.sagas.get(&saga)?;
        let status = match row.place {
            Place::Owned(epoch) if self.is_fenced(epoch) => SagaStatus::Waiting,
            Place::Owned(_) => SagaStatus::Running,
            Place::Parked { standing, .. } => match standing {
                Standing::Waiting => SagaStatus::Waiting,
                Standing::NeedsAttention | Standing::SetAside => SagaStatus::NeedsAttention,
                Standing::Watching => SagaStatus::Watching,
                Standing::Retained => SagaStatus::Retained,
            },
            Place::Ended { end, .. } => SagaStatus::Ended(end),
        };
        Some(SagaSummary { header: row.header.clone(), status })
    }
}

#[async_trait]
impl Journal for MemoryJournal {
    async fn register(&self, outlines: &[Outline]) -> Result<Vec<Outline>, JournalError> {
        let mut tables = self.tables();
        let store = |outline: &Outline| {
            let id = (outline.definition.clone(), outline.version);
            tables.outlines.entry(id).or_insert_with(|| outline.clone()).clone()
        };
        Ok(outlines.iter().map(store).collect())
    }

    async fn open_lease(&self, _worker: &str, ttl: Duration) -> Result<(Lease, Timestamp), JournalError> {
        let now = self.now();
        let mut tables = self.tables();
        tables.last_epoch += 1;
        let epoch = Epoch(tables.last_epoch);
        tables.leases.insert(epoch, LeaseRow { until: now.after(ttl), fenced: false });
        Ok((Lease { epoch }, now))
    }

    async fn renew_lease(&self, lease: Lease, ttl: Duration) -> Result<Timestamp, JournalError> {
        let now = self.now();
        let mut tables = self.tables();
        tables.check(lease)?;
        if let Some(row) = tables.leases.get_mut(&lease.epoch) {
            row.until = now.after(ttl);
        }
        Ok(now)
    }

    async fn close_lease(&self, lease: Lease) -> Result<u64, JournalError> {
        let now = self.now();
        let mut tables = self.tables();
        if tables.check(lease).is_err() {
            return Ok(0);
        }
        tables.leases.remove(&lease.epoch);
        let mut released = 0;
        for row in tables.sagas.values_mut() {
            if matches!(row.place, Place::Owned(epoch) if epoch == lease.epoch) {
                row.place = Place::Parked { due: Some(now), standing: Standing::Waiting };
                released += 1;
            }
        }
        self.work.notify_waiters();
        Ok(released)
    }

    async fn fence_lapsed(&self) -> Result<Vec<Epoch>, JournalError> {
        let now = self.now();
        let mut fenced = Vec::new();
        for (epoch, row) in &mut self.tables().leases {
            if !row.fenced && row.until < now {
                row.fenced = true;
                fenced.push(*epoch);
            }
        }
        if seeded("M11") && !fenced.is_empty() {
            self.tables().give_up_locks_of(&fenced);
        }
        if !fenced.is_empty() {
            self.work.notify_waiters();
        }
        Ok(fenced)
    }

    async fn start(&self, lease: Option<Lease>, sagas: &[NewSaga]) -> Result<Vec<StartReceipt>, JournalError> {
        check_ids(sagas)?;
        let now = self.now();
        let mut tables = self.tables();
        if let Some(lease) = lease {
            tables.check(lease)?;
        }
        tables.check_free(sagas)?;
        let mut receipts = Vec::with_capacity(sagas.len());
        for saga in sagas {
            let pair = (saga.definition.clone(), saga.key.clone());
            if let Some(row) = tables.keys.get(&pair).and_then(|id| tables.sagas.get(id)) {
                let own = row.header.id == saga.id;
                receipts.push(if own { StartReceipt::Created } else { StartReceipt::Exists(row.header.clone()) });
                continue;
            }
            tables.insert(saga, lease.map(|lease| lease.epoch), now);
            receipts.push(StartReceipt::Created);
        }
        if lease.is_none() {
            self.work.notify_waiters();
        }
        Ok(receipts)
    }

    async fn append(&self, lease: Lease, turns: &[Turn]) -> Result<Vec<Appended>, JournalError> {
        let now = self.now();
        let mut tables = self.tables();
        if !seeded("M4") {
            tables.check(lease)?;
        }
        let answers = turns.iter().map(|turn| tables.append(lease, turn, now)).collect();
        self.work.notify_waiters();
        Ok(answers)
    }

    async fn claim(&self, lease: Lease, definitions: &[(String, u32)], limit: usize) -> Result<Claim, JournalError> {
        let now = self.now();
        let mut tables = self.tables();
        tables.check(lease)?;
        let mut due = Vec::new();
        let mut next_due_at: Option<Timestamp> = None;
        for (id, row) in &tables.sagas {
            if !definitions
                .iter()
                .any(|(name, version)| *name == row.header.definition && *version == row.header.version)
            {
                continue;
            }
            match row.place {
                Place::Owned(epoch) if tables.is_fenced(epoch) => due.push((Timestamp::from_micros(0), *id, true)),
                Place::Parked { due: Some(at), .. } if at <= now => due.push((at, *id, false)),
                Place::Parked { due: Some(at), .. } => {
                    next_due_at = Some(next_due_at.map_or(at, |earliest| earliest.min(at)));
                }
                Place::Owned(_) | Place::Parked { due: None, .. } | Place::Ended { .. } => {}
            }
        }
        due.sort_unstable();
        let mut sagas = Vec::new();
        for (at, id, crashed) in due {
            if sagas.len() == limit {
                // What a fenced lease has left has an owner, and no time.
                if !crashed {
                    next_due_at = Some(next_due_at.map_or(at, |earliest| earliest.min(at)));
                }
                continue;
            }
            if let Some(row) = tables.sagas.get_mut(&id) {
                row.place = Place::Owned(lease.epoch);
                sagas.push(Claimed { header: row.header.clone(), crashed });
            }
        }
        Ok(Claim { sagas, next_due_at, now })
    }

    async fn claim_one(&self, lease: Lease, saga: SagaId) -> Result<ClaimOne, JournalError> {
        let mut tables = self.tables();
        tables.check(lease)?;
        let Some(place) = tables.sagas.get(&saga).map(|row| row.place) else { return Ok(ClaimOne::NotFound) };
        let crashed = match place {
            Place::Owned(epoch) if epoch == lease.epoch => false,
            Place::Owned(epoch) if !tables.is_fenced(epoch) => return Ok(ClaimOne::Owned(epoch)),
            Place::Owned(_) => true,
            Place::Parked { .. } => false,
            Place::Ended { .. } => return Ok(ClaimOne::Ended),
        };
        let Some(row) = tables.sagas.get_mut(&saga) else { return Ok(ClaimOne::NotFound) };
        row.place = Place::Owned(lease.epoch);
        Ok(ClaimOne::Claimed(Claimed { header: row.header.clone(), crashed }))
    }

    async fn owned(&self, lease: Lease) -> Result<Vec<SagaHeader>, JournalError> {
        let tables = self.tables();
        let owned =
            tables.sagas.values().filter(|row| matches!(row.place, Place::Owned(epoch) if epoch == lease.epoch));
        Ok(owned.map(|row| row.header.clone()).collect())
    }

    async fn send(&self, messages: &[Message]) -> Result<Vec<Sent>, JournalError> {
        let now = self.now();
        let mut tables = self.tables();
        let sent = messages.iter().map(|message| tables.send(message, now)).collect();
        self.work.notify_waiters();
        Ok(sent)
    }

    async fn inbox(&self, lease: Lease) -> Result<Vec<Received>, JournalError> {
        let mut tables = self.tables();
        let mut received = tables.unread(lease);
        if seeded("M13") {
            tables.consume(&received);
        }
        received.extend(tables.unread_grants(lease));
        Ok(received)
    }

    async fn load(&self, sagas: &[SagaId]) -> Result<Vec<History>, JournalError> {
        let tables = self.tables();
        let rows = sagas.iter().filter_map(|id| tables.sagas.get(id));
        let history = |row: &SagaRow| History {
            header: row.header.clone(),
            turns: row.turns.iter().map(|turn| turn.stored.clone()).collect(),
        };
        Ok(rows.map(history).collect())
    }

    async fn find(&self, definition: &str, key: &str) -> Result<Option<SagaSummary>, JournalError> {
        let tables = self.tables();
        let id = tables.keys.get(&(definition.to_owned(), key.to_owned())).copied();
        Ok(id.and_then(|id| tables.summary(id)))
    }

    async fn summary(&self, saga: SagaId) -> Result<Option<SagaSummary>, JournalError> {
        Ok(self.tables().summary(saga))
    }

    async fn list(&self, filter: &ListFilter, limit: usize) -> Result<Vec<SagaSummary>, JournalError> {
        let tables = self.tables();
        let needle = filter.needle();
        let passes = |summary: &SagaSummary| {
            filter.status.is_none_or(|status| status == summary.status)
                && filter.definition.as_ref().is_none_or(|definition| *definition == summary.header.definition)
                && filter.key_prefix.as_ref().is_none_or(|prefix| summary.header.key.starts_with(prefix))
                && filter.before.is_none_or(|before| summary.header.id < before)
                && filter.created_after.is_none_or(|after| summary.header.created_at >= after)
                && filter.created_before.is_none_or(|before| summary.header.created_at < before)
                && needle.as_ref().is_none_or(|needle| tables.mentions(summary.header.id, needle))
        };
        let summaries = tables.sagas.keys().rev().filter_map(|id| tables.summary(*id));
        Ok(summaries.filter(passes).take(limit).collect())
    }

    async fn dead_letters(&self, saga: Option<SagaId>, limit: usize) -> Result<Vec<DeadLetter>, JournalError> {
        let tables = self.tables();
        let open = tables.letters.iter().filter(|row| row.open && saga.is_none_or(|saga| row.letter.saga == saga));
        Ok(open.take(limit).map(|row| row.letter.clone()).collect())
    }

    async fn unalerted(&self, limit: usize) -> Result<Vec<DeadLetter>, JournalError> {
        let tables = self.tables();
        let fresh = tables.letters.iter().filter(|row| row.open && !row.alerted);
        Ok(fresh.take(limit).map(|row| row.letter.clone()).collect())
    }

    async fn mark_alerted(&self, letters: &[DeadLetter]) -> Result<(), JournalError> {
        let mut tables = self.tables();
        for row in &mut tables.letters {
            let same = |letter: &DeadLetter| {
                (letter.saga, &letter.step, letter.op, letter.seq)
                    == (row.letter.saga, &row.letter.step, row.letter.op, row.letter.seq)
            };
            row.alerted |= letters.iter().any(same);
        }
        Ok(())
    }

    async fn outbox(&self, lease: Lease, limit: usize) -> Result<OutboxBatch, JournalError> {
        let now = self.now();
        let mut tables = self.tables();
        if !seeded("M5") {
            tables.check(lease)?;
        }
        Ok(tables.outbox(lease, limit, now))
    }

    async fn settle_events(&self, lease: Lease, settled: &[SettledEvent]) -> Result<(), JournalError> {
        self.tables().settle_events(lease, settled, self.now());
        Ok(())
    }

    async fn dead_events(&self, limit: usize) -> Result<Vec<DeadEvent>, JournalError> {
        Ok(self.tables().dead_events(limit))
    }

    async fn revive_event(&self, id: &str, again: bool) -> Result<bool, JournalError> {
        Ok(self.tables().revive_event(id, again, self.now()))
    }

    async fn locks(&self, limit: usize) -> Result<Vec<LockEntry>, JournalError> {
        Ok(self.tables().lock_entries(limit))
    }

    async fn expired(&self, retention: Duration, limit: usize) -> Result<Vec<SagaId>, JournalError> {
        let now = self.now();
        let tables = self.tables();
        let old = tables.sagas.iter().filter_map(|(id, row)| match row.place {
            Place::Ended { at, .. } if at.after(retention) < now => Some((at, *id)),
            Place::Ended { .. } | Place::Owned(_) | Place::Parked { .. } => None,
        });
        let mut old: Vec<(Timestamp, SagaId)> = old.collect();
        old.sort_unstable();
        Ok(old.into_iter().take(limit).map(|(_, id)| id).collect())
    }

    async fn forget(&self, sagas: &[SagaId], retention: Duration) -> Result<u64, JournalError> {
        let now = self.now();
        let mut tables = self.tables();
        let mut forgotten = 0;
        for id in sagas {
            let ended = matches!(tables.sagas.get(id).map(|row| row.place), Some(Place::Ended { .. }));
            let Some(row) = ended.then(|| tables.sagas.remove(id)).flatten() else { continue };
            tables.forget_messages(&row.header);
            tables.keys.remove(&(row.header.definition, row.header.key));
            tables.letters.retain(|row| row.letter.saga != *id);
            forgotten += 1;
        }
        tables.forget_orphans(retention, now);
        Ok(forgotten)
    }

    async fn wait_for_work(&self, timeout: Duration) {
        // Nothing to do with the error: the time-out is one of the two ways to return.
        tokio::time::timeout(timeout, self.work.notified()).await.ok();
    }
}
