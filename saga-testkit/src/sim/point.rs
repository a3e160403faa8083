//! The points of a run at which something can go wrong.

use std::fmt;

use saga_core::Op;

use super::seed::{BadSeed, escape, unescape};

/// A point of a run: what is done there may go wrong, or the process may end there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Point {
    /// An attempt of a step, of its probe or of its compensation.
    Attempt {
        /// The step; with its definition in front when that is a child's.
        step: String,
        /// What is done for it.
        op: Op,
        /// Which of these attempts in the run, counted from one.
        nth: u32,
    },
    /// A call that a fake makes with [`World::call`](crate::World::call).
    Call {
        /// The call's name.
        name: String,
        /// Which of these calls in the run, counted from one.
        nth: u32,
    },
    /// A turn is written to the journal.
    Write {
        /// Which one of the run; the start is 0.
        nth: u32,
    },
    /// A signal that the saga waits for.
    Signal {
        /// Its name.
        name: String,
        /// Which wait for it in the run, counted from one.
        nth: u32,
    },
    /// An event is handed to the broker.
    Publish {
        /// What it is about.
        topic: String,
        /// Which one of this topic in the run, counted from one.
        nth: u32,
    },
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Attempt { step, op, nth } => write!(f, "{op}:{}#{nth}", escape(step)),
            Self::Call { name, nth } => write!(f, "call:{}#{nth}", escape(name)),
            Self::Write { nth } => write!(f, "write#{nth}"),
            Self::Signal { name, nth } => write!(f, "signal:{}#{nth}", escape(name)),
            Self::Publish { topic, nth } => write!(f, "publish:{}#{nth}", escape(topic)),
        }
    }
}

impl std::str::FromStr for Point {
    type Err = BadSeed;

    fn from_str(text: &str) -> Result<Self, BadSeed> {
        let bad = || BadSeed::new(text);
        let number = |text: &str| text.parse::<u32>().map_err(|_| bad());
        if let Some(nth) = text.strip_prefix("write#") {
            return Ok(Self::Write { nth: number(nth)? });
        }
        let (kind, rest) = text.split_once(':').ok_or_else(bad)?;
        let (name, nth) = rest.rsplit_once('#').ok_or_else(bad)?;
        let (name, nth) = (unescape(name)?, number(nth)?);
        let op = |op| Ok(Self::Attempt { step: name.clone(), op, nth });
        match kind {
            "run" => op(Op::Run),
            "probe" => op(Op::Probe),
            "compensate" => op(Op::Compensate),
            "signal" => Ok(Self::Signal { name, nth }),
            "call" => Ok(Self::Call { name, nth }),
            "publish" => Ok(Self::Publish { topic: name, nth }),
            _ => Err(bad()),
        }
    }
}
