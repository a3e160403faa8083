//! Sagas: starts, turns, claims, and what people read of them.

use std::time::Duration;

use saga_core::journal::{
    After, Appended, Claim, ClaimOne, Claimed, DeadLetter, History, Lease, LetterChange, ListFilter, NewSaga,
    SagaHeader, SagaStatus, SagaSummary, Standing, StartReceipt, Turn,
};
use saga_core::{Epoch, Op, SagaId, StepName, Timestamp};

use super::{FAR, LONG, LetterRow, Model, Moment, Refusal, SagaRow, Stands, TurnRow, expect, forget_time};

impl Model {
    pub(in super::super) fn start(
        &mut self,
        lease: Option<Lease>,
        sagas: &[NewSaga],
    ) -> Result<Vec<StartReceipt>, Refusal> {
        for (place, new) in sagas.iter().enumerate() {
            if sagas[..place].iter().any(|other| other.id == new.id && !same_pair(other, new)) {
                return Err(Refusal::IdTaken);
            }
        }
        if let Some(lease) = lease {
            self.valid(lease)?;
        }
        let is_others = |new: &NewSaga, row: &SagaRow| row.header.id == new.id && !is_pair(&row.header, new);
        if sagas.iter().any(|new| self.sagas.iter().any(|row| is_others(new, row))) {
            return Err(Refusal::IdTaken);
        }
        Ok(sagas.iter().map(|new| self.start_one(lease, new)).collect())
    }

    fn start_one(&mut self, lease: Option<Lease>, new: &NewSaga) -> StartReceipt {
        match self.sagas.iter().find(|row| is_pair(&row.header, new)) {
            Some(row) if row.header.id == new.id => StartReceipt::Created,
            Some(row) => StartReceipt::Exists(row.header.clone()),
            None => {
                self.create(lease.map(|lease| lease.epoch), new);
                StartReceipt::Created
            }
        }
    }

    fn create(&mut self, epoch: Option<Epoch>, new: &NewSaga) {
        let NewSaga { id, definition, version, key, input, body, nonce } = new.clone();
        let created_at = Timestamp::from_micros(0);
        let now_due = Stands::Parked { due: Some(self.now), standing: Standing::Waiting };
        self.sagas.push(SagaRow {
            header: SagaHeader { id, definition, version, key, input, created_at },
            turns: vec![TurnRow { epoch, nonce, body }],
            stands: epoch.map_or(now_due, Stands::Owned),
        });
    }

    pub(in super::super) fn append(&mut self, lease: Lease, turns: &[Turn]) -> Result<Vec<Appended>, Refusal> {
        self.valid(lease)?;
        Ok(turns.iter().map(|turn| self.append_one(lease, turn)).collect())
    }

    fn append_one(&mut self, lease: Lease, turn: &Turn) -> Appended {
        let Some(row) = self.sagas.iter().find(|row| row.header.id == turn.saga) else { return Appended::Rival };
        let place = turn.seq as usize;
        if let Some(taken) = row.turns.get(place) {
            let own = taken.nonce == turn.nonce && taken.epoch == Some(lease.epoch);
            return if own { Appended::Repeated } else { Appended::Rival };
        }
        let owned = matches!(row.stands, Stands::Owned(epoch) if epoch == lease.epoch);
        if !owned || place != row.turns.len() {
            return Appended::Rival;
        }
        let ends = matches!(turn.after, After::End(_));
        let left = self.unread_of(turn.saga).into_iter().filter(|row| !turn.read.contains(&row.message.id)).count();
        if ends && left > 0 {
            return Appended::Unread;
        }
        self.write(lease, turn);
        Appended::Written
    }

