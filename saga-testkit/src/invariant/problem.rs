//! An invariant that does not hold.

use std::fmt;

/// What must hold of every run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Invariant {
    /// Every saga reaches its end, or a human.
    NoLostSaga,
    /// What a completed saga did stands, once; what a rolled-back one did is gone.
    AllOrNothing,
    /// One key, and one input, for each operation; a new key only with proof.
    Keys,
    /// Forward, then perhaps back, never forward again; never back past the pivot.
    Direction,
    /// Compensations in reverse order.
    ReverseOrder,
    /// Compensated is what was begun and not proven to have had no effect: all of it, and nothing else.
    Undone,
    /// Histories are without gaps, are what the machine can make, and grow under one worker at a time.
    History,
    /// No entity stays locked by a saga that is over.
    Locks,
    /// Every signal is taken once, or handed on.
    Signals,
    /// Events are published if and only if they were committed.
    Events,
    /// There is a dead letter exactly when a human is needed.
    DeadLetters,
    /// What the test itself says must hold.
    Own,
    /// The same schedule leads to the same run.
    Deterministic,
}

impl Invariant {
    /// What it says.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoLostSaga => "every saga reaches its end, or a human",
            Self::AllOrNothing => "all or nothing",
            Self::Keys => "one key for each operation",
            Self::Direction => "never forward again, never back past the pivot",
            Self::ReverseOrder => "compensations in reverse order",
            Self::Undone => "what may have happened is undone",
            Self::History => "histories are sound",
            Self::Locks => "locks end with their saga",
            Self::Signals => "signals are neither lost nor doubled",
            Self::Events => "events are published once committed",
            Self::DeadLetters => "a dead letter exactly when a human is needed",
            Self::Own => "the test's own invariant",
            Self::Deterministic => "the same schedule leads to the same run",
        }
    }
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What does not hold, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What does not hold.
    pub invariant: Invariant,
    /// What was found.
    pub found: String,
}

impl Problem {
    pub(crate) fn new(invariant: Invariant, found: impl Into<String>) -> Self {
        Self { invariant, found: found.into() }
    }

    pub(crate) fn err<T>(invariant: Invariant, found: impl Into<String>) -> Result<T, Self> {
        Err(Self::new(invariant, found))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant, self.found)
    }
}
