//! What an operator may decide about a saga that waits for a human, and what is refused.

use super::record::{Record, Resolution};
use super::state::{Direction, SagaState};
use crate::definition::{Kind, Plan};
use crate::id::{Op, StepName};

/// An operator's wish was refused; nothing was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// The definition has no such step.
    #[error("the saga has no step {step}")]
    NoSuchStep {
        /// The step.
        step: StepName,
    },
    /// The step does not wait for a human.
    #[error("the step {step} does not wait for a human")]
    NotWaiting {
        /// The step.
        step: StepName,
    },
    /// Only a pivot is asked again by hand; other steps are probed when they are undone.
    #[error("the step {step} is no pivot with an unknown outcome: retry it, or supply its result")]
    NothingToProbe {
        /// The step.
        step: StepName,
    },
    /// The step cannot be passed over.
    #[error("the step {step} cannot be skipped: {why}; supply its result instead")]
    CannotSkip {
        /// The step.
        step: StepName,
        /// What stands against it.
        why: &'static str,
    },
    /// A compensation has no result.
    #[error("the compensation of {step} has no result: once it is done by hand, skip it")]
    NoResult {
        /// The step.
        step: StepName,
    },
    /// Past the point of no return a step must be done.
    #[error("the saga is past its point of no return: {step} must be done; retry it, or supply its result")]
    MustBeDone {
        /// The step.
        step: StepName,
    },
    /// The saga cannot turn back any more.
    #[error("the saga cannot be cancelled: it is {direction:?}")]
    TooLate {
        /// Where it is heading.
        direction: Direction,
    },
    /// Nothing of the saga waits for a later attempt.
    #[error(
        "nothing of the saga waits for its next attempt: it runs, is over, or waits for something else; what waits for a human is retried by its step"
    )]
    NoRetryPending,
    /// The saga as a whole does not wait for a human.
    #[error("the saga was not set aside: name the step that waits")]
    NotSetAside,
    /// An audited decision needs a name and a reason.
    #[error("an operator's decision needs an actor and a reason")]
    NoReason,
}

impl SagaState {
    /// The record of an operator's decision that a saga whose history could not be read, and now
    /// can, goes on.
    ///
    /// # Errors
    /// [`Refused`] when the saga was not set aside, or actor or reason is missing.
    pub fn resume_by_hand(&self, actor: &str, reason: &str) -> Result<Record, Refused> {
        if actor.trim().is_empty() || reason.trim().is_empty() {
            return Err(Refused::NoReason);
        }
        if !self.is_set_aside() {
            return Err(Refused::NotSetAside);
        }
        let (actor, reason) = (actor.to_owned(), reason.to_owned());
        Ok(Record::Resolved { step: None, op: Op::Run, resolution: Resolution::Retry, actor, reason })
    }

    /// The record of an operator's decision about `step`.
    ///
    /// # Errors
    /// [`Refused`] when the decision makes no sense where the saga stands.
    pub fn resolve_by_hand(
        &self,
        plan: &Plan,
        step: &StepName,
        resolution: Resolution,
        actor: &str,
        reason: &str,
    ) -> Result<Record, Refused> {
        if actor.trim().is_empty() || reason.trim().is_empty() {
            return Err(Refused::NoReason);
        }
        let index = self.find(step).ok_or_else(|| Refused::NoSuchStep { step: step.clone() })?;
        let op = self.steps()[index].blocked().ok_or_else(|| Refused::NotWaiting { step: step.clone() })?;
        match op {
            Op::Run | Op::Probe => self.check_forward(plan, index, &resolution)?,
            Op::Compensate => check_undo(step, &resolution)?,
        }
        Ok(Record::Resolved {
            step: Some(step.clone()),
            op,
            resolution,
            actor: actor.to_owned(),
            reason: reason.to_owned(),
        })
    }

    fn check_forward(&self, plan: &Plan, index: usize, resolution: &Resolution) -> Result<(), Refused> {
        let step = || self.steps()[index].name().clone();
        let kind = self.planned(plan, index).kind;
        let cannot_skip = |why| Err(Refused::CannotSkip { step: step(), why });
        match resolution {
            Resolution::Retry | Resolution::Supply(_) => Ok(()),
            Resolution::Probe if kind == Kind::Pivot => Ok(()),
            Resolution::Probe => Err(Refused::NothingToProbe { step: step() }),
            Resolution::Skip if kind == Kind::Pivot => cannot_skip("it is the pivot"),
            Resolution::Skip if self.planned(plan, index).compensate.is_some() => {
                cannot_skip("it may have to be compensated")
            }
            Resolution::Skip if plan.is_read(self.origin(index)) => cannot_skip("its output is read later"),
            Resolution::Skip => Ok(()),
            Resolution::NotApplied if kind == Kind::BestEffort || self.direction() == Direction::Forward => Ok(()),
            Resolution::NotApplied => Err(Refused::MustBeDone { step: step() }),
        }
    }
}

fn check_undo(step: &StepName, resolution: &Resolution) -> Result<(), Refused> {
    match resolution {
        Resolution::Retry | Resolution::Skip | Resolution::NotApplied => Ok(()),
        Resolution::Probe => Err(Refused::NothingToProbe { step: step.clone() }),
        Resolution::Supply(_) => Err(Refused::NoResult { step: step.clone() }),
    }
}
