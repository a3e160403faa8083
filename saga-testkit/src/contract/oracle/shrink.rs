//! A life in which an answer differs is cut down to what matters.

use super::super::Fixture;
use super::draw::{Draft, Operation, Place, Reading};
use super::life::{Difference, Tally, live};

/// How many lives are lived for that.
const TRIES: usize = 600;

/// How many operations are left, and what they lead to.
pub(super) async fn smallest(
    fixture: &impl Fixture,
    mut operations: Vec<Operation>,
    mut found: Difference,
) -> (usize, String) {
    let mut tries = TRIES;
    operations.truncate(found.at + 1);
    let mut chunk = operations.len().div_ceil(2);
    while chunk > 0 {
        let mut at = 0;
        while at < operations.len() && tries > 0 {
            let mut fewer = operations.clone();
            fewer.drain(at..(at + chunk).min(fewer.len()));
            tries -= 1;
            match live(fixture, &fewer, &mut Tally::default()).await {
                Err(difference) => {
                    fewer.truncate(difference.at + 1);
                    (operations, found) = (fewer, difference);
                }
                Ok(()) => at += chunk,
            }
        }
        chunk /= 2;
    }
    let mut at = 0;
    while at < operations.len() && tries > 0 {
        let mut smaller = None;
        for simpler in simpler(&operations[at]) {
            let mut other = operations.clone();
            other[at] = simpler;
            tries = tries.saturating_sub(1);
            if let Err(difference) = live(fixture, &other, &mut Tally::default()).await {
                other.truncate(difference.at + 1);
                smaller = Some((other, difference));
                break;
            }
        }
        match smaller {
            Some(smaller) => (operations, found) = smaller,
            None => at += 1,
        }
    }
    let calls: Vec<String> =
        found.calls.iter().enumerate().map(|(number, call)| format!("{number:>3}. {call}")).collect();
    (operations.len(), calls.join("\n"))
}

/// The operation with a little less in it, in every way.
fn simpler(operation: &Operation) -> Vec<Operation> {
    match operation {
        Operation::Start { lease, sagas } => {
            fewer(sagas).into_iter().map(|sagas| Operation::Start { lease: *lease, sagas }).collect()
        }
        Operation::Send { messages } => {
            fewer(messages).into_iter().map(|messages| Operation::Send { messages }).collect()
        }
        Operation::Settle { lease, fates } => {
            fewer(fates).into_iter().map(|fates| Operation::Settle { lease: *lease, fates }).collect()
        }
        Operation::Append { lease, by_owner, turns } => {
            let mut smaller = fewer(turns);
            for (at, turn) in turns.iter().enumerate() {
                for plainer in plainer(turn) {
                    let mut other = turns.clone();
                    other[at] = plainer;
                    smaller.push(other);
                }
            }
            let append = |turns| Operation::Append { lease: *lease, by_owner: *by_owner, turns };
            smaller.into_iter().map(append).collect()
        }
        _ => Vec::new(),
    }
}

/// One element less; one stays.
fn fewer<T: Clone>(all: &[T]) -> Vec<Vec<T>> {
    let without = |at: usize| {
        let mut rest = all.to_vec();
        rest.remove(at);
        rest
    };
    if all.len() > 1 { (0..all.len()).map(without).collect() } else { Vec::new() }
}

fn plainer(turn: &Draft) -> Vec<Draft> {
    let mut all = Vec::new();
    if !turn.letters.is_empty() {
        all.push(Draft { letters: turn.letters[1..].to_vec(), ..turn.clone() });
    }
    if !matches!(turn.read, Reading::Nothing) {
        all.push(Draft { read: Reading::Nothing, ..turn.clone() });
    }
    if turn.events > 0 {
        all.push(Draft { events: turn.events - 1, ..turn.clone() });
    }
    if turn.locks.is_some() {
        all.push(Draft { locks: None, ..turn.clone() });
    }
    if !turn.starts.is_empty() {
        all.push(Draft { starts: turn.starts[1..].to_vec(), ..turn.clone() });
    }
    if !turn.sends.is_empty() {
        all.push(Draft { sends: turn.sends[1..].to_vec(), ..turn.clone() });
    }
    if !matches!(turn.place, Place::Next) {
        all.push(Draft { place: Place::Next, ..turn.clone() });
    }
    all
}
