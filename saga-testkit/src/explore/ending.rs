//! How a run ended.

use saga_core::SagaOutcome;
use saga_core::journal::DeadLetter;

use crate::World;

/// How a run ended: what the test's own invariant is given.
#[derive(Clone, Copy, Debug)]
pub struct Ending<'a, K, O> {
    /// What the scene kept.
    pub kept: &'a K,
    /// What became of the saga. When it waited for a human, the kit answered "try again" with everything in
    /// order: this is what came of that.
    pub outcome: &'a SagaOutcome<O>,
    /// What really happened.
    pub world: &'a World,
    /// The dead letters that there were on the way.
    pub letters: &'a [DeadLetter],
}

impl<K, O> Ending<'_, K, O> {
    /// Whether every step is done.
    #[must_use]
    pub fn is_completed(&self) -> bool {
        matches!(self.outcome, SagaOutcome::Completed(_))
    }
}
