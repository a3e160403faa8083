//! Compensations run in reverse order of the steps.

use saga_core::Op;
use saga_core::machine::Record;

use super::owed::Books;
use super::problem::{Invariant, Problem};
use super::{Told, View, origin};
use crate::sim::Cast;

pub(super) fn check(view: &View<'_>) -> Result<(), Problem> {
    view.sagas.iter().filter(|saga| saga.is_main(view.cast)).try_for_each(|saga| follow(view.cast, saga))
}

fn follow(cast: &Cast, saga: &Told) -> Result<(), Problem> {
    let mut books = Books::default();
    for record in saga.records() {
        if let Record::Begun { step, op: Op::Compensate, .. } = record
            && let Some(index) = origin(cast, step)
            && let Some((later, _)) = books.owed(cast).find(|(_, later)| cast.plan.is_before(index, *later))
        {
            return Problem::err(
                Invariant::ReverseOrder,
                format!("{step} is undone before {later}, which came after it"),
            );
        }
        books.take(record);
    }
    Ok(())
}
