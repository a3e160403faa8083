//! The state of a saga, and `apply`: the only code that changes it, live or replayed.

use super::mail::Signalled;
use super::phase::{Event, Phase, next_phase};
use super::record::{AttentionReason, Halt, Parent, ProbeAnswer, Record, Resolution};
use super::step_state::{AT_ONCE, StepState};
use crate::checkpoint::{Digest, Payload};
use crate::definition::{Kind, Plan};
use crate::fault::{Class, Effect, Fault};
use crate::id::{Op, StepName};
use crate::seeded::seeded;
use crate::time::Timestamp;

/// Where the saga is heading.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Forward, and it can still turn back.
    Forward,
    /// Past the point of no return: only forward.
    Committed,
    /// Back: what was done is being undone.
    Backward,
    /// Over: every step is done.
    Completed,
    /// Over: every compensation owed is done.
    RolledBack,
}

impl Direction {
    /// Whether the saga is over.
    #[must_use]
    pub fn is_end(self) -> bool {
        matches!(self, Self::Completed | Self::RolledBack)
    }
}

/// A record does not fit the state that it meets: the history was not written by this machine, or
/// not under this definition. The saga is set aside; it is never continued on a guess.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IllegalRecord {
    /// The step is not in the definition.
    #[error("the record names the step {step}, which the definition does not have")]
    NoSuchStep {
        /// The step.
        step: StepName,
    },
    /// The move is not in the transition table.
    #[error("the step {step} cannot go from {from:?} by {event:?}")]
    NoSuchMove {
        /// The step.
        step: StepName,
        /// Where it stands.
        from: Phase,
        /// What the record would do.
        event: Event,
    },
    /// The saga cannot do that in its present direction.
    #[error("{what} while the saga is {direction:?}")]
    WrongDirection {
        /// What the record says.
        what: &'static str,
        /// Where the saga is heading.
        direction: Direction,
    },
    /// A new key needs the proof that nothing happened under the old one.
    #[error("the step {step} begins with the key of generation {found}, and stands at {expected}")]
    UnprovenKey {
        /// The step.
        step: StepName,
        /// The generation that the record names.
        found: u32,
        /// The generation of the step's present key.
        expected: u32,
    },
    /// A history must begin with its start, once.
    #[error("the history does not begin with its start")]
    NotStarted,
}

/// All that is known of a saga: the fold of its journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SagaState {
    input: Payload,
    started_at: Timestamp,
    pub(super) direction: Direction,
    /// The saga is to turn back as soon as it safely can.
    pub(super) halted: Option<Halt>,
    pub(super) steps: Vec<StepState>,
    /// The step that turned the saga back.
    cause: Option<usize>,
    turns: u32,
    /// What was signalled and no step has taken, oldest first.
    pub(super) signals: Vec<Signalled>,
    parent: Option<Parent>,
    /// It is done, and its parent cannot want it undone any more.
    released: bool,
    /// The saga as a whole waits for a human.
    unreadable: bool,
}

impl SagaState {
    /// The state of a new saga with this input, before its first step.
    #[must_use]
    pub fn new(plan: &Plan, input: Payload, started_at: Timestamp) -> Self {
        Self {
            input,
            started_at,
            halted: None,
            direction: Direction::Forward,
            steps: plan
                .steps()
                .iter()
                .enumerate()
                .map(|(at, step)| StepState::new(step.name.clone(), at, None))
                .collect(),
            cause: None,
            turns: 0,
            signals: Vec::new(),
            parent: None,
            released: false,
            unreadable: false,
        }
    }

    /// The state of a saga that begins with this record.
    ///
    /// # Errors
    /// When it is another record than that of a start.
    pub fn started(plan: &Plan, record: &Record, started_at: Timestamp) -> Result<Self, IllegalRecord> {
        match record {
            Record::Started { input, parent } => {
                Ok(Self { parent: parent.clone(), ..Self::new(plan, input.clone(), started_at) })
            }
            _ => Err(IllegalRecord::NotStarted),
        }
    }

    /// Folds a whole history: recovery. `started_at` is when the journal says that it began.
    ///
    /// # Errors
    /// When the history is not one that this machine could have written under this plan.
    pub fn replay(plan: &Plan, turns: &[Vec<Record>], started_at: Timestamp) -> Result<Self, IllegalRecord> {
        let first = turns.first().and_then(|turn| turn.first()).ok_or(IllegalRecord::NotStarted)?;
        let mut state = Self::started(plan, first, started_at)?;
        for (nth, turn) in turns.iter().enumerate() {
            for record in turn.iter().skip(usize::from(nth == 0)) {
                state.apply(plan, record)?;
            }
            state.turns += 1;
        }
        Ok(state)
    }

