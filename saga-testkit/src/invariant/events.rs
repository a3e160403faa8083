//! Events: published if and only if they were committed.

use std::collections::BTreeSet;

use saga_core::Kind;
use saga_core::machine::Record;

use super::problem::{Invariant, Problem};
use super::{View, origin};

pub(super) fn check(view: &View<'_>) -> Result<(), Problem> {
    for saga in view.sagas.iter().filter(|saga| saga.is_main(view.cast)) {
        let publishes = |record: &&Record| match record {
            Record::Done { step, .. } => {
                origin(view.cast, step).is_some_and(|index| view.cast.plan.steps()[index].kind == Kind::Publish)
            }
            _ => false,
        };
        let committed = saga.records().filter(publishes).count();
        let id = saga.summary.header.id;
        let arrived: BTreeSet<&str> =
            view.published.iter().filter(|(from, _)| *from == id).map(|(_, event)| event.as_str()).collect();
        if arrived.len() != committed {
            let found = format!("{committed} events were committed, and {} were published", arrived.len());
            return Problem::err(Invariant::Events, found);
        }
    }
    Ok(())
}
