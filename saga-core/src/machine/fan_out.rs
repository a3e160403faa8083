//! Fan-out: a step that is taken once for each item of a list. Each item has a life of its own, with a
//! name, a key and checkpoints of its own, and follows the plan of the step that it belongs to.

use std::num::NonZeroUsize;

use super::phase::{Event, Phase};
use super::record::Record;
use super::state::{IllegalRecord, SagaState};
use super::step_state::StepState;
use crate::checkpoint::Payload;
use crate::definition::{Plan, Policy, StepPlan};
use crate::id::{Op, StepName};

impl SagaState {
    /// The step of the plan that the step is, or is an item of.
    #[must_use]
    pub fn origin(&self, index: usize) -> usize {
        self.steps()[index].origin
    }

    /// What the definition says of the step, or of the step that it is an item of.
    #[must_use]
    pub fn planned<'p>(&self, plan: &'p Plan, index: usize) -> &'p StepPlan {
        &plan.steps()[self.origin(index)]
    }

    /// How `op` of the step is attempted.
    #[must_use]
    pub fn policy<'p>(&self, plan: &'p Plan, index: usize, op: Op) -> &'p Policy {
        plan.policy(self.origin(index), op)
    }

    /// The index of the step, or item, with this name.
    #[must_use]
    pub fn find(&self, name: &StepName) -> Option<usize> {
        // Records that are made here have clones of the names; no text need be looked at.
        let same = self.steps().iter().position(|step| step.name().is_clone_of(name));
        same.or_else(|| self.steps().iter().position(|step| step.name() == name))
    }

    /// Whether the step stands for its items, and is not one itself.
    pub(super) fn fans_out(&self, plan: &Plan, index: usize) -> bool {
        self.planned(plan, index).each.is_some() && self.steps()[index].item.is_none()
    }

    /// The items of a step that fanned out, in order.
    pub fn items(&self, step: usize) -> impl Iterator<Item = &StepState> {
        self.steps().iter().filter(move |item| item.item.is_some() && item.origin == step)
    }

    pub(super) fn fan_out(&mut self, plan: &Plan, step: &StepName, items: u32) -> Result<(), IllegalRecord> {
        let index = self.find(step).ok_or_else(|| IllegalRecord::NoSuchStep { step: step.clone() })?;
        if !self.fans_out(plan, index) {
            let (step, from) = (step.clone(), self.steps()[index].phase());
            return Err(IllegalRecord::NoSuchMove { step, from, event: Event::FanOut });
        }
        self.shift(step, Event::FanOut)?;
        for item in 0..items {
            let name = StepName::from(&*format!("{step}[{item}]"));
            self.steps.push(StepState::new(name, index, Some(item)));
        }
        Ok(())
    }

    /// A step whose items have all gone by is done; what it leaves is what its items left.
    pub(super) fn gather(&self, plan: &Plan) -> Option<Record> {
        if !self.steps().iter().any(|step| step.phase() == Phase::Open) {
            return None;
        }
        let mut done: Vec<bool> = self.steps()[..plan.steps().len()].iter().map(|s| s.phase() == Phase::Open).collect();
        for item in &self.steps()[plan.steps().len()..] {
            done[item.origin] &= item.phase().went_by();
        }
        let gathered = done.into_iter().position(|done| done)?;
        Some(Record::Done { step: self.steps()[gathered].name().clone(), output: Payload::null() })
    }

    /// For each step of the plan, whether another of its items may have `phase` beside those that have it;
    /// nothing when no step has items.
    pub(super) fn room(&self, plan: &Plan, phase: Phase) -> Room {
        if self.steps().len() == plan.steps().len() {
            return Room(Vec::new());
        }
        let room = plan.steps().iter().map(|step| step.each.map_or(usize::MAX, NonZeroUsize::get));
        let mut room: Vec<usize> = room.collect();
        for item in &self.steps()[plan.steps().len()..] {
            let taken = usize::from(item.phase() == phase);
            room[item.origin] = room[item.origin].saturating_sub(taken);
        }
        Room(room.into_iter().map(|room| room > 0).collect())
    }
}

/// Where there is room for another item, see [`SagaState::room`].
pub(super) struct Room(Vec<bool>);

impl Room {
    pub(super) fn has(&self, step: usize) -> bool {
        self.0.get(step).copied().unwrap_or(true)
    }
}
