//! What must always hold, and what is said when it does not.

use std::fmt;

use crate::id::{SagaId, StepName};

macro_rules! invariants {
    ($($variant:ident $id:literal $promise:literal,)+) => {
        /// What must hold whatever fails, by number. A journal alone shows some of it; the participants' books and
        /// the clients' notes show the rest.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Invariant {
            $(#[doc = $promise] $variant,)+
        }

        impl Invariant {
            /// All of them, in the order of their numbers.
            pub const ALL: [Self; 20] = [$(Self::$variant,)+];

            /// Its number: `I1` to `I20`.
            #[must_use]
            pub fn id(self) -> &'static str {
                match self { $(Self::$variant => $id,)+ }
            }

            /// What must hold.
            #[must_use]
            pub fn promise(self) -> &'static str {
                match self { $(Self::$variant => $promise,)+ }
            }
        }
    };
}

invariants! {
    NoLostSaga "I1" "Every accepted start is one saga, which has ended or is open; what needs attention has a dead letter.",
    NetEffect "I2" "A completed saga has each effect once, one that was rolled back has none.",
    Keys "I3" "One key for each operation and generation; a new generation only with proof; one input for each key.",
    Direction "I4" "A saga turns back at most once, starts nothing forward after that, and never turns back past its pivot.",
    UndoOrder "I5" "A step is undone only after all that depend on it.",
    UndoSet "I6" "What was started and not proven to have had no effect is undone, and nothing else.",
    Automaton "I7" "Histories have no gaps, hold legal moves alone, and fold to what their row says.",
    Fencing "I8" "Nothing is written under a stale epoch.",
    EntityLocks "I9" "An entity has one holder at a time, with growing tokens, and none that has ended.",
    Liveness "I10" "Once faults stop, every saga ends, or waits for a human where that was to be expected.",
    Timers "I11" "Nothing happens before its time by the journal's clock.",
    Signals "I12" "What was accepted is consumed once, late, or pending.",
    Outbox "I13" "An event is delivered if and only if its turn is written, in the saga's order.",
    DeadLetters "I14" "What waits for a human has exactly one open dead letter.",
    Money "I15" "What was captured is what completed orders cost, and no hold is left.",
    Stock "I16" "Free, reserved and sold add up, and nothing is reserved for what has ended.",
    Secrets "I17" "No secret in logs, errors, metrics, or the plain text of the journal.",
    Resources "I18" "Connections and transactions return to base.",
    Audit "I19" "Each decision has an actor and a reason.",
    Definitions "I20" "No worker runs a definition that it does not hold.",
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.id())
    }
}

/// An invariant that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which one.
    pub invariant: Invariant,
    /// Of which saga; none when it is about no single one.
    pub saga: Option<SagaId>,
    /// Of which step; none when it is about the saga as a whole.
    pub step: Option<StepName>,
    /// What was found, for people.
    pub finding: String,
}

impl Violation {
    /// A violation by no single saga.
    #[must_use]
    pub fn new(invariant: Invariant, finding: impl Into<String>) -> Self {
        Self { invariant, saga: None, step: None, finding: finding.into() }
    }

    /// A violation by this saga.
    #[must_use]
    pub fn of_saga(self, saga: SagaId) -> Self {
        Self { saga: Some(saga), ..self }
    }

    /// A violation at this step.
    #[must_use]
    pub fn at_step(self, step: &StepName) -> Self {
        Self { step: Some(step.clone()), ..self }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.invariant.fmt(f)?;
        if let Some(saga) = self.saga {
            write!(f, " {saga}")?;
        }
        if let Some(step) = &self.step {
            write!(f, " {step}")?;
        }
        write!(f, ": {}", self.finding)
    }
}