    /// The saga's input.
    #[must_use]
    pub fn input(&self) -> &Payload {
        &self.input
    }

    /// When the saga was started.
    #[must_use]
    pub fn started_at(&self) -> Timestamp {
        self.started_at
    }

    /// Why the saga turns, or turned, back though no step has failed.
    #[must_use]
    pub fn halted(&self) -> Option<&Halt> {
        self.halted.as_ref()
    }

    /// The saga whose step this one is.
    #[must_use]
    pub fn parent(&self) -> Option<&Parent> {
        self.parent.as_ref()
    }

    /// Whether the saga is done, and kept because its parent may still want it undone.
    #[must_use]
    pub fn is_retained(&self) -> bool {
        self.direction == Direction::Completed && self.parent.is_some() && !self.released
    }

    /// Where the saga is heading.
    #[must_use]
    pub fn direction(&self) -> Direction {
        self.direction
    }

    /// Its steps, in the order of the plan.
    #[must_use]
    pub fn steps(&self) -> &[StepState] {
        &self.steps
    }

    /// Why the saga turned back.
    #[must_use]
    pub fn reason(&self) -> Fault {
        if let Some(halt) = &self.halted {
            return Fault { class: Class::Terminal, effect: Effect::NotApplied, message: halt.to_string() };
        }
        self.cause().and_then(|step| step.fault().cloned()).unwrap_or_else(|| Fault::unknown(String::new()))
    }

    /// The step whose failure turned the saga back.
    #[must_use]
    pub fn cause(&self) -> Option<&StepState> {
        self.cause.map(|index| &self.steps[index])
    }

    /// Whether the saga as a whole was set aside because its history could not be read.
    #[must_use]
    pub fn is_set_aside(&self) -> bool {
        self.unreadable
    }

    /// How many turns the history has.
    #[must_use]
    pub fn turns(&self) -> u32 {
        self.turns
    }

    /// Whether something waits for a human.
    #[must_use]
    pub fn needs_attention(&self) -> bool {
        self.unreadable || self.steps.iter().any(|step| step.blocked().is_some())
    }

    /// Counts a turn that has become durable.
    pub fn turn_written(&mut self) {
        self.turns += 1;
    }