    fn write(&mut self, lease: Lease, turn: &Turn) {
        let now = self.now;
        let due = |at: Option<Timestamp>, model: &Self| at.map(|at| model.moment(at));
        let stands = match turn.after {
            After::Keep => Stands::Owned(lease.epoch),
            After::Park { wake_at, standing } => Stands::Parked { due: due(wake_at, self), standing },
            After::End(end) => Stands::Over { end, at: now },
        };
        let Some(row) = self.sagas.iter_mut().find(|row| row.header.id == turn.saga) else { return };
        row.turns.push(TurnRow { epoch: Some(lease.epoch), nonce: turn.nonce, body: turn.body.clone() });
        row.stands = stands;
        self.read(turn.saga, &turn.read);
        for change in &turn.letters {
            self.change_letter(turn, change);
        }
        self.publish(lease, turn);
        self.change_lines(turn);
        for new in &turn.starts {
            if !self.sagas.iter().any(|row| row.header.id == new.id || is_pair(&row.header, new)) {
                self.create(None, new);
            }
        }
        self.send(&turn.sends);
        self.wake(turn.saga);
    }

    /// Whatever waits for a parked saga makes it due, unless it was set aside.
    pub(super) fn wake(&mut self, saga: SagaId) {
        let waits = !self.unread_of(saga).is_empty() || self.has_unread_grant(saga);
        let now = self.now;
        let Some(row) = self.sagas.iter_mut().find(|row| row.header.id == saga) else { return };
        if let Stands::Parked { due, standing } = &mut row.stands
            && waits
            && *standing != Standing::SetAside
        {
            *due = Some(now);
        }
    }

    fn change_letter(&mut self, turn: &Turn, change: &LetterChange) {
        let of = |row: &LetterRow, step: &Option<StepName>, op: Op| {
            row.open && row.letter.saga == turn.saga && row.letter.step == *step && row.letter.op == op
        };
        match change {
            LetterChange::Open { step, op, reason, error, attempts } => {
                if self.letters.iter().any(|row| of(row, step, *op)) {
                    return;
                }
                let Some(header) = self.header(turn.saga) else { return };
                let letter = DeadLetter {
                    saga: turn.saga,
                    definition: header.definition,
                    key: header.key,
                    step: step.clone(),
                    op: *op,
                    reason: *reason,
                    error: error.clone(),
                    attempts: *attempts,
                    seq: turn.seq,
                    opened_at: Timestamp::from_micros(0),
                };
                self.letters.push(LetterRow { letter, at: self.now, open: true, alerted: false });
            }
            LetterChange::Close { step, op, .. } => {
                self.letters.iter_mut().filter(|row| of(row, step, *op)).for_each(|row| row.open = false);
            }
        }
    }

    pub(in super::super) fn claim(
        &mut self,
        lease: Lease,
        definitions: &[(String, u32)],
        limit: usize,
        answer: &Result<Claim, Refusal>,
    ) -> Result<(), String> {
        if let Err(refusal) = self.valid(lease).map(drop) {
            return expect(&answer.clone().map(drop), &Err(refusal));
        }
        let Ok(claim) = answer else { return Err("a claim".to_owned()) };
        let asked = |header: &SagaHeader| {
            definitions.iter().any(|(name, version)| *name == header.definition && *version == header.version)
        };
        // Since when each has been there to be claimed; what a fenced lease has left comes first.
        let since = |model: &Self, row: &SagaRow| match row.stands {
            Stands::Owned(epoch) if model.is_gone(epoch) => Some((Moment::MIN, true)),
            Stands::Parked { due: Some(due), .. } if due <= model.now => Some((due, false)),
            _ => None,
        };
        let mut there: Vec<(Moment, bool)> =
            self.sagas.iter().filter(|row| asked(&row.header)).filter_map(|row| since(self, row)).collect();
        there.sort_unstable();
        there.truncate(limit);
        let mut taken = Vec::new();
        for Claimed { header, crashed } in &claim.sagas {
            let row = self.sagas.iter().find(|row| row.header.id == header.id && asked(&row.header));
            let found = row.and_then(|row| since(self, row)).filter(|found| found.1 == *crashed);
            let Some(found) = found else { return Err(format!("not {header:?}, crashed: {crashed}")) };
            self.check_header(header)?;
            let Some(row) = self.sagas.iter_mut().find(|row| row.header.id == header.id) else { continue };
            row.stands = Stands::Owned(lease.epoch);
            taken.push(found);
        }
        taken.sort_unstable();
        if taken != there {
            return Err(format!("sagas that can be claimed since {there:?} (and whether from the dead)"));
        }
        let next = self.sagas.iter().filter(|row| asked(&row.header)).filter_map(|row| match row.stands {
            Stands::Parked { due, .. } => due,
            Stands::Owned(_) | Stands::Over { .. } => None,
        });
        self.check_next(claim.next_due_at, next.min())
    }

