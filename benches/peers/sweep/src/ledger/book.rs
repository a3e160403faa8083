//! What the ledger has noted.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::{Ask, Op, Said};

/// What an engine told of a saga.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum End {
    /// All of it is done.
    Completed,
    /// It failed, and nothing is said of anything that was not undone.
    RolledBack,
    /// It ended in an error which says that a compensation failed.
    UndoFailed,
    /// It stands open before a human.
    NeedsHuman,
    /// The engine itself could not say.
    EngineError,
}

/// One thing that can be undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Stands,
    Closed,
}

/// The books of one run.
#[derive(Debug, Default)]
pub struct Book {
    /// By what the keys say: a participant with idempotency keys.
    keyed: HashMap<(Op, String), State>,
    /// How often each effect was had and undone by a participant without keys.
    plain: HashMap<Op, (u32, u32)>,
    /// Keys under which an effect was had, with those that were undone.
    had: HashMap<Op, u32>,
    /// Calls that reached the participant.
    pub calls: u32,
    /// Calls of each kind, to tell the first from those made again.
    pub kinds: HashMap<(Op, bool), u32>,
    /// What was told, by whom.
    pub told: Vec<(u32, End, String)>,
}

impl Book {
    /// Does what is asked.
    pub fn act(&mut self, worker: u32, ask: &Ask) -> Said {
        match ask {
            Ask::Perform { op, key } => self.perform(*op, key),
            Ask::Undo { op, key } => {
                self.note(*op, true);
                self.plain.entry(*op).or_default().1 += 1;
                self.keyed.insert((*op, key.clone()), State::Closed);
                Said::Done
            }
            Ask::Probe { op, key } => match self.keyed.entry((*op, key.clone())).or_insert(State::Closed) {
                State::Stands => Said::Happened,
                State::Closed => Said::NotHappened,
            },
            Ask::Told { end, text } => {
                self.told.push((worker, *end, text.clone()));
                Said::Done
            }
        }
    }

    fn perform(&mut self, op: Op, key: &str) -> Said {
        self.note(op, false);
        self.plain.entry(op).or_default().0 += 1;
        match self.keyed.get(&(op, key.to_owned())) {
            Some(State::Stands) => Said::Done,
            Some(State::Closed) => Said::Declined,
            None => {
                self.keyed.insert((op, key.to_owned()), State::Stands);
                *self.had.entry(op).or_default() += 1;
                Said::Done
            }
        }
    }

    fn note(&mut self, op: Op, undo: bool) {
        self.calls += 1;
        *self.kinds.entry((op, undo)).or_default() += 1;
    }

    /// Calls made again, forward and back.
    pub fn again(&self) -> u32 {
        self.kinds.values().map(|calls| calls.saturating_sub(1)).sum()
    }

    /// Effects had more than once, were there no keys.
    pub fn doubled_without_keys(&self) -> u32 {
        self.plain.values().map(|(had, _)| had.saturating_sub(1)).sum()
    }

    /// Effects had more than once under different keys.
    pub fn doubled(&self) -> u32 {
        self.had.values().map(|had| had.saturating_sub(1)).sum()
    }

    /// Effects that stand, for a participant with keys.
    pub fn stand(&self) -> Vec<Op> {
        let stands = |op: &Op| self.keyed.iter().any(|((of, _), state)| of == op && *state == State::Stands);
        Op::ALL.into_iter().filter(stands).collect()
    }
}
