//! What became of each step, worked out from the records alone: keys, directions, what is owed an undoing, and
//! in which order it was undone.

use std::collections::BTreeMap;

use super::{Evidence, Invariant, Violation};
use crate::checkpoint::Digest;
use crate::definition::{Kind, Plan, StepPlan};
use crate::fault::Effect;
use crate::id::{Op, StepName};
use crate::machine::{ProbeAnswer, Record, Resolution};

/// One step, as the records tell of it.
#[derive(Clone, Debug, Default)]
struct Trail {
    attempts: u32,
    generation: u32,
    input: Option<Digest>,
    begun: bool,
    under_way: bool,
    /// Some attempt may have had its effect.
    in_doubt: bool,
    done: bool,
    undo_begun: bool,
    undone: bool,
}

impl Trail {
    /// Whether the effect stands, or may stand.
    fn stands(&self) -> bool {
        self.begun && !self.undone && (self.under_way || self.in_doubt || self.done)
    }
}

struct Walk<'a> {
    plan: &'a Plan,
    steps: BTreeMap<StepName, Trail>,
    turned_back: bool,
    committed: bool,
    over: bool,
    found: &'a mut Vec<Violation>,
}

pub(super) fn check(evidence: &Evidence<'_>, found: &mut Vec<Violation>) {
    let steps = BTreeMap::new();
    let mut walk = Walk { plan: evidence.plan, steps, turned_back: false, committed: false, over: false, found };
    for record in evidence.turns.iter().flat_map(|turn| &turn.records) {
        walk.record(record);
    }
}

