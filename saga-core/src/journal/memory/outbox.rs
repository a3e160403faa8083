//! The outbox: events that wait to be published.

use std::collections::HashSet;

use super::Tables;
use crate::id::Epoch;
use crate::journal::{DeadEvent, EventFate, Lease, OutboxBatch, OutboxEvent, SettledEvent, Turn};
use crate::seeded::seeded;
use crate::time::Timestamp;

#[derive(Debug)]
pub(super) struct EventRow {
    event: OutboxEvent,
    owner: Epoch,
    due: Timestamp,
    dead: Option<String>,
}

impl Tables {
    /// Stores the events of a turn that is written.
    pub(super) fn publish(&mut self, lease: Lease, turn: &Turn, now: Timestamp) {
        for event in &turn.events {
            let event = OutboxEvent { saga: turn.saga, event: event.clone(), attempts: 0, at: now };
            self.events.push(EventRow { event, owner: lease.epoch, due: now, dead: None });
        }
    }

    /// What is due, of this lease and of those that are gone; a saga's events hold back its later ones.
    pub(super) fn outbox(&mut self, lease: Lease, limit: usize, now: Timestamp) -> OutboxBatch {
        let leases: Vec<Epoch> = self.leases.iter().filter(|(_, row)| !row.fenced).map(|(epoch, _)| *epoch).collect();
        let mut batch = OutboxBatch::default();
        let mut held = HashSet::new();
        for row in self.events.iter_mut().filter(|row| row.dead.is_none()) {
            if !leases.contains(&row.owner) || seeded("M5") {
                row.owner = lease.epoch;
            }
            let saga = row.event.saga;
            if row.owner != lease.epoch || held.contains(&saga) {
                held.insert(saga);
            } else if row.due > now {
                held.insert(saga);
                batch.next_due_at = Some(batch.next_due_at.map_or(row.due, |due| due.min(row.due)));
            } else if batch.events.len() < limit {
                batch.events.push(row.event.clone());
            }
        }
        batch
    }

    pub(super) fn settle_events(&mut self, lease: Lease, settled: &[SettledEvent], now: Timestamp) {
        for SettledEvent { id, fate } in settled {
            let own = |row: &EventRow| row.event.event.id == *id && row.owner == lease.epoch && row.dead.is_none();
            let Some(at) = self.events.iter().position(own) else { continue };
            match fate {
                EventFate::Published => {
                    self.events.remove(at);
                }
                // As one that is behind the last id that was sent.
                EventFate::Retry { .. } if seeded("M8") => {
                    self.events.remove(at);
                }
                EventFate::Retry { after, .. } => {
                    let row = &mut self.events[at];
                    row.event.attempts += 1;
                    row.due = now.after(*after);
                }
                EventFate::Dead { error } => {
                    let row = &mut self.events[at];
                    row.event.attempts += 1;
                    row.dead = Some(error.clone());
                }
            }
        }
    }

    pub(super) fn dead_events(&self, limit: usize) -> Vec<DeadEvent> {
        let dead = |row: &EventRow| Some(DeadEvent { event: row.event.clone(), error: row.dead.clone()? });
        self.events.iter().filter_map(dead).take(limit).collect()
    }

    pub(super) fn revive_event(&mut self, id: &str, again: bool, now: Timestamp) -> bool {
        let waits = |row: &EventRow| row.event.event.id == *id && row.dead.is_some();
        let Some(at) = self.events.iter().position(waits) else { return false };
        if again {
            let row = &mut self.events[at];
            row.event.attempts = 0;
            (row.dead, row.due) = (None, now);
        } else {
            self.events.remove(at);
        }
        true
    }
}