    /// Folds one record into the state. Live and in replay, this is the only way a saga changes.
    ///
    /// # Errors
    /// When the record does not fit; the state is then unchanged.
    pub fn apply(&mut self, plan: &Plan, record: &Record) -> Result<(), IllegalRecord> {
        if self.direction.is_end() && !self.may_follow_end(record) {
            return Err(self.wrong_direction("a record after the end"));
        }
        match record {
            Record::Started { .. } => Err(self.wrong_direction("a second start")),
            Record::Begun { step, op, attempt: _, generation, at, input } => {
                self.begin(plan, step, *op, *generation, *at, *input)
            }
            Record::Done { step, output } => self.succeed(plan, step, output),
            Record::Failed { step, op, fault, retry_at } => {
                self.fail(plan, step, *op, fault.clone(), *retry_at).map(drop)
            }
            Record::Interrupted { step, op, crashed, retry_at } => {
                let index = self.fail(plan, step, *op, Fault::interrupted(), *retry_at)?;
                let tally = self.steps[index].tally_mut(*op);
                tally.crashes += u32::from(*crashed && !seeded("M3"));
                tally.since_granted -= u32::from(seeded("M3"));
                Ok(())
            }
            Record::Probed { step, answer } => self.probed(plan, step, answer),
            Record::Sleeping { step, until } => {
                let index = self.shift(step, Event::Sleep)?;
                self.steps[index].due = *until;
                Ok(())
            }
            Record::Locking { step, until, .. } => {
                let index = self.shift(step, Event::Sleep)?;
                self.steps[index].due = Some(*until);
                Ok(())
            }
            Record::Delegated { step, .. } => self.shift(step, Event::Delegate).map(drop),
            Record::Recalled { step } => self.shift(step, Event::Recall).map(drop),
            Record::Reopened => self.reopen(),
            Record::Released => {
                self.released = true;
                Ok(())
            }
            Record::FannedOut { step, items } => self.fan_out(plan, step, *items),
            Record::SoftFailed { step } => self.shift(step, Event::SoftFail).map(drop),
            Record::Halted { cause } => self.halt(cause),
            Record::CancelRefused { .. } | Record::Unread { .. } => Ok(()),
            Record::RetriedNow { .. } => {
                let waiting = self.steps.iter_mut().filter(|step| step.is_put_off());
                waiting.for_each(|step| step.due = Some(AT_ONCE));
                Ok(())
            }
            Record::Signalled { name, payload, id } => {
                let (name, payload, id) = (name.clone(), payload.clone(), id.clone());
                self.signals.push(Signalled { name, payload, id });
                Ok(())
            }
            Record::FollowedUp { id, .. } => {
                self.signals.retain(|signal| signal.id != *id);
                Ok(())
            }
            Record::TurnedBack { step } => self.turn_back(step.as_ref()),
            Record::Compensated { step, watch_at } => self.compensated(step, *watch_at),
            Record::Watched { step, answer, watch_at } => self.watched(step, answer, *watch_at),
            Record::NeedsAttention { step: None, .. } => {
                self.unreadable = true;
                Ok(())
            }
            Record::NeedsAttention { step: Some(step), op, reason, error } => self.block(step, *op, *reason, error),
            Record::Resolved { step: None, .. } => {
                self.unreadable = false;
                Ok(())
            }
            Record::Resolved { step: Some(step), op, resolution, .. } => self.resolve(plan, step, *op, resolution),
            Record::Completed => match self.direction {
                Direction::Forward | Direction::Committed => {
                    self.direction = Direction::Completed;
                    Ok(())
                }
                Direction::Backward | Direction::Completed | Direction::RolledBack => {
                    Err(self.wrong_direction("completed"))
                }
            },
            Record::RolledBack => match self.direction {
                Direction::Backward => {
                    self.direction = Direction::RolledBack;
                    Ok(())
                }
                Direction::Forward | Direction::Committed | Direction::Completed | Direction::RolledBack => {
                    Err(self.wrong_direction("rolled back"))
                }
            },
        }
    }

    fn begin(
        &mut self,
        plan: &Plan,
        step: &StepName,
        op: Op,
        generation: u32,
        at: Option<Timestamp>,
        input: Digest,
    ) -> Result<(), IllegalRecord> {
        let index = self.expect(step)?;
        let known = &self.steps[index];
        let event = match op {
            Op::Run => Event::Begin,
            Op::Probe if known.phase == Phase::Undone => Event::BeginWatch,
            Op::Probe => Event::BeginProbe,
            Op::Compensate => Event::BeginUndo,
        };
        let renewed = op == Op::Run && !known.maybe_applied && generation == known.generation + 1;
        if generation != known.generation && !renewed {
            let (step, expected) = (step.clone(), known.generation);
            return Err(IllegalRecord::UnprovenKey { step, found: generation, expected });
        }
        // Asking again after an answer is a new question, with attempts of its own.
        let asks_anew = op == Op::Probe && known.phase != Phase::ProbeWaiting;
        self.shift(step, event)?;
        let state = &mut self.steps[index];
        state.input.get_or_insert(input);
        state.due = None;
        let tally = state.tally_mut(op);
        if asks_anew {
            (tally.since_granted, tally.since) = (0, None);
        }
        tally.attempts += 1;
        tally.since_granted += 1;
        tally.since = tally.since.or(at);
        if op == Op::Run {
            state.probed = false;
            state.keyed_at = if renewed { at } else { state.keyed_at.or(at) };
            state.generation = generation;
        }
        // Without a pivot, the first retryable step is the point of no return.
        if op == Op::Run && self.planned(plan, index).kind == Kind::Retryable && self.direction == Direction::Forward {
            self.direction = Direction::Committed;
        }
        Ok(())
    }