    /// What is due is due since a time that only the journal knows; what is far away has been told to it.
    pub(super) fn check_next(&self, told: Option<Timestamp>, next: Option<Moment>) -> Result<(), String> {
        let soon = |at: Timestamp| self.moment(at) < FAR / 2;
        match (told, next) {
            (None, None) => Ok(()),
            (Some(told), Some(next)) if soon(told) == (next < FAR / 2) => Ok(()),
            _ => Err(format!("the next one is due at {next:?} (it is {}; far away is {FAR})", self.now)),
        }
    }

    pub(in super::super) fn claim_one(&mut self, lease: Lease, saga: SagaId) -> Result<ClaimOne, Refusal> {
        self.valid(lease)?;
        let Some(row) = self.sagas.iter().find(|row| row.header.id == saga) else { return Ok(ClaimOne::NotFound) };
        let crashed = match row.stands {
            Stands::Over { .. } => return Ok(ClaimOne::Ended),
            Stands::Owned(epoch) if epoch == lease.epoch => false,
            Stands::Owned(epoch) if !self.is_gone(epoch) => return Ok(ClaimOne::Owned(epoch)),
            Stands::Owned(_) => true,
            Stands::Parked { .. } => false,
        };
        let header = row.header.clone();
        let row = self.sagas.iter_mut().find(|row| row.header.id == saga);
        row.into_iter().for_each(|row| row.stands = Stands::Owned(lease.epoch));
        Ok(ClaimOne::Claimed(Claimed { header, crashed }))
    }

    pub(super) fn header(&self, saga: SagaId) -> Option<SagaHeader> {
        self.sagas.iter().find(|row| row.header.id == saga).map(|row| row.header.clone())
    }

    fn check_header(&self, header: &SagaHeader) -> Result<(), String> {
        let mut found = header.clone();
        forget_time(&mut found);
        expect(&Some(found), &self.header(header.id))
    }

    pub(in super::super) fn owned(
        &self,
        lease: Lease,
        answer: &Result<Vec<SagaHeader>, Refusal>,
    ) -> Result<(), String> {
        let owned = self.sagas.iter().filter(|row| matches!(row.stands, Stands::Owned(epoch) if epoch == lease.epoch));
        let mut owned: Vec<SagaId> = owned.map(|row| row.header.id).collect();
        let Ok(headers) = answer else { return Err(format!("{owned:?}")) };
        headers.iter().try_for_each(|header| self.check_header(header))?;
        let mut found: Vec<SagaId> = headers.iter().map(|header| header.id).collect();
        owned.sort_unstable();
        found.sort_unstable();
        expect(&found, &owned)
    }

