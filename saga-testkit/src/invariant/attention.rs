//! Dead letters: exactly when a human is needed.

use std::collections::BTreeSet;

use saga_core::journal::SagaStatus;
use saga_core::machine::Record;
use saga_core::{Kind, Op, SagaId, StepName};

use super::problem::{Invariant, Problem};
use super::{Told, View, origin};
use crate::sim::Cast;

pub(super) fn check(view: &View<'_>) -> Result<(), Problem> {
    for saga in view.sagas {
        let (id, status) = (saga.summary.header.id, saga.summary.status);
        let open: BTreeSet<_> = letters(view, id).collect();
        let waits = status == SagaStatus::NeedsAttention;
        if waits == open.is_empty() {
            let what = if waits {
                "waits for a human, and no dead letter tells"
            } else {
                "has a dead letter, and does not wait"
            };
            return Problem::err(Invariant::DeadLetters, format!("the saga {what}"));
        }
        let told = told(saga);
        if let Some((step, op)) = open.symmetric_difference(&told).next() {
            let step = step.as_ref().map_or_else(|| "the saga".to_owned(), ToString::to_string);
            return Problem::err(
                Invariant::DeadLetters,
                format!("{op} of {step}: the letter and the history disagree"),
            );
        }
        if saga.is_main(view.cast) {
            nothing_swallowed(view.cast, saga)?;
        }
    }
    Ok(())
}

fn letters<'a>(view: &'a View<'_>, saga: SagaId) -> impl Iterator<Item = (Option<StepName>, Op)> + 'a {
    view.letters.iter().filter(move |letter| letter.saga == saga).map(|letter| (letter.step.clone(), letter.op))
}

/// The operations that wait for a human by the saga's own records.
fn told(saga: &Told) -> BTreeSet<(Option<StepName>, Op)> {
    let mut waiting = BTreeSet::new();
    for record in saga.records() {
        match record {
            Record::NeedsAttention { step, op, .. } => _ = waiting.insert((step.clone(), *op)),
            Record::Resolved { step, op, .. } => _ = waiting.remove(&(step.clone(), *op)),
            _ => {}
        }
    }
    waiting
}

/// What was given up, and must be done, is told to a human.
fn nothing_swallowed(cast: &Cast, saga: &Told) -> Result<(), Problem> {
    let mut given_up: Option<(&StepName, Op)> = None;
    for record in saga.records() {
        match record {
            Record::Failed { step, op, retry_at: None, .. } if is_due(cast, step, *op) => given_up = Some((step, *op)),
            Record::NeedsAttention { step: Some(step), op, .. } if given_up == Some((step, *op)) => given_up = None,
            Record::Done { step, .. } | Record::Compensated { step, .. } => {
                given_up = given_up.filter(|(failed, _)| *failed != step);
            }
            _ => {}
        }
    }
    match given_up {
        Some((step, op)) => {
            Problem::err(Invariant::DeadLetters, format!("{op} of {step} has failed for good, and nobody was told"))
        }
        None => Ok(()),
    }
}

/// Whether it has to be done, whatever it takes.
fn is_due(cast: &Cast, step: &StepName, op: Op) -> bool {
    let kind = origin(cast, step).map(|index| cast.plan.steps()[index].kind);
    match op {
        Op::Compensate => true,
        Op::Run => kind == Some(Kind::Retryable),
        Op::Probe => false,
    }
}
