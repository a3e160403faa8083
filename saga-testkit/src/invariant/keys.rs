//! One key, and one input, for each operation; a new generation only with proof.

use std::collections::BTreeMap;

use saga_core::machine::Record;
use saga_core::{Digest, Op, StepName};

use super::owed::Books;
use super::problem::{Invariant, Problem};
use super::{Told, View};

pub(super) fn check(view: &View<'_>) -> Result<(), Problem> {
    view.sagas.iter().try_for_each(follow)
}

fn follow(saga: &Told) -> Result<(), Problem> {
    let mut books = Books::default();
    let mut known: BTreeMap<(StepName, Op), (u32, Digest)> = BTreeMap::new();
    for record in saga.records() {
        if let Record::Begun { step, op: op @ (Op::Run | Op::Compensate), generation, input, .. } = record {
            let now = (*generation, *input);
            let before = *known.entry((step.clone(), *op)).or_insert(now);
            if before.0 == now.0 && before.1 != now.1 {
                return Problem::err(Invariant::Keys, format!("{step} is given another input under the same key"));
            }
            if now.0 < before.0 || *op == Op::Run && now.0 > before.0 && books.of(step).is_owed() {
                return Problem::err(
                    Invariant::Keys,
                    format!("{step} has a new key while the old one may have done it"),
                );
            }
            known.insert((step.clone(), *op), now);
        }
        books.take(record);
    }
    Ok(())
}