    pub(in super::super) fn load(
        &self,
        sagas: &[SagaId],
        answer: &Result<Vec<History>, Refusal>,
    ) -> Result<(), String> {
        let known = sagas.iter().filter_map(|saga| self.sagas.iter().find(|row| row.header.id == *saga));
        let stored = |row: &SagaRow| {
            let turns = row.turns.iter().map(|turn| (turn.epoch, turn.body.clone())).collect::<Vec<_>>();
            (row.header.clone(), turns)
        };
        let mut expected: Vec<_> = known.map(stored).collect();
        let Ok(histories) = answer else { return Err(format!("{expected:?}")) };
        let found = histories.iter().map(|history| {
            let mut header = history.header.clone();
            forget_time(&mut header);
            (header, history.turns.iter().map(|turn| (turn.epoch, turn.body.clone())).collect::<Vec<_>>())
        });
        let mut found: Vec<_> = found.collect();
        // The contract leaves the order of the histories open.
        expected.sort_by_key(|history| history.0.id);
        found.sort_by_key(|history| history.0.id);
        expect(&found, &expected)?;
        let ordered = histories.iter().all(|history| history.turns.is_sorted_by_key(|turn| turn.at));
        ordered.then_some(()).ok_or_else(|| "times that go on from turn to turn".to_owned())
    }

    pub(in super::super) fn find(&self, definition: &str, key: &str) -> Option<SagaSummary> {
        let row = self.sagas.iter().find(|row| row.header.definition == definition && row.header.key == key)?;
        self.summary(row.header.id)
    }

    pub(in super::super) fn summary(&self, saga: SagaId) -> Option<SagaSummary> {
        let row = self.sagas.iter().find(|row| row.header.id == saga)?;
        let status = match row.stands {
            Stands::Owned(epoch) if self.is_gone(epoch) => SagaStatus::Waiting,
            Stands::Owned(_) => SagaStatus::Running,
            Stands::Parked { standing: Standing::Waiting, .. } => SagaStatus::Waiting,
            Stands::Parked { standing: Standing::NeedsAttention | Standing::SetAside, .. } => {
                SagaStatus::NeedsAttention
            }
            Stands::Parked { standing: Standing::Watching, .. } => SagaStatus::Watching,
            Stands::Parked { standing: Standing::Retained, .. } => SagaStatus::Retained,
            Stands::Over { end, .. } => SagaStatus::Ended(end),
        };
        Some(SagaSummary { header: row.header.clone(), status })
    }

    pub(in super::super) fn list(&self, filter: &ListFilter, limit: usize) -> Vec<SagaSummary> {
        let mut all: Vec<SagaSummary> = self.sagas.iter().filter_map(|row| self.summary(row.header.id)).collect();
        all.sort_by_key(|summary| std::cmp::Reverse(summary.header.id));
        all.retain(|summary| filter.status.is_none_or(|status| status == summary.status));
        all.retain(|summary| filter.definition.as_ref().is_none_or(|name| *name == summary.header.definition));
        all.retain(|summary| filter.key_prefix.as_ref().is_none_or(|prefix| summary.header.key.starts_with(prefix)));
        all.retain(|summary| filter.before.is_none_or(|before| summary.header.id < before));
        all.truncate(limit);
        all
    }

    pub(in super::super) fn letters(
        &self,
        saga: Option<SagaId>,
        answer: &Result<Vec<DeadLetter>, Refusal>,
    ) -> Result<(), String> {
        self.check_letters(|row| row.open && saga.is_none_or(|saga| saga == row.letter.saga), answer)
    }

    pub(in super::super) fn unalerted(&self, answer: &Result<Vec<DeadLetter>, Refusal>) -> Result<(), String> {
        self.check_letters(|row| row.open && !row.alerted, answer)
    }

    /// Oldest first; those of one call in any order.
    fn check_letters(
        &self,
        which: impl Fn(&LetterRow) -> bool,
        answer: &Result<Vec<DeadLetter>, Refusal>,
    ) -> Result<(), String> {
        let expected: Vec<&LetterRow> = self.letters.iter().filter(|row| which(row)).collect();
        let Ok(letters) = answer else { return Err(format!("{expected:?}")) };
        let mut times = Vec::new();
        for letter in letters {
            let found = DeadLetter { opened_at: Timestamp::from_micros(0), ..letter.clone() };
            let row = expected.iter().find(|row| row.letter == found);
            times.push(row.ok_or_else(|| format!("not {letter:?}"))?.at);
        }
        let all = letters.len() == expected.len() && times.is_sorted();
        all.then_some(()).ok_or_else(|| format!("{expected:?}"))
    }

