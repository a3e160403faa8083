//! The outbox.

use std::collections::BTreeMap;

use saga_core::SagaId;
use saga_core::journal::{DeadEvent, EventFate, Lease, OutboxBatch, SettledEvent, Turn};

use super::{EventRow, Model, Refusal, expect, length};

impl Model {
    pub(super) fn publish(&mut self, lease: Lease, turn: &Turn) {
        for event in &turn.events {
            self.events.push(EventRow {
                saga: turn.saga,
                event: event.clone(),
                owner: lease.epoch,
                due: self.now,
                attempts: 0,
                dead: None,
            });
        }
    }

    pub(in super::super) fn relay(
        &mut self,
        lease: Lease,
        limit: usize,
        answer: &Result<OutboxBatch, Refusal>,
    ) -> Result<(), String> {
        if let Err(refusal) = self.valid(lease).map(drop) {
            return expect(&answer.clone().map(drop), &Err(refusal));
        }
        let Ok(batch) = answer else { return Err("a batch".to_owned()) };
        for place in 0..self.events.len() {
            if self.events[place].dead.is_none() && self.is_gone(self.events[place].owner) {
                self.events[place].owner = lease.epoch;
            }
        }
        // Of each saga, what can be published before something stands in the way.
        let mut ready: BTreeMap<SagaId, Vec<&EventRow>> = BTreeMap::new();
        let mut next = None;
        let mut sagas: Vec<SagaId> = self.events.iter().map(|row| row.saga).collect();
        sagas.dedup();
        for saga in sagas {
            let of = self.events.iter().filter(|row| row.saga == saga && row.dead.is_none());
            let can = |row: &&EventRow| row.owner == lease.epoch && row.due <= self.now;
            ready.insert(saga, of.clone().take_while(can).collect());
            let stopped = of.clone().find(|row| !can(row)).filter(|row| row.owner == lease.epoch);
            next = [next, stopped.map(|row| row.due)].into_iter().flatten().min();
        }
        let total = ready.values().map(Vec::len).sum::<usize>().min(limit);
        for (saga, rows) in &ready {
            let given: Vec<_> = batch.events.iter().filter(|event| event.saga == *saga).collect();
            let right = given.len() <= rows.len()
                && given
                    .iter()
                    .zip(rows)
                    .all(|(event, row)| event.event == row.event && event.attempts == row.attempts);
            if !right {
                return Err(format!("of {saga} in this order: {rows:?}"));
            }
        }
        if batch.events.len() != total || batch.events.iter().any(|event| !ready.contains_key(&event.saga)) {
            return Err(format!("{total} events of {ready:?}"));
        }
        // Whoever is given as much as it asked for asks again anyway.
        if total == limit { Ok(()) } else { self.check_next(batch.next_due_at, next) }
    }

    pub(in super::super) fn settle(&mut self, lease: Lease, settled: &[SettledEvent]) {
        for SettledEvent { id, fate } in settled {
            let now = self.now;
            let own = |row: &&mut EventRow| row.event.id == *id && row.owner == lease.epoch && row.dead.is_none();
            let Some(row) = self.events.iter_mut().find(own) else { continue };
            row.attempts += 1;
            match fate {
                EventFate::Published => self.events.retain(|row| row.event.id != *id),
                EventFate::Retry { after, .. } => row.due = now + length(*after),
                EventFate::Dead { error } => row.dead = Some(error.clone()),
            }
        }
    }

    pub(in super::super) fn dead_events(&self, answer: &Result<Vec<DeadEvent>, Refusal>) -> Result<(), String> {
        let dead = self.events.iter().filter_map(|row| Some((row, row.dead.clone()?)));
        let mut expected: Vec<_> =
            dead.map(|(row, error)| (row.saga, row.event.id.clone(), row.attempts, error)).collect();
        let Ok(events) = answer else { return Err(format!("{expected:?}")) };
        let of =
            |dead: &DeadEvent| (dead.event.saga, dead.event.event.id.clone(), dead.event.attempts, dead.error.clone());
        let mut found: Vec<_> = events.iter().map(of).collect();
        found.sort_unstable();
        expected.sort_unstable();
        expect(&found, &expected)
    }

    pub(in super::super) fn revive(&mut self, id: &str, again: bool) -> bool {
        let now = self.now;
        let Some(row) = self.events.iter_mut().find(|row| row.event.id == *id && row.dead.is_some()) else {
            return false;
        };
        (row.attempts, row.due, row.dead) = (0, now, None);
        if !again {
            self.events.retain(|row| row.event.id != *id);
        }
        true
    }

    /// The ids of the events that the lease has and of the dead ones, to be settled or decided on.
    pub(in super::super) fn ready_events(&self, lease: Lease) -> Vec<String> {
        let mut held: Vec<SagaId> = Vec::new();
        let mut ready = Vec::new();
        for row in self.events.iter().filter(|row| row.dead.is_none()) {
            if row.owner != lease.epoch || row.due > self.now || held.contains(&row.saga) {
                held.push(row.saga);
            } else {
                ready.push(row.event.id.clone());
            }
        }
        ready
    }

    pub(in super::super) fn dead_event_ids(&self) -> Vec<String> {
        self.events.iter().filter(|row| row.dead.is_some()).map(|row| row.event.id.clone()).collect()
    }
}