    fn succeed(&mut self, plan: &Plan, step: &StepName, output: &Payload) -> Result<(), IllegalRecord> {
        let index = self.expect(step)?;
        // Only what is worked out here is done without an attempt.
        let attempted = self.steps[index].phase != Phase::Pending && self.steps[index].phase != Phase::Waiting;
        if !attempted && !self.planned(plan, index).kind.is_pure() {
            let (step, from) = (step.clone(), self.steps[index].phase);
            return Err(IllegalRecord::NoSuchMove { step, from, event: Event::Succeed });
        }
        self.shift(step, Event::Succeed)?;
        self.steps[index].due = None;
        self.steps[index].output = Some(output.clone());
        // What came in time is taken; a wait that ran out leaves nothing.
        if let Some(name) = self.planned(plan, index).signal.as_deref()
            && let Some(taken) = self.signals.iter().position(|signal| signal.name == name && signal.payload == *output)
        {
            self.signals.remove(taken);
        }
        self.steps[index].maybe_applied = false;
        self.pass_pivot(plan, index);
        Ok(())
    }

    fn pass_pivot(&mut self, plan: &Plan, index: usize) {
        if self.planned(plan, index).kind == Kind::Pivot && self.direction == Direction::Forward {
            self.direction = Direction::Committed;
        }
    }

    fn fail(
        &mut self,
        plan: &Plan,
        step: &StepName,
        op: Op,
        fault: Fault,
        retry_at: Option<Timestamp>,
    ) -> Result<usize, IllegalRecord> {
        let index = self.expect(step)?;
        let has_effect = self.planned(plan, index).kind.has_effect();
        let maybe_applied = match op {
            Op::Run => has_effect && (self.steps[index].maybe_applied || fault.effect == Effect::Unknown),
            Op::Probe | Op::Compensate => self.steps[index].maybe_applied,
        };
        let watching = self.steps[index].phase == Phase::Watching;
        let event = match (op, retry_at) {
            (Op::Probe, Some(_)) if watching => Event::Quiet,
            (Op::Probe, None) if watching => Event::GiveUpWatch,
            (Op::Run, Some(_)) => Event::Retry,
            (Op::Run, None) if maybe_applied => Event::GiveUpUnknown,
            (Op::Run, None) => Event::GiveUpNotApplied,
            (Op::Probe, Some(_)) => Event::RetryProbe,
            (Op::Probe, None) => Event::ProbeUnknown,
            (Op::Compensate, Some(_)) => Event::RetryUndo,
            (Op::Compensate, None) => Event::GiveUpUndo,
        };
        self.shift(step, event)?;
        if event == Event::GiveUpWatch {
            // Nobody can tell whether the effect came late: the saga is not over.
            self.direction = Direction::Backward;
        }
        let state = &mut self.steps[index];
        state.maybe_applied = maybe_applied;
        state.probed = op == Op::Probe && retry_at.is_none();
        state.due = retry_at;
        // Neither a failing probe nor a failing compensation may hide why the step itself failed.
        if op == Op::Compensate || watching {
            state.trouble_mut().undo_fault = Some(fault);
        } else if op == Op::Run || state.fault().is_none() {
            state.trouble_mut().fault = Some(fault);
        }
        Ok(index)
    }

    fn probed(&mut self, plan: &Plan, step: &StepName, answer: &ProbeAnswer) -> Result<(), IllegalRecord> {
        let event = match answer {
            ProbeAnswer::Applied(_) => Event::Succeed,
            ProbeAnswer::NotApplied => Event::Disprove,
            ProbeAnswer::Unknown => Event::ProbeUnknown,
        };
        let index = self.shift(step, event)?;
        let state = &mut self.steps[index];
        state.probed = true;
        match answer {
            ProbeAnswer::Applied(output) => {
                state.output = Some(output.clone());
                state.maybe_applied = false;
                self.pass_pivot(plan, index);
            }
            ProbeAnswer::NotApplied => state.maybe_applied = false,
            ProbeAnswer::Unknown => {}
        }
        Ok(())
    }

    fn halt(&mut self, cause: &Halt) -> Result<(), IllegalRecord> {
        if self.direction != Direction::Forward {
            return Err(self.wrong_direction("halted"));
        }
        self.halted = Some(cause.clone());
        self.give_up(|phase| phase == Phase::Waiting)
    }

    fn turn_back(&mut self, step: Option<&StepName>) -> Result<(), IllegalRecord> {
        let cause = step.map(|step| self.expect(step)).transpose()?;
        if self.direction != Direction::Forward {
            return Err(self.wrong_direction("turned back"));
        }
        self.direction = Direction::Backward;
        self.cause = cause;
        self.give_up(|phase| matches!(phase, Phase::Waiting | Phase::Blocked))
    }

