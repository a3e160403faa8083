//! Signals: each that was accepted is taken in once.

use saga_core::machine::Record;

use super::View;
use super::problem::{Invariant, Problem};

pub(super) fn check(view: &View<'_>) -> Result<(), Problem> {
    let main = || view.sagas.iter().filter(|saga| saga.is_main(view.cast));
    for sent in view.signalled {
        let is_it = |record: &&Record| matches!(record, Record::Signalled { id, .. } if id == sent);
        let times = main().flat_map(|saga| saga.records()).filter(is_it).count();
        if times > 1 || times == 0 && view.over {
            return Problem::err(Invariant::Signals, format!("{sent} was accepted, and was taken in {times} times"));
        }
    }
    Ok(())
}
