//! Entity locks end with their saga.

use saga_core::journal::SagaStatus;

use super::View;
use super::problem::{Invariant, Problem};

pub(super) fn check(view: &View<'_>) -> Result<(), Problem> {
    let ended = |id| {
        let saga = view.sagas.iter().find(|saga| saga.summary.header.id == id);
        saga.is_none_or(|saga| matches!(saga.summary.status, SagaStatus::Ended(_)))
    };
    match view.locks.iter().find(|lock| ended(lock.saga)) {
        Some(lock) => Problem::err(Invariant::Locks, format!("{} is still locked by a saga that is over", lock.key)),
        None => Ok(()),
    }
}
