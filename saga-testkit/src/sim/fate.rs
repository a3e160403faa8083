//! What can become of a point.

use std::fmt;

use saga_core::Op;
use saga_core::definition::{Kind, StepPlan};

use super::seed::BadSeed;

/// What becomes of a [`Point`](super::Point), other than that all goes well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fate {
    /// It fails for good, and certainly had no effect.
    Refused,
    /// It fails for now, and certainly had no effect: another try succeeds.
    Unsent,
    /// The request is lost: no effect, but nobody knows. It is tried again.
    RequestLost,
    /// The answer is lost: the effect is there, but nobody knows. It is tried again.
    AnswerLost,
    /// The effect is there, and the attempt hangs until its time limit ends it. It is tried again.
    TimedOut,
    /// No answer, and it is tried again. The first request is carried out late: after the step has been
    /// compensated, or else at the saga's end.
    Late,
    /// Nobody will ever know: no effect, and it is not tried again.
    UnknownWithout,
    /// Nobody will ever know: the effect is there, and it is not tried again.
    UnknownWith,
    /// Nobody will ever know, and it is not tried again. It is carried out late: after the step has been
    /// compensated, or else at the saga's end.
    UnknownLate,
    /// The process ends before it.
    CrashBefore,
    /// The process ends right after it, before it learns how it went.
    CrashAfter,
    /// The signal comes before the saga starts.
    Early,
    /// The signal comes twice, under one message id.
    Twice,
    /// The signal does not come in time: it comes once the saga is over.
    TooLate,
    /// The signal never comes.
    Never,
}

/// Each fate and its name in seeds.
const NAMES: [(Fate, &str); 15] = [
    (Fate::Refused, "refused"),
    (Fate::Unsent, "unsent"),
    (Fate::RequestLost, "request-lost"),
    (Fate::AnswerLost, "answer-lost"),
    (Fate::TimedOut, "timed-out"),
    (Fate::Late, "late"),
    (Fate::UnknownWithout, "unknown-without-effect"),
    (Fate::UnknownWith, "unknown-with-effect"),
    (Fate::UnknownLate, "unknown-late"),
    (Fate::CrashBefore, "crash-before"),
    (Fate::CrashAfter, "crash-after"),
    (Fate::Early, "early"),
    (Fate::Twice, "twice"),
    (Fate::TooLate, "too-late"),
    (Fate::Never, "never"),
];

/// What can become of an attempt that has an effect.
const EFFECT: &[Fate] = &[
    Fate::Refused,
    Fate::Unsent,
    Fate::RequestLost,
    Fate::AnswerLost,
    Fate::TimedOut,
    Fate::Late,
    Fate::UnknownWithout,
    Fate::UnknownWith,
    Fate::UnknownLate,
];
/// What can become of an attempt that only reads.
const READ: &[Fate] = &[Fate::Refused, Fate::Unsent, Fate::TimedOut];
/// What can become of a probe: it may find nothing out.
const PROBE: &[Fate] = &[Fate::Unsent, Fate::UnknownWithout];
const CALL: &[Fate] = &[
    Fate::Refused,
    Fate::Unsent,
    Fate::RequestLost,
    Fate::AnswerLost,
    Fate::TimedOut,
    Fate::Late,
    Fate::CrashBefore,
    Fate::CrashAfter,
];

impl Fate {
    /// Its name in seeds.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        NAMES.iter().find(|(fate, _)| *fate == self).map_or("", |(_, name)| name)
    }

    /// What can become of an attempt of this step; of a step that is not known here it may be everything.
    pub(crate) fn of_attempt(step: Option<&StepPlan>, op: Op) -> &'static [Self] {
        let reads = step.is_some_and(|step| step.kind == Kind::Query);
        match op {
            Op::Probe => PROBE,
            Op::Run if reads => READ,
            Op::Run | Op::Compensate => EFFECT,
        }
    }

    pub(crate) fn of_call() -> &'static [Self] {
        CALL
    }

    pub(crate) fn of_write() -> &'static [Self] {
        &[Self::CrashBefore, Self::CrashAfter]
    }

    pub(crate) fn of_publish() -> &'static [Self] {
        &[Self::Unsent, Self::AnswerLost, Self::CrashBefore, Self::CrashAfter]
    }

    /// What can become of a signal. One that is waited for as long as it takes has to come.
    pub(crate) fn of_signal(bounded: bool) -> &'static [Self] {
        if bounded { &[Self::Early, Self::Twice, Self::TooLate, Self::Never] } else { &[Self::Early, Self::Twice] }
    }

    pub(crate) fn is_crash(self) -> bool {
        matches!(self, Self::CrashBefore | Self::CrashAfter)
    }

    /// Whether the effect is there by it at once; none when it comes late.
    pub(crate) fn has_effect(self) -> Option<bool> {
        match self {
            Self::AnswerLost | Self::TimedOut | Self::UnknownWith | Self::CrashAfter => Some(true),
            Self::Late | Self::UnknownLate => None,
            Self::Refused
            | Self::Unsent
            | Self::RequestLost
            | Self::UnknownWithout
            | Self::CrashBefore
            | Self::Early
            | Self::Twice
            | Self::TooLate
            | Self::Never => Some(false),
        }
    }

    /// For people: what it means.
    pub(crate) fn meaning(self) -> &'static str {
        match self {
            Self::Refused => "refused: certainly no effect, no other try",
            Self::Unsent => "not sent: certainly no effect, to be tried again",
            Self::RequestLost => "the request is lost: no effect, and nobody knows",
            Self::AnswerLost => "the answer is lost: the effect is there, and nobody knows",
            Self::TimedOut => "the effect is there, and it hangs until its time limit",
            Self::Late => "no answer; it will be carried out late",
            Self::UnknownWithout => "no effect, and nobody will ever know",
            Self::UnknownWith => "the effect is there, and nobody will ever know",
            Self::UnknownLate => "no answer, no other try; it will be carried out late",
            Self::CrashBefore => "the process ends before it",
            Self::CrashAfter => "the process ends right after it",
            Self::Early => "it comes before the saga starts",
            Self::Twice => "it comes twice",
            Self::TooLate => "it comes after the end",
            Self::Never => "it never comes",
        }
    }
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for Fate {
    type Err = BadSeed;

    fn from_str(text: &str) -> Result<Self, BadSeed> {
        NAMES.iter().find(|(_, name)| *name == text).map(|(fate, _)| *fate).ok_or_else(|| BadSeed::new(text))
    }
}
