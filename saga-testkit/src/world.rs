//! The world of a test: what the user's fakes write their effects into, and where their calls fail on
//! schedule.

use std::fmt::Display;
use std::sync::Arc;

use saga_core::StepError;

use crate::sim::{Applied, CURRENT, Effect, Entry, Fate, Foreign, LateCall, Schedule, Sim, let_go};

/// What a user's fakes write their effects into, so that the kit knows what really happened, whatever steps
/// say. Cheap to clone.
///
/// It is a participant that keeps its word: an effect counts once under its key, and a key that was undone
/// is closed for what comes late. Where yours does not, say so with [`World::undo_and_forget`], or count
/// with a key of the fake's own making.
///
/// ```
/// use saga_core::{IdempotencyKey, StepError};
/// use saga_testkit::World;
///
/// #[derive(Clone)]
/// struct FakeGateway(World);
///
/// impl FakeGateway {
///     async fn hold(&self, key: IdempotencyKey, cents: i64) -> Result<(), StepError> {
///         let world = self.0.clone();
///         // A point of the schedule: it may be refused, lost on the way there or back, come late …
///         self.0.call("hold", move || world.apply(key, format!("{cents} held"))).await?;
///         Ok(())
///     }
///
///     async fn release(&self, key: IdempotencyKey) -> Result<(), StepError> {
///         let world = self.0.clone();
///         self.0.call("release", move || world.undo(key)).await?;
///         Ok(())
///     }
/// }
/// ```
#[derive(Clone, Debug)]
pub struct World {
    pub(crate) sim: Arc<Sim>,
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

impl World {
    /// A world in which nothing goes wrong, so far.
    #[must_use]
    pub fn new() -> Self {
        Self { sim: Sim::new(Schedule::new(), Foreign::NONE) }
    }

    /// The participant carries out what the key stands for, once.
    pub fn apply(&self, key: impl Display, what: impl Display) -> Applied {
        self.sim.apply(&key.to_string(), &what.to_string())
    }

    /// The participant undoes what the key stands for, and refuses whatever comes under it from now on. True
    /// when there was something to undo.
    pub fn undo(&self, key: impl Display) -> bool {
        self.sim.undo(&key.to_string(), true)
    }

    /// The participant undoes what the key stands for, and forgets the key: what comes under it late happens.
    pub fn undo_and_forget(&self, key: impl Display) -> bool {
        self.sim.undo(&key.to_string(), false)
    }

    /// What a probe asks: whether what the key stands for has happened, and stands. If not, the participant refuses
    /// whatever comes under the key from now on, so that the answer stays true.
    pub fn close(&self, key: impl Display) -> bool {
        let key = key.to_string();
        let stands = self.sim.find_effect(&key).is_some_and(|effect| effect.stands);
        if !stands {
            self.sim.undo(&key, true);
        }
        stands
    }

    /// What the key stands for; none when it never happened.
    #[must_use]
    pub fn find(&self, key: impl Display) -> Option<Effect> {
        self.sim.find_effect(&key.to_string())
    }

    /// All effects, in the order in which they happened.
    #[must_use]
    pub fn effects(&self) -> Vec<Effect> {
        self.sim.locked().effects.all().to_vec()
    }

    /// The effects that stand.
    #[must_use]
    pub fn standing(&self) -> Vec<Effect> {
        self.effects().into_iter().filter(|effect| effect.stands).collect()
    }

    /// How many events of this topic have reached the broker, each counted once, as its consumers do.
    #[must_use]
    pub fn published(&self, topic: &str) -> usize {
        self.sim.locked().topics.values().filter(|of| *of == topic).count()
    }

    /// Writes a line into the story of the run.
    pub fn note(&self, text: impl Display) {
        self.sim.note(Entry::new(format!("  {text}")));
    }

    /// A fake's call to its participant, as a point of the schedule: `carry_out` is what the participant does
    /// when the request reaches it.
    ///
    /// # Errors
    /// [`CallFailed`], when that is what was scheduled.
    pub async fn call<T: Send + 'static>(
        &self,
        name: &str,
        carry_out: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, CallFailed> {
        if CURRENT.try_with(|who| who.late).unwrap_or(false) {
            // It has been late once.
            return Ok(carry_out());
        }
        match self.sim.visit_next("call", name, Fate::of_call()) {
            None => Ok(carry_out()),
            Some(Fate::Refused) => Err(CallFailed::Refused),
            Some(Fate::Unsent) => Err(CallFailed::NotSent),
            Some(Fate::AnswerLost) => {
                carry_out();
                Err(CallFailed::NoAnswer)
            }
            Some(Fate::TimedOut) => {
                carry_out();
                let_go();
                std::future::pending().await
            }
            Some(Fate::Late) => {
                let who = CURRENT.try_with(Clone::clone).ok();
                self.sim.later(LateCall::of_call(name, who, move || drop(carry_out())));
                Err(CallFailed::NoAnswer)
            }
            Some(Fate::CrashBefore) => self.sim.crash(&format!("before call {name}")).await,
            Some(Fate::CrashAfter) => {
                carry_out();
                self.sim.crash(&format!("after call {name}")).await
            }
            Some(
                Fate::RequestLost
                | Fate::UnknownWithout
                | Fate::UnknownWith
                | Fate::UnknownLate
                | Fate::Early
                | Fate::Twice
                | Fate::TooLate
                | Fate::Never,
            ) => Err(CallFailed::NoAnswer),
        }
    }
}

/// How a call failed, see [`World::call`]. With `?` in a step it becomes the [`StepError`] that says the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallFailed {
    /// The participant refused, for good.
    Refused,
    /// The request was never sent: connection refused.
    NotSent,
    /// No answer came: whether the participant has carried it out is unknown.
    NoAnswer,
}

impl From<CallFailed> for StepError {
    fn from(failed: CallFailed) -> Self {
        match failed {
            CallFailed::Refused => Self::rejected("refused"),
            CallFailed::NotSent => Self::unsent("connection refused"),
            CallFailed::NoAnswer => Self::retry("no answer"),
        }
    }
}

impl std::fmt::Display for CallFailed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Refused => "refused",
            Self::NotSent => "connection refused",
            Self::NoAnswer => "no answer",
        })
    }
}
