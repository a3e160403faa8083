#![doc = include_str!("verify.md")]

mod invariant;
mod locks;
mod row;
mod timers;
mod trail;

pub use invariant::{Invariant, Violation};
pub use locks::{Holding, holdings, locks};

use std::collections::{BTreeMap, BTreeSet};

use crate::definition::Plan;
use crate::engine::HistoryTurn;
use crate::id::{Epoch, Op, SagaId, StepName};
use crate::journal::{DeadLetter, SagaHeader, SagaStatus};
use crate::machine::{Halt, IllegalRecord, Record, SagaState};

/// All that is known of one saga.
#[derive(Clone, Copy, Debug)]
pub struct Evidence<'a> {
    /// What never changes about it.
    pub header: &'a SagaHeader,
    /// The plan that it runs by.
    pub plan: &'a Plan,
    /// Its whole history, in order.
    pub turns: &'a [HistoryTurn],
    /// Where its row says that it stands; none when that is not to be looked at.
    pub status: Option<SagaStatus>,
    /// Its open dead letters; none when they are not to be looked at.
    pub letters: Option<&'a [DeadLetter]>,
}

/// What is wrong with one saga; nothing, when all is well.
#[must_use]
pub fn saga(evidence: &Evidence<'_>) -> Vec<Violation> {
    let mut found = Vec::new();
    epochs(evidence.turns, &mut found);
    audit(evidence.turns, &mut found);
    signals(evidence.turns, &mut found);
    timers::check(evidence, &mut found);
    trail::check(evidence, &mut found);
    match fold(evidence) {
        Ok(state) => row::check(evidence, &state, &mut found),
        Err((turn, error)) => found.push(illegal(turn, &error)),
    }
    let of_saga = |violation: Violation| violation.of_saga(evidence.header.id);
    found.into_iter().map(of_saga).collect()
}

/// The machine's own fold, and the turn where it refuses.
fn fold(evidence: &Evidence<'_>) -> Result<SagaState, (usize, IllegalRecord)> {
    let first = evidence.turns.first().and_then(|turn| turn.records.first());
    let first = first.ok_or((0, IllegalRecord::NotStarted))?;
    let started = SagaState::started(evidence.plan, first, evidence.header.created_at);
    let mut state = started.map_err(|error| (0, error))?;
    for (nth, turn) in evidence.turns.iter().enumerate() {
        for record in turn.records.iter().skip(usize::from(nth == 0)) {
            state.apply(evidence.plan, record).map_err(|error| (nth, error))?;
        }
        state.turn_written();
    }
    Ok(state)
}

fn illegal(turn: usize, error: &IllegalRecord) -> Violation {
    let (invariant, step) = match error {
        IllegalRecord::UnprovenKey { step, .. } => (Invariant::Keys, Some(step)),
        IllegalRecord::WrongDirection { .. } => (Invariant::Direction, None),
        IllegalRecord::NoSuchStep { step } | IllegalRecord::NoSuchMove { step, .. } => {
            (Invariant::Automaton, Some(step))
        }
        IllegalRecord::NotStarted => (Invariant::Automaton, None),
    };
    let violation = Violation::new(invariant, format!("turn {turn} is not legal: {error}"));
    match step {
        Some(step) => violation.at_step(step),
        None => violation,
    }
}

/// Nothing is written under an epoch that is known to be gone: one under which an attempt was begun that another
/// found interrupted. Only a start goes without an epoch. (Epochs need not grow along a history: a worker may take
/// over from one whose lease is younger than its own.)
fn epochs(turns: &[HistoryTurn], found: &mut Vec<Violation>) {
    let mut begun: BTreeMap<(&StepName, Op), Epoch> = BTreeMap::new();
    let mut gone: BTreeSet<Epoch> = BTreeSet::new();
    for (nth, turn) in turns.iter().enumerate() {
        let Some(epoch) = turn.epoch else {
            if nth > 0 {
                found.push(Violation::new(Invariant::Fencing, format!("turn {nth} was written under no lease")));
            }
            continue;
        };
        if gone.contains(&epoch) {
            let finding = format!("turn {nth} was written under epoch {epoch}, which another worker had found gone");
            found.push(Violation::new(Invariant::Fencing, finding));
        }
        for record in &turn.records {
            match record {
                Record::Begun { step, op, .. } => {
                    begun.insert((step, *op), epoch);
                }
                Record::Interrupted { step, op, .. } => {
                    gone.extend(begun.remove(&(step, *op)).filter(|before| *before != epoch));
                }
                _ => {}
            }
        }
    }
}

/// Every decision from outside says whose it is, and why.
fn audit(turns: &[HistoryTurn], found: &mut Vec<Violation>) {
    for record in turns.iter().flat_map(|turn| &turn.records) {
        let (what, step, actor, reason) = match record {
            Record::Resolved { step, actor, reason, .. } => ("a decision", step.as_ref(), actor, reason),
            Record::Halted { cause: Halt::Cancelled { actor, reason } } => ("a cancellation", None, actor, reason),
            Record::RetriedNow { actor, reason } => ("a retry at once", None, actor, reason),
            Record::CancelRefused { actor, reason } => ("a refused cancellation", None, actor, reason),
            _ => continue,
        };
        if actor.trim().is_empty() || reason.trim().is_empty() {
            let violation = Violation::new(Invariant::Audit, format!("{what} has no actor or no reason"));
            found.push(step.map_or(violation.clone(), |step| violation.at_step(step)));
        }
    }
}

/// A message is taken in once.
fn signals(turns: &[HistoryTurn], found: &mut Vec<Violation>) {
    let mut seen = BTreeSet::new();
    for record in turns.iter().flat_map(|turn| &turn.records) {
        let Record::Signalled { name, id, .. } = record else { continue };
        // Histories of earlier versions have no ids.
        if !id.is_empty() && !seen.insert(id) {
            found.push(Violation::new(Invariant::Signals, format!("the signal {name} with the id {id} came in twice")));
        }
    }
}

/// What is wrong with a history that cannot be read at all.
#[must_use]
pub fn unreadable(saga: SagaId, error: &dyn std::error::Error) -> Violation {
    Violation::new(Invariant::Automaton, format!("the history cannot be read: {error}")).of_saga(saga)
}
