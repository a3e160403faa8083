//! The direction: forward, then perhaps back, and never back past the pivot.

use saga_core::machine::Record;
use saga_core::{Kind, Op};

use super::problem::{Invariant, Problem};
use super::{Told, View, origin};
use crate::sim::Cast;

pub(super) fn check(view: &View<'_>) -> Result<(), Problem> {
    view.sagas.iter().filter(|saga| saga.is_main(view.cast)).try_for_each(|saga| follow(view.cast, saga))
}

fn follow(cast: &Cast, saga: &Told) -> Result<(), Problem> {
    let wrong = |what: String| Problem::err(Invariant::Direction, what);
    let (mut back, mut committed, mut in_flight) = (false, false, Vec::new());
    for record in saga.records() {
        match record {
            Record::TurnedBack { .. } | Record::Reopened => {
                if committed {
                    return wrong("the saga turns back after its pivot is done".to_owned());
                }
                back = true;
            }
            Record::Begun { step, op: Op::Run, .. } => {
                if back {
                    return wrong(format!("{step} begins after the saga has turned back"));
                }
                in_flight.push(step.clone());
            }
            Record::Begun { step, op: Op::Compensate, .. } => {
                if !back {
                    return wrong(format!("{step} is undone before the saga has turned back"));
                }
                if let Some(running) = in_flight.first() {
                    return wrong(format!("{step} is undone while {running} is still under way"));
                }
            }
            Record::Done { step, .. } => {
                in_flight.retain(|running| running != step);
                let pivot = origin(cast, step).is_some_and(|index| cast.plan.steps()[index].kind == Kind::Pivot);
                committed |= pivot;
            }
            Record::Failed { step, op: Op::Run, .. } | Record::Interrupted { step, op: Op::Run, .. } => {
                in_flight.retain(|running| running != step);
            }
            _ => {}
        }
    }
    Ok(())
}
