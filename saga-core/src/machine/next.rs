//! What comes next: a pure function of the plan, the state and the time. No decision is taken
//! anywhere else.

use std::collections::BTreeMap;
use std::time::Duration;

use super::phase::Phase;
use super::record::{AttentionReason, Halt, Record};
use super::state::{Direction, SagaState};
use super::step_state::StepState;
use crate::checkpoint::Payload;
use crate::definition::{Kind, Plan};
use crate::fault::{Class, Effect, Fault};
use crate::id::Op;
use crate::seeded::seeded;
use crate::time::Timestamp;

/// Steps that are not to begin before a time, whatever else is so: what they call is left alone for now.
/// That is no fact about the saga, and nothing is journalled of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held(BTreeMap<usize, Timestamp>);

impl Held {
    /// The step, by its index, does not begin before `until`.
    pub fn hold(&mut self, step: usize, until: Timestamp) {
        self.0.insert(step, until);
    }

    fn holds(&self, step: usize, now: Timestamp) -> bool {
        self.0.get(&step).is_some_and(|until| *until > now)
    }

    fn until(&self, now: Timestamp) -> Option<Timestamp> {
        self.0.values().copied().filter(|until| *until > now).min()
    }
}

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
    /// This step is to be worked out from earlier outputs: a decision, or a time to wait for. Apply the
    /// [`Record::Done`] or [`Record::Sleeping`] (or, when an output does not decode, the
    /// [`Record::NeedsAttention`]), and ask again.
    Evaluate {
        /// The step's index in the plan.
        step: usize,
    },
    /// No step will take what was signalled: start the sagas that see to it, apply the
    /// [`Record::FollowedUp`] of each, and ask again.
    FollowUp,
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
        self.next_holding(plan, now, &Held::default())
    }

    /// Says what comes next at the time `now`, when some steps are not to begin.
    #[must_use]
    pub fn next_holding(&self, plan: &Plan, now: Timestamp, held: &Held) -> Next {
        if self.is_set_aside() {
            return Next::Wait { attempts: Vec::new(), wake_at: None };
        }
        let decision = match self.direction() {
            Direction::Completed | Direction::RolledBack if !self.untaken_signals().is_empty() => {
                return Next::FollowUp;
            }
            // The wish came while the last step was under way.
            Direction::Completed if self.is_retained() && self.halted() == Some(&Halt::Recalled) => {
                Some(Next::Append(Record::Reopened))
            }
            Direction::Completed if self.is_retained() => None,
            Direction::Completed => return Next::Ended,
            Direction::RolledBack => self.next_watch(now, held),
            Direction::Forward | Direction::Committed => self.next_forward(plan, now, held),
            Direction::Backward => self.next_backward(plan, now, held),
        };
        decision.unwrap_or_else(|| self.wait(plan, now, held))
    }

    fn next_forward(&self, plan: &Plan, now: Timestamp, held: &Held) -> Option<Next> {
        let steps = || self.steps().iter().enumerate();
        if self.halted().is_none() && self.deadline(plan).is_some_and(|deadline| deadline <= now) {
            return Some(Next::Append(Record::Halted { cause: Halt::Deadline }));
        }
        // A failure is dealt with before anything new begins.
        if let Some(next) = steps().find_map(|(index, step)| self.after_failure(plan, index, step, now, held)) {
            return Some(next);
        }
        if let Some(taken) = self.take_signal(plan) {
            return Some(Next::Append(taken));
        }
        if let Some(gathered) = self.gather(plan) {
            return Some(Next::Append(gathered));
        }
        if (0..self.steps().len()).all(|index| self.went_by(plan, index)) {
            return Some(Next::Append(Record::Completed));
        }
        if let Some((step, _)) = steps().find(|(index, step)| probe_is_due(step, now) && !held.holds(*index, now)) {
            return Some(Next::Begin { step, op: Op::Probe });
        }
        let halted = self.is_halted_forward();
        if halted && self.can_turn_back(plan) {
            return Some(Next::Append(Record::TurnedBack { step: None }));
        }
        let room = self.room(plan, Phase::Running);
        let ready = |(index, step): &(usize, &StepState)| match step.phase() {
            _ if held.holds(*index, now) => false,
            // An operator has the pivot tried once more: its outcome is in doubt.
            Phase::Waiting if halted => self.is_in_doubt(plan, *index) && is_due(step, now),
            Phase::Pending if halted => false,
            Phase::Pending if self.is_passed_over(plan, *index) => false,
            Phase::Pending if step.item().is_some() => room.has(self.origin(*index)),
            Phase::Pending => self.planned(plan, *index).after.iter().all(|&before| self.went_by(plan, before)),
            phase => phase == Phase::Waiting && is_due(step, now) && room.has(self.origin(*index)),
        };
        let (step, ready) = steps().find(ready)?;
        if self.planned(plan, step).kind.is_pure() || self.fans_out(plan, step) {
            return Some(match ready.phase() {
                Phase::Pending => Next::Evaluate { step },
                _ if self.planned(plan, step).kind == Kind::Lock => Next::Append(not_locked(ready)),
                _ => Next::Append(Record::Done { step: ready.name().clone(), output: Payload::null() }),
            });
        }
        let op = if self.must_ask_first(plan, step, now) { Op::Probe } else { Op::Run };
        Some(Next::Begin { step, op })
    }

    /// Whether the step is the pivot, and may have had its effect.
    fn is_in_doubt(&self, plan: &Plan, index: usize) -> bool {
        self.planned(plan, index).kind == Kind::Pivot && self.steps()[index].maybe_applied()
    }

    /// When a saga that can still turn back has to.
    pub(super) fn deadline(&self, plan: &Plan) -> Option<Timestamp> {
        let deadline = plan.deadline().filter(|_| self.direction() == Direction::Forward)?;
        Some(self.started_at().after(deadline))
    }

    /// Whether a halted saga can turn back now: nothing is under way, and the pivot's outcome is not
    /// in doubt.
    fn can_turn_back(&self, plan: &Plan) -> bool {
        self.steps().iter().enumerate().all(|(index, step)| {
            let asks = step.in_flight().is_some() || step.phase() == Phase::ProbeWaiting;
            !asks && !self.is_in_doubt(plan, index)
        })
    }

    /// Whether the participant must be asked what became of the last attempt before another one is
    /// made: the key would be answered with the old failure, or is not remembered any more.
    pub(super) fn must_ask_first(&self, plan: &Plan, index: usize, now: Timestamp) -> bool {
        let (step, planned) = (&self.steps()[index], self.planned(plan, index));
        let expired = out_of_time(step.keyed_at(), planned.run.key_horizon, now) && !seeded("M19");
        step.maybe_applied() && (planned.replays_errors || expired)
    }

    /// The generation of the key for the next attempt of the step itself.
    #[must_use]
    pub fn next_generation(&self, plan: &Plan, index: usize) -> u32 {
        let (step, planned) = (&self.steps()[index], self.planned(plan, index));
        let proven = step.tally(Op::Run).attempts > 0 && (!step.maybe_applied() || seeded("M25"));
        step.generation() + u32::from(proven && (planned.replays_errors || step.probed()))
    }

    /// Whether a step that was proven to have had no effect begins anew, under a new key.
    fn begins_anew(&self, plan: &Plan, index: usize, now: Timestamp) -> bool {
        let (step, planned) = (&self.steps()[index], self.planned(plan, index));
        let renews = planned.replays_errors || planned.run.key_horizon.is_some();
        let transient = step.fault().is_some_and(|fault| fault.class == Class::Transient);
        let tally = step.tally(Op::Run);
        renews
            && step.phase() == Phase::NotApplied
            && step.probed()
            && transient
            && !self.is_halted_forward()
            && planned.kind != Kind::BestEffort
            && planned.run.retry.allows_another(tally.since_granted)
            && !out_of_time(tally.since, planned.run.retry.within_max(), now)
    }

    /// Whether the saga can go on past this step.
    fn went_by(&self, plan: &Plan, index: usize) -> bool {
        self.steps()[index].phase().went_by() || self.is_passed_over(plan, index)
    }

    /// Whether the step is not taken, because the step that guards it decided so (or is not taken itself).
    #[must_use]
    pub fn is_passed_over(&self, plan: &Plan, index: usize) -> bool {
        // An item that is there is taken: its step was.
        let guard = self.planned(plan, index).guard.filter(|_| self.steps()[index].item().is_none());
        guard.is_some_and(|guard| {
            let decided = self.steps()[guard].output().map(Payload::as_json);
            decided == Some("false") || self.is_passed_over(plan, guard)
        })
    }

    /// What a step that was given up leads to.
    fn after_failure(&self, plan: &Plan, index: usize, step: &StepState, now: Timestamp, held: &Held) -> Option<Next> {
        let unknown = step.phase() == Phase::Unknown;
        if !unknown && step.phase() != Phase::NotApplied {
            return None;
        }
        if self.begins_anew(plan, index, now) {
            let room = self.room(plan, Phase::Running).has(self.origin(index)) && !held.holds(index, now);
            return room.then_some(Next::Begin { step: index, op: Op::Run });
        }
        let name = step.name().clone();
        let can_turn_back = self.direction() == Direction::Forward;
        Some(match self.planned(plan, index).kind {
            Kind::BestEffort => Next::Append(Record::SoftFailed { step: name }),
            Kind::Query
            | Kind::When
            | Kind::Sleep
            | Kind::Signal
            | Kind::Publish
            | Kind::Lock
            | Kind::Child
            | Kind::Compensatable
                if can_turn_back =>
            {
                Next::Append(Record::TurnedBack { step: Some(name) })
            }
            Kind::Pivot if !unknown => Next::Append(Record::TurnedBack { step: Some(name) }),
            Kind::Pivot if !step.probed() && held.holds(index, now) => return None,
            Kind::Pivot if !step.probed() => Next::Begin { step: index, op: Op::Probe },
            Kind::Pivot => call_human(step, Op::Run, AttentionReason::UnknownOutcome),
            Kind::Retryable if unknown && step.probed() => call_human(step, Op::Run, AttentionReason::UnknownOutcome),
            Kind::Query
            | Kind::When
            | Kind::Sleep
            | Kind::Signal
            | Kind::Publish
            | Kind::Lock
            | Kind::Child
            | Kind::Compensatable
            | Kind::Retryable => call_human(step, Op::Run, AttentionReason::Failed),
        })
    }

    fn next_backward(&self, plan: &Plan, now: Timestamp, held: &Held) -> Option<Next> {
        // No compensation starts while a forward step is still in flight.
        if self.steps().iter().any(|step| step.phase() == Phase::Running) {
            return None;
        }
        let room = self.room(plan, Phase::Undoing);
        let owed = self.owed(plan);
        for (index, step) in self.steps().iter().enumerate().rev() {
            if step.phase() == Phase::UndoFailed {
                return Some(call_human(step, Op::Compensate, AttentionReason::Failed));
            }
            if !self.is_owed(plan, index) || held.holds(index, now) {
                continue;
            }
            if probe_is_due(step, now) || (step.phase() == Phase::Unknown && !step.probed()) {
                return Some(Next::Begin { step: index, op: Op::Probe });
            }
            let standing = matches!(step.phase(), Phase::Done | Phase::Unknown | Phase::SoftFailed);
            let again = step.phase() == Phase::UndoWaiting && is_due(step, now);
            let horizon = self.policy(plan, index, Op::Compensate).key_horizon;
            if again && out_of_time(step.tally(Op::Compensate).since, horizon, now) {
                return Some(call_human(step, Op::Compensate, AttentionReason::KeyExpired));
            }
            let begins = again || standing && !is_owed_after(plan, &owed, self.origin(index));
            let delegated = self.planned(plan, index).kind == Kind::Child;
            if delegated && matches!(step.phase(), Phase::Done | Phase::Delegated) {
                if !is_owed_after(plan, &owed, index) {
                    return Some(Next::Append(Record::Recalled { step: step.name().clone() }));
                }
                continue;
            }
            if begins && room.has(self.origin(index)) {
                return Some(Next::Begin { step: index, op: Op::Compensate });
            }
        }
        (!owed.contains(&true)).then_some(Next::Append(Record::RolledBack))
    }

    /// After the end: whose participant is to be asked about a late effect.
    fn next_watch(&self, now: Timestamp, held: &Held) -> Option<Next> {
        let steps = self.steps().iter();
        let due = |(index, step): &(usize, &StepState)| {
            step.phase() == Phase::Undone && is_due(step, now) && !held.holds(*index, now)
        };
        if let Some((step, _)) = steps.clone().enumerate().find(due) {
            return Some(Next::Begin { step, op: Op::Probe });
        }
        let watches = steps.clone().any(|step| step.phase() == Phase::Watching || step.due().is_some());
        (!watches).then_some(Next::Ended)
    }

    /// Whether the step's compensation is owed and not yet done: it was begun, and nothing proves
    /// that it had no effect.
    #[must_use]
    pub fn is_owed(&self, plan: &Plan, index: usize) -> bool {
        let step = &self.steps()[index];
        self.planned(plan, index).compensate.is_some()
            && !self.fans_out(plan, index)
            && !(seeded("M1") && step.phase() == Phase::Unknown)
            && match step.phase() {
                Phase::Done
                | Phase::Unknown
                | Phase::Probing
                | Phase::ProbeWaiting
                | Phase::Undoing
                | Phase::UndoWaiting
                | Phase::UndoFailed
                | Phase::UndoBlocked
                | Phase::Delegated
                | Phase::Recalling => true,
                Phase::SoftFailed => step.maybe_applied(),
                Phase::Pending
                | Phase::Running
                | Phase::Open
                | Phase::Waiting
                | Phase::Blocked
                | Phase::Skipped
                | Phase::NotApplied
                | Phase::Undone
                | Phase::Watching => false,
            }
    }

    /// For each step of the plan, whether a compensation of it, or of one of its items, is owed.
    fn owed(&self, plan: &Plan) -> Vec<bool> {
        let mut owed = vec![false; plan.steps().len()];
        for index in 0..self.steps().len() {
            owed[self.origin(index)] |= self.is_owed(plan, index);
        }
        owed
    }

    fn wait(&self, plan: &Plan, now: Timestamp, held: &Held) -> Next {
        let steps = self.steps().iter();
        let watches = self.direction() == Direction::RolledBack;
        // A late effect is not asked for before the saga is over; and what is due and has not begun waits
        // for its turn among the items of its list, not for the time.
        let due = |step: &StepState| step.due().filter(|&due| due > now && (watches || step.phase() != Phase::Undone));
        let deadline = self.deadline(plan).filter(|_| self.halted().is_none());
        let attempts = steps.clone().enumerate().filter_map(|(index, step)| {
            let op = step.in_flight()?;
            Some(Attempt { step: index, op, number: step.tally(op).attempts })
        });
        Next::Wait {
            attempts: attempts.collect(),
            wake_at: steps.filter_map(due).chain(deadline).chain(held.until(now)).min(),
        }
    }
}

