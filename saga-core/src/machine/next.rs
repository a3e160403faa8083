//! What comes next: a pure function of the plan, the state and the time. No decision is taken
//! anywhere else.

use super::phase::Phase;
use super::record::{AttentionReason, Record};
use super::state::{Direction, SagaState, StepState};
use crate::definition::{Kind, Plan};
use crate::id::Op;
use crate::time::Timestamp;

/// The next thing to do for a saga.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// A fact follows from the state: apply it, and ask again.
    Append(Record),
    /// This operation is to begin: decode its input, apply the [`Record::Begun`] (or, when the
    /// input does not decode, the [`Record::NeedsAttention`]), and ask again.
    Begin {
        /// The step's index in the plan.
        step: usize,
        /// What to do for it.
        op: Op,
    },
    /// Once everything applied so far is durable: see to it that these attempts are under way, and
    /// ask again when one ends or the time has come. With neither, the saga waits for a human.
    Wait {
        /// The attempts whose intents are journalled and whose ends are not.
        attempts: Vec<Attempt>,
        /// When the earliest retry is due.
        wake_at: Option<Timestamp>,
    },
    /// The saga is over.
    Ended,
}

/// One attempt that should be under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Attempt {
    /// The step's index in the plan.
    pub step: usize,
    /// What is done for it.
    pub op: Op,
    /// Which attempt of the operation it is, counted from one.
    pub number: u32,
}

impl SagaState {
    /// Says what comes next at the time `now`.
    #[must_use]
    pub fn next(&self, plan: &Plan, now: Timestamp) -> Next {
        if self.is_set_aside() {
            return Next::Wait { attempts: Vec::new(), wake_at: None };
        }
        let decision = match self.direction() {
            Direction::Completed | Direction::RolledBack => return Next::Ended,
            Direction::Forward | Direction::Committed => self.next_forward(plan, now),
            Direction::Backward => self.next_backward(plan, now),
        };
        decision.unwrap_or_else(|| self.wait())
    }

    fn next_forward(&self, plan: &Plan, now: Timestamp) -> Option<Next> {
        let steps = || self.steps().iter().enumerate();
        // A failure is dealt with before anything new begins.
        if let Some(next) = steps().find_map(|(index, step)| self.after_failure(plan, index, step)) {
            return Some(next);
        }
        let ready = |(index, step): &(usize, &StepState)| match step.phase() {
            Phase::Pending => plan.steps()[*index].after.iter().all(|&before| self.went_by(before)),
            phase => phase == Phase::Waiting && is_due(step, now),
        };
        if let Some((step, _)) = steps().find(ready) {
            return Some(Next::Begin { step, op: Op::Run });
        }
        if let Some((step, _)) = steps().find(|(_, step)| probe_is_due(step, now)) {
            return Some(Next::Begin { step, op: Op::Probe });
        }
        (0..self.steps().len()).all(|index| self.went_by(index)).then_some(Next::Append(Record::Completed))
    }

    /// Whether the saga can go on past this step.
    fn went_by(&self, index: usize) -> bool {
        matches!(self.steps()[index].phase(), Phase::Done | Phase::SoftFailed | Phase::Skipped)
    }

    /// What a step that was given up leads to.
    fn after_failure(&self, plan: &Plan, index: usize, step: &StepState) -> Option<Next> {
        let unknown = step.phase() == Phase::Unknown;
        if !unknown && step.phase() != Phase::NotApplied {
            return None;
        }
        let name = step.name().clone();
        let can_turn_back = self.direction() == Direction::Forward;
        Some(match plan.steps()[index].kind {
            Kind::BestEffort => Next::Append(Record::SoftFailed { step: name }),
            Kind::Query | Kind::Compensatable if can_turn_back => Next::Append(Record::TurnedBack { step: name }),
            Kind::Pivot if !unknown => Next::Append(Record::TurnedBack { step: name }),
            Kind::Pivot if !step.probed() => Next::Begin { step: index, op: Op::Probe },
            Kind::Pivot => call_human(step, Op::Run, AttentionReason::UnknownOutcome),
            Kind::Query | Kind::Compensatable | Kind::Retryable => call_human(step, Op::Run, AttentionReason::Failed),
        })
    }

    fn next_backward(&self, plan: &Plan, now: Timestamp) -> Option<Next> {
        // No compensation starts while a forward step is still in flight.
        if self.steps().iter().any(|step| step.phase() == Phase::Running) {
            return None;
        }
        for (index, step) in self.steps().iter().enumerate().rev() {
            if step.phase() == Phase::UndoFailed {
                return Some(call_human(step, Op::Compensate, AttentionReason::Failed));
            }
            if !self.is_owed(plan, index) {
                continue;
            }
            if probe_is_due(step, now) || (step.phase() == Phase::Unknown && !step.probed()) {
                return Some(Next::Begin { step: index, op: Op::Probe });
            }
            let standing = matches!(step.phase(), Phase::Done | Phase::Unknown | Phase::SoftFailed);
            let again = step.phase() == Phase::UndoWaiting && is_due(step, now);
            if again || standing && !self.is_owed_after(plan, index) {
                return Some(Next::Begin { step: index, op: Op::Compensate });
            }
        }
        let owed = (0..self.steps().len()).any(|index| self.is_owed(plan, index));
        (!owed).then_some(Next::Append(Record::RolledBack))
    }

    /// Whether the step's compensation is owed and not yet done: it was begun, and nothing proves
    /// that it had no effect.
    #[must_use]
    pub fn is_owed(&self, plan: &Plan, index: usize) -> bool {
        let step = &self.steps()[index];
        plan.steps()[index].compensate.is_some()
            && match step.phase() {
                Phase::Done
                | Phase::Unknown
                | Phase::Probing
                | Phase::ProbeWaiting
                | Phase::Undoing
                | Phase::UndoWaiting
                | Phase::UndoFailed
                | Phase::UndoBlocked => true,
                Phase::SoftFailed => step.maybe_applied(),
                Phase::Pending
                | Phase::Running
                | Phase::Waiting
                | Phase::Blocked
                | Phase::Skipped
                | Phase::NotApplied
                | Phase::Undone => false,
            }
    }

    /// Whether a step that comes after this one has still to be undone first.
    fn is_owed_after(&self, plan: &Plan, index: usize) -> bool {
        (index + 1..self.steps().len()).any(|later| plan.is_before(index, later) && self.is_owed(plan, later))
    }

    fn wait(&self) -> Next {
        let steps = self.steps().iter();
        let attempts = steps.clone().enumerate().filter_map(|(index, step)| {
            let op = step.in_flight()?;
            Some(Attempt { step: index, op, number: step.tally(op).attempts })
        });
        Next::Wait { attempts: attempts.collect(), wake_at: steps.filter_map(StepState::due).min() }
    }
}

fn is_due(step: &StepState, now: Timestamp) -> bool {
    step.due().is_some_and(|due| due <= now)
}

fn probe_is_due(step: &StepState, now: Timestamp) -> bool {
    step.phase() == Phase::ProbeWaiting && is_due(step, now)
}

fn call_human(step: &StepState, op: Op, reason: AttentionReason) -> Next {
    let error = step.fault().map_or_else(String::new, |fault| fault.message.clone());
    Next::Append(Record::NeedsAttention { step: Some(step.name().clone()), op, reason, error })
}
