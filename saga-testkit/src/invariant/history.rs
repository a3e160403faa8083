//! Histories: legal under the machine, and written by one worker at a time.

use saga_core::machine::{Record, SagaState};

use super::problem::{Invariant, Problem};
use super::{Told, View};

pub(super) fn check(view: &View<'_>) -> Result<(), Problem> {
    view.sagas.iter().try_for_each(|saga| {
        let epochs: Vec<_> = saga.turns.iter().filter_map(|turn| turn.epoch).collect();
        if view.alone && !epochs.is_sorted() {
            return Problem::err(Invariant::History, format!("a worker that was gone has written: epochs {epochs:?}"));
        }
        ends_once(saga)?;
        if !saga.is_main(view.cast) {
            return Ok(());
        }
        let turns: Vec<Vec<Record>> = saga.turns.iter().map(|turn| turn.records.clone()).collect();
        let replayed = SagaState::replay(&view.cast.plan, &turns, saga.summary.header.created_at);
        replayed.map(drop).map_err(|error| Problem::new(Invariant::History, format!("it cannot be replayed: {error}")))
    })
}

fn ends_once(saga: &Told) -> Result<(), Problem> {
    let completed = saga.records().filter(|record| matches!(record, Record::Completed)).count();
    let reopened = saga.records().filter(|record| matches!(record, Record::Reopened)).count();
    if completed > reopened + 1 {
        return Problem::err(Invariant::History, format!("the saga is completed {completed} times"));
    }
    Ok(())
}
