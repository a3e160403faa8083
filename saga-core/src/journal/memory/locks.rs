//! Entity locks: a line for each entity, and whoever is first in all of its lines has them.

use std::collections::BTreeMap;

use super::{Place, Tables};
use crate::id::{Epoch, SagaId, StepName};
use crate::journal::{After, Lease, LockChange, LockEntry, Received, Standing, Turn, lock_grant};
use crate::seeded::seeded;
use crate::time::Timestamp;

/// A saga's place in the line for one entity.
#[derive(Debug)]
pub(super) struct LockRow {
    key: String,
    saga: SagaId,
    step: StepName,
    arrival: u64,
    token: Option<u64>,
    asked_at: Timestamp,
    read: bool,
}

impl Tables {
    pub(super) fn change_locks(&mut self, turn: &Turn, now: Timestamp) {
        for row in &mut self.locks {
            let own = row.saga == turn.saga && row.token.is_some();
            row.read |= own && turn.read.contains(&format!("lock:{}", row.step));
        }
        let parked = matches!(turn.after, After::Park { standing: Standing::NeedsAttention, .. });
        let ends = matches!(turn.after, After::End(_)) || seeded("M10") && parked;
        match &turn.locks {
            _ if ends => self.locks.retain(|row| row.saga != turn.saga),
            Some(LockChange::Ask { step, keys }) if !self.locks.iter().any(|row| row.saga == turn.saga) => {
                self.last_arrival += 1;
                let arrival = self.last_arrival;
                self.locks.extend(keys.iter().map(|key| LockRow {
                    key: key.clone(),
                    saga: turn.saga,
                    step: step.clone(),
                    arrival,
                    token: None,
                    asked_at: now,
                    read: false,
                }));
            }
            Some(LockChange::Ask { .. }) => return,
            Some(LockChange::GiveUp) => self.locks.retain(|row| row.saga != turn.saga),
            None => return,
        }
        self.grant(now);
    }

    /// Whoever is first in all its lines has the locks.
    fn grant(&mut self, now: Timestamp) {
        let first = |rows: &[LockRow], saga: SagaId| {
            let mine = rows.iter().filter(|row| row.saga == saga);
            mine.clone().all(|own| !rows.iter().any(|row| row.key == own.key && row.arrival < own.arrival))
        };
        let mut waiting: Vec<SagaId> =
            self.locks.iter().filter(|row| row.token.is_none()).map(|row| row.saga).collect();
        waiting.dedup();
        for saga in waiting {
            if !first(&self.locks, saga) {
                continue;
            }
            self.last_token += 1;
            for row in self.locks.iter_mut().filter(|row| row.saga == saga) {
                row.token = Some(self.last_token);
            }
            if let Some(header) = self.sagas.get(&saga).map(|row| row.header.clone()) {
                self.wake(&header, now);
            }
        }
    }

    /// The locks of these leases' sagas end with the leases: a seeded bug.
    pub(super) fn give_up_locks_of(&mut self, epochs: &[Epoch]) {
        let Self { locks, sagas, .. } = self;
        let is_theirs = |saga: &SagaId| matches!(sagas.get(saga).map(|row| row.place), Some(Place::Owned(epoch)) if epochs.contains(&epoch));
        locks.retain(|row| !is_theirs(&row.saga));
    }

    /// Whether the saga has locks that no turn has taken note of.
    pub(super) fn has_unread_grant(&self, saga: SagaId) -> bool {
        self.locks.iter().any(|row| row.saga == saga && row.token.is_some() && !row.read)
    }

    /// The locks that the lease's sagas have and do not know of.
    pub(super) fn unread_grants(&self, lease: Lease) -> Vec<Received> {
        let mut grants: BTreeMap<(SagaId, StepName), BTreeMap<String, u64>> = BTreeMap::new();
        for row in self.locks.iter().filter(|row| !row.read && self.is_owned(row.saga, lease)) {
            if let Some(token) = row.token {
                grants.entry((row.saga, row.step.clone())).or_default().insert(row.key.clone(), token);
            }
        }
        grants.into_iter().map(|((saga, step), tokens)| lock_grant(saga, &step, tokens)).collect()
    }

    pub(super) fn lock_entries(&self, limit: usize) -> Vec<LockEntry> {
        let mut rows: Vec<&LockRow> = self.locks.iter().collect();
        rows.sort_by(|a, b| (&a.key, a.arrival).cmp(&(&b.key, b.arrival)));
        let entry = |row: &LockRow| LockEntry {
            key: row.key.clone(),
            saga: row.saga,
            token: row.token,
            asked_at: row.asked_at,
        };
        rows.into_iter().take(limit).map(entry).collect()
    }
}