    pub(in super::super) fn acknowledge(&mut self, letters: &[DeadLetter]) {
        for row in &mut self.letters {
            row.alerted |= letters.iter().any(|letter| {
                (letter.saga, &letter.step, letter.op, letter.seq)
                    == (row.letter.saga, &row.letter.step, row.letter.op, row.letter.seq)
            });
        }
    }

    /// The open dead letters, to be acknowledged.
    pub(in super::super) fn open_letters(&self) -> Vec<DeadLetter> {
        self.letters.iter().filter(|row| row.open).map(|row| row.letter.clone()).collect()
    }

    pub(in super::super) fn expired(
        &self,
        retention: Duration,
        limit: usize,
        answer: &Result<Vec<SagaId>, Refusal>,
    ) -> Result<(), String> {
        let ended = |row: &SagaRow| match row.stands {
            Stands::Over { at, .. } if retention < LONG && at < self.now => Some(at),
            _ => None,
        };
        let mut expected: Vec<Moment> = self.sagas.iter().filter_map(ended).collect();
        expected.sort_unstable();
        expected.truncate(limit);
        let Ok(sagas) = answer else { return Err(format!("sagas that ended at {expected:?}")) };
        let at = |saga: &SagaId| self.sagas.iter().find(|row| row.header.id == *saga).and_then(ended);
        let found: Vec<Option<Moment>> = sagas.iter().map(at).collect();
        expect(&found, &expected.into_iter().map(Some).collect())
    }

    pub(in super::super) fn forget(&mut self, sagas: &[SagaId], retention: Duration) -> u64 {
        let mut forgotten = 0;
        for saga in sagas {
            let ended = |row: &SagaRow| row.header.id == *saga && matches!(row.stands, Stands::Over { .. });
            let Some(header) = self.sagas.iter().find(|row| ended(row)).map(|row| row.header.clone()) else { continue };
            self.messages.retain(|row| row.message.definition != header.definition || row.message.key != header.key);
            self.letters.retain(|row| row.letter.saga != *saga);
            self.sagas.retain(|row| row.header.id != *saga);
            forgotten += 1;
        }
        let Self { messages, sagas, now, .. } = self;
        messages.retain(|row| {
            let known =
                |saga: &SagaRow| saga.header.definition == row.message.definition && saga.header.key == row.message.key;
            sagas.iter().any(known) || retention > LONG || row.at >= *now
        });
        forgotten
    }

    /// What the next turn of a saga would carry: its owner's lease, its length, and the messages to be read.
    pub(in super::super) fn standing_of(&self, saga: SagaId) -> (Option<Lease>, usize, Vec<String>) {
        let Some(row) = self.sagas.iter().find(|row| row.header.id == saga) else { return (None, 1, Vec::new()) };
        let owner = match row.stands {
            Stands::Owned(epoch) => Some(Lease { epoch }),
            Stands::Parked { .. } | Stands::Over { .. } => None,
        };
        let mut unread: Vec<String> = self.unread_of(saga).iter().map(|row| row.message.id.clone()).collect();
        unread.extend(
            self.lines
                .iter()
                .filter(|row| row.saga == saga && row.granted && !row.read)
                .map(|row| format!("lock:{}", row.step)),
        );
        (owner, row.turns.len(), unread)
    }
}

fn is_pair(header: &SagaHeader, new: &NewSaga) -> bool {
    header.definition == new.definition && header.key == new.key
}

fn same_pair(one: &NewSaga, other: &NewSaga) -> bool {
    one.definition == other.definition && one.key == other.key
}