    /// What waits for another attempt, or for a human, has none any more.
    fn give_up(&mut self, waits: impl Fn(Phase) -> bool) -> Result<(), IllegalRecord> {
        for state in self.steps.iter_mut().filter(|state| waits(state.phase)) {
            let event = if state.maybe_applied { Event::GiveUpUnknown } else { Event::GiveUpNotApplied };
            let (step, from) = (state.name.clone(), state.phase);
            state.phase = next_phase(from, event).ok_or(IllegalRecord::NoSuchMove { step, from, event })?;
            state.due = None;
        }
        Ok(())
    }

    fn block(&mut self, step: &StepName, op: Op, reason: AttentionReason, error: &str) -> Result<(), IllegalRecord> {
        let event = match op {
            Op::Run | Op::Probe => Event::Block,
            Op::Compensate => Event::BlockUndo,
        };
        if op == Op::Compensate && self.direction == Direction::RolledBack {
            // Nobody can ask whether the effect came late: the saga is not over.
            self.direction = Direction::Backward;
        }
        let index = self.shift(step, event)?;
        let state = &mut self.steps[index];
        state.due = None;
        match reason {
            // The fault of the last attempt says it already.
            AttentionReason::Failed
            | AttentionReason::UnknownOutcome
            | AttentionReason::KeyExpired
            | AttentionReason::Poison => {}
            AttentionReason::Undecodable | AttentionReason::InputChanged | AttentionReason::Unreadable => {
                let fault = Some(Fault::unknown(error.to_owned()));
                let trouble = state.trouble_mut();
                if op == Op::Compensate { trouble.undo_fault = fault } else { trouble.fault = fault }
            }
        }
        Ok(())
    }

    fn resolve(&mut self, plan: &Plan, step: &StepName, op: Op, resolution: &Resolution) -> Result<(), IllegalRecord> {
        let undoing = op == Op::Compensate;
        let event = match resolution {
            Resolution::Retry if undoing => Event::RetryUndo,
            Resolution::Retry if self.is_worked_out(plan, step) => Event::Reset,
            Resolution::Retry => Event::Retry,
            Resolution::Probe => Event::Doubt,
            Resolution::Skip if undoing => Event::Undo,
            Resolution::Skip => Event::Skip,
            Resolution::Supply(_) => Event::Succeed,
            Resolution::NotApplied if undoing => Event::Undo,
            Resolution::NotApplied => Event::Disprove,
        };
        let index = self.shift(step, event)?;
        let state = &mut self.steps[index];
        match resolution {
            Resolution::Retry => {
                // Due at once, with a fresh budget; the total goes on.
                state.due = (event != Event::Reset).then_some(AT_ONCE);
                state.tally_mut(op).grant();
                // The operator accepts the input as it is now.
                state.input = None;
            }
            Resolution::Probe => {
                state.probed = false;
                state.trouble_mut().probe.grant();
            }
            Resolution::Skip => {}
            Resolution::Supply(output) => {
                state.output = Some(output.clone());
                state.maybe_applied = false;
                self.pass_pivot(plan, index);
            }
            Resolution::NotApplied => state.maybe_applied = false,
        }
        Ok(())
    }

    /// Moves a step along the transition table.
    pub(super) fn shift(&mut self, step: &StepName, event: Event) -> Result<usize, IllegalRecord> {
        let index = self.expect(step)?;
        let from = self.steps[index].phase;
        let to =
            next_phase(from, event).ok_or_else(|| IllegalRecord::NoSuchMove { step: step.clone(), from, event })?;
        let undoes = matches!(event, Event::BeginUndo | Event::BlockUndo | Event::Recall);
        if undoes && self.direction != Direction::Backward {
            return Err(self.wrong_direction("a compensation"));
        }
        if event == Event::BeginWatch && self.direction != Direction::RolledBack {
            return Err(self.wrong_direction("a question about late effects"));
        }
        // On the way back, what cannot go on is the compensation, never the step.
        let begins = matches!(event, Event::Begin | Event::Block | Event::Delegate);
        if begins && self.direction == Direction::Backward {
            return Err(self.wrong_direction("a step"));
        }
        self.steps[index].phase = to;
        Ok(index)
    }

    fn expect(&self, step: &StepName) -> Result<usize, IllegalRecord> {
        self.find(step).ok_or_else(|| IllegalRecord::NoSuchStep { step: step.clone() })
    }

    fn wrong_direction(&self, what: &'static str) -> IllegalRecord {
        IllegalRecord::WrongDirection { what, direction: self.direction }
    }
}
