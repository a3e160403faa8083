//! What must hold of every run, whatever went wrong in it: checked from the outside, over the journal's
//! records and the effects in the world. None of it asks the engine.

mod attention;
mod direction;
mod effects;
mod events;
mod history;
mod keys;
mod locks;
mod order;
mod owed;
mod problem;
mod signals;
#[cfg(test)]
mod tests;

use saga_core::engine::HistoryTurn;
use saga_core::journal::{DeadLetter, LockEntry, SagaSummary};
use saga_core::machine::Record;
use saga_core::{SagaId, StepName};

pub(crate) use owed::turned;
pub use problem::{Invariant, Problem};

use crate::sim::{Cast, Effect};

/// A saga as the journal has it.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) summary: SagaSummary,
    pub(crate) turns: Vec<HistoryTurn>,
}

/// All that a run left behind.
#[derive(Debug)]
pub(crate) struct View<'a> {
    pub(crate) cast: &'a Cast,
    pub(crate) sagas: &'a [Told],
    /// Open dead letters.
    pub(crate) letters: &'a [DeadLetter],
    pub(crate) effects: &'a [Effect],
    pub(crate) locks: &'a [LockEntry],
    /// Events as they reached the broker: the saga and the event's id.
    pub(crate) published: &'a [(SagaId, String)],
    /// Signals that were accepted, by message id.
    pub(crate) signalled: &'a [String],
    /// Whether there is one worker at a time, so that epochs grow along each history.
    pub(crate) alone: bool,
    /// Whether nothing is left to be done: no saga waits for a human.
    pub(crate) over: bool,
}

impl Told {
    pub(crate) fn records(&self) -> impl Iterator<Item = &Record> {
        self.turns.iter().flat_map(|turn| &turn.records)
    }

    fn is_main(&self, cast: &Cast) -> bool {
        self.summary.header.definition == cast.definition
    }
}

type Check = fn(&View<'_>) -> Result<(), Problem>;

/// The first invariant that the run breaks, if it breaks one.
pub(crate) fn check(view: &View<'_>) -> Option<Problem> {
    let checks: [Check; 10] = [
        history::check,
        direction::check,
        order::check,
        owed::check,
        keys::check,
        attention::check,
        effects::check,
        events::check,
        signals::check,
        locks::check,
    ];
    checks.iter().find_map(|check| check(view).err())
}

/// The step, or the one whose item it is.
fn origin(cast: &Cast, step: &StepName) -> Option<usize> {
    cast.index(step.as_str())
}
