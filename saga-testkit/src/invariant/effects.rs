//! All or nothing: what really happened in the world.

use saga_core::journal::{End, SagaStatus};

use super::View;
use super::problem::{Invariant, Problem};
use crate::sim::Effect;

pub(super) fn check(view: &View<'_>) -> Result<(), Problem> {
    let wrong = |what: String| Problem::err(Invariant::AllOrNothing, what);
    for effect in view.effects {
        let Some(step) = &effect.step else { continue };
        if view.cast.only_reads(step) {
            return wrong(format!("{step} is a query, and had an effect: {}", effect.what));
        }
        let twins = || view.effects.iter().filter(|other| other.stands && is_twin(other, effect));
        if effect.stands && twins().count() > 1 {
            let keys: Vec<&str> = twins().map(|twin| twin.key.as_str()).collect();
            return wrong(format!("{step} happened {} times: {}, under {} keys", keys.len(), effect.what, keys.len()));
        }
    }
    let main = view.sagas.iter().find(|saga| saga.is_main(view.cast));
    match main.map(|saga| saga.summary.status) {
        Some(SagaStatus::Ended(End::RolledBack)) if view.over => {
            match view.effects.iter().find(|left| is_left(view, left)) {
                Some(left) => wrong(format!("the saga is rolled back, and this still stands: {}", left.what)),
                None => Ok(()),
            }
        }
        Some(SagaStatus::Ended(End::Completed)) => match view.effects.iter().find(|gone| is_gone(view, gone)) {
            Some(gone) => wrong(format!("the saga is completed, and this does not stand: {}", gone.what)),
            None => Ok(()),
        },
        _ => Ok(()),
    }
}

/// The same thing done for the same step.
fn is_twin(one: &Effect, other: &Effect) -> bool {
    one.step == other.step && one.what == other.what
}

fn is_left(view: &View<'_>, effect: &Effect) -> bool {
    effect.stands && effect.step.as_ref().is_some_and(|step| view.cast.must_be_undone(step))
}

fn is_gone(view: &View<'_>, effect: &Effect) -> bool {
    let again = || view.effects.iter().any(|other| other.stands && is_twin(other, effect));
    // What a child did may have been undone by the child alone, for a reason of its own.
    !effect.stands && effect.step.as_ref().is_some_and(|step| view.cast.index(step).is_some()) && !again()
}