fn is_due(step: &StepState, now: Timestamp) -> bool {
    step.due().is_some_and(|due| due <= now)
}

pub(super) fn out_of_time(since: Option<Timestamp>, limit: Option<Duration>, now: Timestamp) -> bool {
    since.zip(limit).is_some_and(|(since, limit)| since.after(limit) <= now)
}

/// Whether a step that comes after this one has still to be undone first.
fn is_owed_after(plan: &Plan, owed: &[bool], index: usize) -> bool {
    !seeded("M23") && (index + 1..owed.len()).any(|later| owed[later] && plan.is_before(index, later))
}

/// The locks did not come in time.
fn not_locked(step: &StepState) -> Record {
    let message = "the entities were not locked in time: others have them".to_owned();
    let fault = Fault { class: Class::Terminal, effect: Effect::NotApplied, message };
    Record::Failed { step: step.name().clone(), op: Op::Run, fault, retry_at: None }
}

fn probe_is_due(step: &StepState, now: Timestamp) -> bool {
    step.phase() == Phase::ProbeWaiting && is_due(step, now)
}

fn call_human(step: &StepState, op: Op, reason: AttentionReason) -> Next {
    let fault = if op == Op::Compensate { step.undo_fault() } else { step.fault() };
    let error = fault.or(step.fault()).map_or_else(String::new, |fault| fault.message.clone());
    Next::Append(Record::NeedsAttention { step: Some(step.name().clone()), op, reason, error })
}