impl Walk<'_> {
    fn record(&mut self, record: &Record) {
        match record {
            Record::Begun { step, op, generation, input, .. } => self.begun(step, *op, *generation, *input),
            Record::Done { step, .. } => self.done(step),
            Record::Failed { step, op, fault, .. } => self.failed(step, *op, fault.effect == Effect::Unknown),
            Record::Interrupted { step, op, .. } => self.failed(step, *op, true),
            Record::Probed { step, answer } => match answer {
                ProbeAnswer::Applied(_) => self.done(step),
                ProbeAnswer::NotApplied => self.disproved(step),
                ProbeAnswer::Unknown => {}
            },
            Record::Delegated { step, .. } => {
                self.no_start_on_the_way_back(step);
                let trail = self.trail(step);
                (trail.begun, trail.under_way) = (true, true);
            }
            Record::Recalled { step } => self.undo_begins(step),
            Record::Compensated { step, .. } => self.compensated(step),
            Record::Watched { step, answer: ProbeAnswer::Applied(_), .. } => {
                let trail = self.trail(step);
                (trail.done, trail.undone, trail.undo_begun) = (true, false, false);
                self.over = false;
            }
            Record::TurnedBack { step } => self.turns_back(step.as_ref()),
            Record::Reopened => (self.turned_back, self.over) = (true, false),
            Record::Resolved { step: Some(step), op, resolution, .. } => self.resolved(step, *op, resolution),
            Record::RolledBack => self.rolled_back(),
            Record::Completed => self.completed(),
            Record::Started { .. }
            | Record::Sleeping { .. }
            | Record::Locking { .. }
            | Record::Released
            | Record::FannedOut { .. }
            | Record::SoftFailed { .. }
            | Record::Halted { .. }
            | Record::CancelRefused { .. }
            | Record::RetriedNow { .. }
            | Record::Signalled { .. }
            | Record::FollowedUp { .. }
            | Record::Unread { .. }
            | Record::Watched { .. }
            | Record::NeedsAttention { .. }
            | Record::Resolved { step: None, .. } => {}
        }
    }

    fn trail(&mut self, step: &StepName) -> &mut Trail {
        self.steps.entry(step.clone()).or_default()
    }

    fn report(&mut self, invariant: Invariant, step: &StepName, finding: impl Into<String>) {
        self.found.push(Violation::new(invariant, finding).at_step(step));
    }

    fn begun(&mut self, step: &StepName, op: Op, generation: u32, input: Digest) {
        if op == Op::Compensate {
            self.undo_begins(step);
        }
        if op == Op::Run {
            self.no_start_on_the_way_back(step);
            self.new_key_with_proof(step, generation);
        }
        let kind = planned(self.plan, step).map(|planned| planned.kind);
        let trail = self.trail(step);
        let changed = trail.input.is_some_and(|known| known != input);
        trail.input = trail.input.or(Some(input));
        if op == Op::Run {
            trail.attempts += 1;
            (trail.begun, trail.under_way, trail.generation) = (true, true, generation);
            self.committed |= kind == Some(Kind::Retryable);
        }
        if changed {
            self.report(Invariant::Keys, step, "another input under the same key");
        }
    }

    /// A key is replaced only when nothing can have happened under it.
    fn new_key_with_proof(&mut self, step: &StepName, generation: u32) {
        let trail = self.trail(step).clone();
        let renewed = trail.attempts > 0 && generation == trail.generation + 1;
        if generation == trail.generation && (trail.attempts > 0 || generation == 0) {
            return;
        }
        if !renewed || trail.in_doubt || trail.under_way {
            let finding = format!("generation {generation} of the key after {}, without proof", trail.generation);
            self.report(Invariant::Keys, step, finding);
        }
    }

    fn no_start_on_the_way_back(&mut self, step: &StepName) {
        if self.turned_back {
            self.report(Invariant::Direction, step, "begun after the saga had turned back");
        }
        if self.over {
            self.report(Invariant::Direction, step, "begun after the end");
        }
    }

    fn done(&mut self, step: &StepName) {
        let kind = planned(self.plan, step).map(|planned| planned.kind);
        self.committed |= kind == Some(Kind::Pivot);
        let trail = self.trail(step);
        (trail.done, trail.in_doubt, trail.under_way) = (true, false, false);
    }

    fn failed(&mut self, step: &StepName, op: Op, unknown: bool) {
        let has_effect = planned(self.plan, step).is_some_and(|planned| planned.kind.has_effect());
        if op == Op::Run {
            let trail = self.trail(step);
            trail.under_way = false;
            trail.in_doubt |= unknown && has_effect;
        }
    }

    fn disproved(&mut self, step: &StepName) {
        let trail = self.trail(step);
        (trail.in_doubt, trail.done, trail.under_way) = (false, false, false);
    }

    fn turns_back(&mut self, cause: Option<&StepName>) {
        let problem = match (self.turned_back, self.committed) {
            (true, _) => "turned back a second time",
            (false, true) => "turned back past the point of no return",
            (false, false) => "",
        };
        if !problem.is_empty() {
            let violation = Violation::new(Invariant::Direction, problem);
            self.found.push(cause.map_or(violation.clone(), |step| violation.at_step(step)));
        }
        self.turned_back = true;
    }

    /// Only what was started is undone, and only after what depends on it.
    fn undo_begins(&mut self, step: &StepName) {
        if !self.turned_back {
            self.report(Invariant::Direction, step, "undone though the saga has not turned back");
        }
        let trail = self.trail(step);
        let (begun, again) = (trail.begun, trail.undo_begun);
        trail.undo_begun = true;
        if !begun {
            self.report(Invariant::UndoSet, step, "undone though it was never started");
        }
        if again {
            return;
        }
        let plan = self.plan;
        let Some(index) = index(plan, step) else { return };
        let first = self.steps.iter().find(|(other, trail)| {
            let later = self::index(plan, other).filter(|&other| plan.is_before(index, other));
            trail.stands() && later.is_some_and(|later| is_undoable(&plan.steps()[later]))
        });
        if let Some(first) = first.map(|(other, _)| other.clone()) {
            self.report(Invariant::UndoOrder, step, format!("undone before {first}, which depends on it"));
        }
    }

    fn compensated(&mut self, step: &StepName) {
        let trail = self.trail(step);
        let began = trail.undo_begun;
        trail.undone = true;
        if !began {
            self.report(Invariant::UndoSet, step, "compensated though no compensation had begun");
        }
    }

    fn resolved(&mut self, step: &StepName, op: Op, resolution: &Resolution) {
        let kind = planned(self.plan, step).map(|planned| planned.kind);
        let trail = self.trail(step);
        match (op, resolution) {
            (_, Resolution::Retry) => trail.input = None,
            (_, Resolution::Probe) => {}
            (Op::Compensate, _) => trail.undone = true,
            (Op::Run | Op::Probe, Resolution::Supply(_)) => {
                (trail.done, trail.in_doubt) = (true, false);
                self.committed |= kind == Some(Kind::Pivot);
            }
            (Op::Run | Op::Probe, Resolution::Skip | Resolution::NotApplied) => self.disproved(step),
        }
    }

    fn rolled_back(&mut self) {
        self.over = true;
        let plan = self.plan;
        let standing = self.steps.iter().filter(|(_, trail)| trail.stands());
        let standing: Vec<(StepName, Kind)> = standing
            .filter_map(|(step, _)| {
                let planned = planned(plan, step)?;
                let owed = is_undoable(planned) || planned.kind == Kind::Pivot;
                owed.then(|| (step.clone(), planned.kind))
            })
            .collect();
        for (step, kind) in standing {
            match kind {
                Kind::Pivot => self.report(Invariant::NetEffect, &step, "rolled back though the pivot may be applied"),
                _ => self.report(Invariant::UndoSet, &step, "rolled back though it may stand and was not undone"),
            }
        }
        if !self.turned_back {
            self.found.push(Violation::new(Invariant::Direction, "rolled back without turning back"));
        }
    }

    fn completed(&mut self) {
        self.over = true;
        if self.turned_back {
            self.found.push(Violation::new(Invariant::Direction, "completed after it had turned back"));
        }
    }
}

/// The step of the plan that it is, or is an item of.
fn index(plan: &Plan, step: &StepName) -> Option<usize> {
    plan.find(step).or_else(|| {
        let (origin, _) = step.as_str().rsplit_once('[')?;
        plan.find(&StepName::from(origin))
    })
}

fn planned<'p>(plan: &'p Plan, step: &StepName) -> Option<&'p StepPlan> {
    index(plan, step).map(|index| &plan.steps()[index])
}

fn is_undoable(planned: &StepPlan) -> bool {
    planned.compensate.is_some() || planned.kind == Kind::Child
}
