//! An invariant that does not hold, as a story.

use std::fmt;

use crate::invariant::{Invariant, Problem};
use crate::sim::Schedule;

/// A run in which an invariant does not hold: which one, on which schedule, and the story of the run. Both its
/// `Display` and its `Debug` tell the story, so that `unwrap` in a test shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct Violation {
    pub(crate) problem: Problem,
    pub(crate) schedule: Schedule,
    pub(crate) story: Vec<String>,
}

impl Violation {
    /// What does not hold.
    #[must_use]
    pub fn invariant(&self) -> Invariant {
        self.problem.invariant
    }

    /// What was found.
    #[must_use]
    pub fn found(&self) -> &str {
        &self.problem.found
    }

    /// What it takes to go wrong: nothing of it can be left out.
    #[must_use]
    pub fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    /// The schedule as one line, for [`Explore::replay`](crate::Explore::replay).
    #[must_use]
    pub fn seed(&self) -> String {
        self.schedule.to_string()
    }

    /// What happened, a line each.
    #[must_use]
    pub fn story(&self) -> &[String] {
        &self.story
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.problem.invariant)?;
        writeln!(f, "    {}", self.problem.found)?;
        writeln!(f)?;
        self.story.iter().try_for_each(|line| writeln!(f, "{line}"))?;
        writeln!(f)?;
        write!(f, "replay(\"{}\")", self.schedule)
    }
}

impl fmt::Debug for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f)?;
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Violation {}

/// Why an exploration failed.
#[derive(Clone, PartialEq, Eq)]
pub enum ExploreError {
    /// An invariant does not hold.
    Violation(Box<Violation>),
    /// No run came to these steps or compensations: that nothing is wrong with them proves nothing.
    Unreached {
        /// Their names.
        what: Vec<String>,
    },
    /// Steps have effects, and none was seen in any run: the fakes do not use the [`World`](crate::World) which the
    /// scene was given. Of what they do elsewhere the kit knows nothing.
    NothingHappened,
    /// What was said to be unreachable was reached, or is not in the definition.
    WronglyExcused {
        /// Their names.
        what: Vec<String>,
    },
}

impl ExploreError {
    /// The violation, when it is one.
    #[must_use]
    pub fn violation(&self) -> Option<&Violation> {
        match self {
            Self::Violation(violation) => Some(violation),
            Self::Unreached { .. } | Self::WronglyExcused { .. } | Self::NothingHappened => None,
        }
    }
}

impl fmt::Display for ExploreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Violation(violation) => violation.fmt(f),
            Self::Unreached { what } => write!(
                f,
                "no run came to: {}. Explore another input as well, or excuse them with `unreached`",
                what.join(", ")
            ),
            Self::NothingHappened => write!(
                f,
                "no step had an effect in any run. Have the fakes write into the `World` that the scene is given, not into one \
                 of their own; or say `effects_elsewhere`, and look at them in `check`"
            ),
            Self::WronglyExcused { what } => {
                write!(f, "excused as unreachable, and reached or not there at all: {}", what.join(", "))
            }
        }
    }
}

impl fmt::Debug for ExploreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for ExploreError {}
