//! What times can say where the journal's own clock jumps.

use std::collections::BTreeSet;
use std::time::Duration;

use saga_core::SagaId;
use saga_core::verify::{Invariant, Violation};

use super::Facts;

/// More than that is no late write, but another reading of the clock: it jumps by an hour.
pub(super) const JUMP_MIN: Duration = Duration::from_secs(30 * 60);

/// What the journal's verifier found, without what a clock that jumped back makes of sagas that lived through it:
/// by their own times they go on before they begin to wait.
pub(super) fn judgeable(facts: &Facts) -> Vec<Violation> {
    let back = |saga: &&super::SagaFacts| saga.turns.windows(2).any(|pair| pair[1].at.after(JUMP_MIN) < pair[0].at);
    let unclear: BTreeSet<SagaId> = facts.sagas.iter().filter(back).map(|saga| saga.id).collect();
    let is_unclear = |violation: &&Violation| {
        matches!(violation.invariant, Invariant::Timers | Invariant::EntityLocks)
            && violation.saga.is_none_or(|saga| unclear.contains(&saga))
    };
    facts.journal.iter().filter(|violation| unclear.is_empty() || !is_unclear(violation)).cloned().collect()
}
