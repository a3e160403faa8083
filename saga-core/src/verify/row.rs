//! What the fold of a history says against what the saga's row, and its dead letters, say.

use std::collections::BTreeSet;

use super::{Evidence, Invariant, Violation};
use crate::id::Op;
use crate::journal::{End, SagaStatus};
use crate::machine::{Direction, Phase, SagaState};

pub(super) fn check(evidence: &Evidence<'_>, state: &SagaState, found: &mut Vec<Violation>) {
    if state.direction() == Direction::Completed {
        all_steps_went_by(evidence, state, found);
    }
    if let Some(status) = evidence.status.filter(|status| !agrees(*status, state)) {
        let finding = format!("the row says {status:?}, and the history says {}", standing(state));
        found.push(Violation::new(Invariant::Automaton, finding));
    }
    if evidence.letters.is_some() {
        letters(evidence, state, found);
    }
}

/// A completed saga left no step out that its plan takes.
fn all_steps_went_by(evidence: &Evidence<'_>, state: &SagaState, found: &mut Vec<Violation>) {
    for (index, step) in state.steps().iter().enumerate() {
        if !step.phase().went_by() && !state.is_passed_over(evidence.plan, index) {
            let finding = format!("the saga is completed, and the step is {:?}", step.phase());
            found.push(Violation::new(Invariant::NetEffect, finding).at_step(step.name()));
        }
    }
}

/// Whether a saga in this state can have a row with this status.
fn agrees(status: SagaStatus, state: &SagaState) -> bool {
    let direction = state.direction();
    let is_watched = state.steps().iter().any(|step| step.phase() == Phase::Watching || step.due().is_some());
    match status {
        SagaStatus::Ended(End::Completed) => direction == Direction::Completed && !state.is_retained(),
        SagaStatus::Ended(End::RolledBack) => direction == Direction::RolledBack && !is_watched,
        // In the memory of a worker, or waiting for one: whatever is not over, and what is over but is still
        // watched, or kept. What ends for good leaves its row with that turn.
        SagaStatus::Running | SagaStatus::Waiting => direction != Direction::Completed || state.is_retained(),
        SagaStatus::NeedsAttention => state.needs_attention(),
        SagaStatus::Watching => direction == Direction::RolledBack,
        SagaStatus::Retained => state.is_retained(),
    }
}

fn standing(state: &SagaState) -> String {
    let attention = if state.needs_attention() { ", and needs attention" } else { "" };
    let retained = if state.is_retained() { ", and is kept for its parent" } else { "" };
    format!("{:?}{attention}{retained}", state.direction())
}

/// Open dead letters are exactly what waits for a human.
fn letters(evidence: &Evidence<'_>, state: &SagaState, found: &mut Vec<Violation>) {
    let blocked = state.steps().iter().filter_map(|step| Some((Some(step.name().clone()), step.blocked()?)));
    let whole = state.is_set_aside().then_some((None, Op::Run));
    let expected: BTreeSet<_> = blocked.chain(whole).collect();
    let mut open = BTreeSet::new();
    for letter in evidence.letters.unwrap_or_default() {
        let place = (letter.step.clone(), letter.op);
        if !open.insert(place.clone()) {
            report(&place, "has two open dead letters", found);
        }
    }
    for missing in expected.difference(&open) {
        report(missing, "waits for a human and has no open dead letter", found);
    }
    for idle in open.difference(&expected) {
        report(idle, "has an open dead letter and does not wait for a human", found);
    }
}

fn report((step, op): &(Option<crate::StepName>, Op), what: &str, found: &mut Vec<Violation>) {
    let violation = Violation::new(Invariant::DeadLetters, format!("{op} {what}"));
    found.push(step.as_ref().map_or(violation.clone(), |step| violation.at_step(step)));
}
