//! What must be seen nowhere (I17), and what must be given back (I18).

use saga_core::verify::{Invariant, Violation};

use super::{Facts, ServerFacts};

pub(super) fn check(facts: &Facts, found: &mut Vec<Violation>) {
    for place in &facts.leaks {
        found.push(Violation::new(Invariant::Secrets, format!("the secret is in {place}")));
    }
    let ServerFacts { idle_in_transaction, advisory_locks, connections, .. } = facts.server;
    let left = [
        (idle_in_transaction, "transactions are idle"),
        (advisory_locks, "advisory locks are held"),
        (connections, "connections of workers are open though none runs"),
    ];
    for (count, what) in left.into_iter().filter(|(count, _)| *count > 0) {
        found.push(Violation::new(Invariant::Resources, format!("{count} {what}")));
    }
}
