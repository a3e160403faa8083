//! Child sagas: a step that runs another definition as a saga of its own. The two tell each other what
//! becomes of them by messages that go out with their turns.

use super::mail::ChildEnd;
use super::phase::Phase;
use super::record::{Halt, Record};
use super::state::{Direction, IllegalRecord, SagaState};
use crate::definition::{Kind, Plan};
use crate::fault::Effect;
use crate::id::{Op, StepName};

impl SagaState {
    /// A child saga says how it ended.
    pub(super) fn hear_child(&self, step: StepName, end: ChildEnd) -> Result<Record, &'static str> {
        let phase = self.find(&step).map(|index| self.steps()[index].phase());
        match (phase, end) {
            (Some(Phase::Delegated), ChildEnd::Completed(output)) => Ok(Record::Done { step, output }),
            (Some(Phase::Delegated), ChildEnd::RolledBack(mut fault)) => {
                // Whatever its own steps did is undone.
                fault.effect = Effect::NotApplied;
                Ok(Record::Failed { step, op: Op::Run, fault, retry_at: None })
            }
            (Some(Phase::Recalling), ChildEnd::RolledBack(_)) => Ok(Record::Compensated { step, watch_at: None }),
            (Some(Phase::Recalling), ChildEnd::Completed(_)) => Err("the child is being undone already"),
            _ => Err("no step waits for this child"),
        }
    }

    /// The parent turns back: this saga is to end without effect.
    pub(super) fn hear_recall(&self) -> Result<Record, &'static str> {
        match self.direction() {
            Direction::Forward if self.halted().is_none() => Ok(Record::Halted { cause: Halt::Recalled }),
            Direction::Completed if self.is_retained() => Ok(Record::Reopened),
            Direction::Forward | Direction::Backward | Direction::RolledBack => Err("it turns back already"),
            Direction::Committed | Direction::Completed => Err("it cannot be undone any more"),
        }
    }

    /// The parent is done.
    pub(super) fn hear_release(&self) -> Result<Record, &'static str> {
        self.is_retained().then_some(Record::Released).ok_or("it is not kept for its parent")
    }

    /// A saga that was done goes back.
    pub(super) fn reopen(&mut self) -> Result<(), IllegalRecord> {
        if !self.is_retained() {
            let (what, direction) = ("reopened", self.direction());
            return Err(IllegalRecord::WrongDirection { what, direction });
        }
        self.direction = Direction::Backward;
        self.halted = Some(Halt::Recalled);
        Ok(())
    }

    /// The steps whose child sagas are done, and kept for this one.
    pub fn kept_children<'a>(&'a self, plan: &'a Plan) -> impl Iterator<Item = usize> + 'a {
        let kept =
            |&index: &usize| plan.steps()[index].kind == Kind::Child && self.steps()[index].phase() == Phase::Done;
        (0..plan.steps().len()).filter(kept)
    }

    /// Whether the step is worked out here, without an attempt.
    pub(super) fn is_worked_out(&self, plan: &Plan, step: &StepName) -> bool {
        self.find(step).is_some_and(|index| self.planned(plan, index).kind.is_pure() || self.fans_out(plan, index))
    }
}
