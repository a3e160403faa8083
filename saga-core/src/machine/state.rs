//! The state of a saga, and `apply`: the only code that changes it, live or replayed.

use super::phase::{Event, Phase, next_phase};
use super::record::{AttentionReason, ProbeAnswer, Record, Resolution};
use crate::checkpoint::{Digest, Payload};
use crate::definition::{Kind, Plan};
use crate::fault::{Effect, Fault};
use crate::id::{Op, StepName};
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

/// What is known of one step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepState {
    name: StepName,
    phase: Phase,
    output: Option<Payload>,
    /// The fingerprint of the input at the first intent.
    input: Option<Digest>,
    /// Some attempt to run may have had its effect, and nothing has settled the question since.
    maybe_applied: bool,
    /// The participant has been asked since the last attempt.
    probed: bool,
    run: Tally,
    probe: Tally,
    undo: Tally,
    due: Option<Timestamp>,
    fault: Option<Fault>,
}

/// The attempts of one operation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// All attempts that have begun.
    pub attempts: u32,
    /// Attempts since an operator last granted a fresh budget.
    pub since_granted: u32,
    /// How often the worker crashed during one, since an operator last granted a fresh budget.
    pub crashes: u32,
}

impl StepState {
    fn new(name: StepName) -> Self {
        Self {
            name,
            phase: Phase::Pending,
            output: None,
            input: None,
            maybe_applied: false,
            probed: false,
            run: Tally::default(),
            probe: Tally::default(),
            undo: Tally::default(),
            due: None,
            fault: None,
        }
    }

    /// The step's name.
    #[must_use]
    pub fn name(&self) -> &StepName {
        &self.name
    }

    /// Where it stands.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// What it left, once it is done.
    #[must_use]
    pub fn output(&self) -> Option<&Payload> {
        self.output.as_ref()
    }

    /// The fingerprint of its input, once it has begun.
    #[must_use]
    pub fn input(&self) -> Option<Digest> {
        self.input
    }

    /// Whether some attempt may have had an effect that nothing has settled since.
    #[must_use]
    pub fn maybe_applied(&self) -> bool {
        self.maybe_applied
    }

    /// Whether the participant has been asked since the last attempt.
    #[must_use]
    pub fn probed(&self) -> bool {
        self.probed
    }

    /// The attempts of one of its operations.
    #[must_use]
    pub fn tally(&self, op: Op) -> Tally {
        match op {
            Op::Run => self.run,
            Op::Probe => self.probe,
            Op::Compensate => self.undo,
        }
    }

    /// When its next attempt is due, while it waits for one.
    #[must_use]
    pub fn due(&self) -> Option<Timestamp> {
        self.due
    }

    /// How it last failed.
    #[must_use]
    pub fn fault(&self) -> Option<&Fault> {
        self.fault.as_ref()
    }

    /// Why the saga went on without it, for a best-effort step that failed.
    #[must_use]
    pub fn soft_failure(&self) -> Option<&str> {
        self.fault.as_ref().filter(|_| self.phase == Phase::SoftFailed).map(|fault| fault.message.as_str())
    }

    /// The operation whose attempt is under way, if one is.
    #[must_use]
    pub fn in_flight(&self) -> Option<Op> {
        match self.phase {
            Phase::Running => Some(Op::Run),
            Phase::Probing => Some(Op::Probe),
            Phase::Undoing => Some(Op::Compensate),
            Phase::Pending
            | Phase::Waiting
            | Phase::Blocked
            | Phase::Done
            | Phase::SoftFailed
            | Phase::Skipped
            | Phase::NotApplied
            | Phase::Unknown
            | Phase::ProbeWaiting
            | Phase::UndoWaiting
            | Phase::UndoFailed
            | Phase::UndoBlocked
            | Phase::Undone => None,
        }
    }

    /// The operation that waits for a human, if one does.
    #[must_use]
    pub fn blocked(&self) -> Option<Op> {
        match self.phase {
            Phase::Blocked => Some(Op::Run),
            Phase::UndoBlocked => Some(Op::Compensate),
            Phase::Pending
            | Phase::Running
            | Phase::Waiting
            | Phase::Done
            | Phase::SoftFailed
            | Phase::Skipped
            | Phase::NotApplied
            | Phase::Unknown
            | Phase::Probing
            | Phase::ProbeWaiting
            | Phase::Undoing
            | Phase::UndoWaiting
            | Phase::UndoFailed
            | Phase::Undone => None,
        }
    }

    fn tally_mut(&mut self, op: Op) -> &mut Tally {
        match op {
            Op::Run => &mut self.run,
            Op::Probe => &mut self.probe,
            Op::Compensate => &mut self.undo,
        }
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
    /// A history must begin with its start, once.
    #[error("the history does not begin with its start")]
    NotStarted,
}

/// All that is known of a saga: the fold of its journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SagaState {
    input: Payload,
    direction: Direction,
    steps: Vec<StepState>,
    /// The step that turned the saga back.
    cause: Option<usize>,
    turns: u32,
    /// The saga as a whole waits for a human.
    unreadable: bool,
}

impl SagaState {
    /// The state of a new saga with this input, before its first step.
    #[must_use]
    pub fn new(plan: &Plan, input: Payload) -> Self {
        Self {
            input,
            direction: Direction::Forward,
            steps: plan.steps().iter().map(|step| StepState::new(step.name.clone())).collect(),
            cause: None,
            turns: 0,
            unreadable: false,
        }
    }

    /// Folds a whole history: recovery.
    ///
    /// # Errors
    /// When the history is not one that this machine could have written under this plan.
    pub fn replay(plan: &Plan, turns: &[Vec<Record>]) -> Result<Self, IllegalRecord> {
        let Some(Record::Started { input }) = turns.first().and_then(|turn| turn.first()) else {
            return Err(IllegalRecord::NotStarted);
        };
        let mut state = Self::new(plan, input.clone());
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
        if self.direction.is_end() {
            return Err(self.wrong_direction("a record after the end"));
        }
        match record {
            Record::Started { .. } => Err(self.wrong_direction("a second start")),
            Record::Begun { step, op, attempt: _, input } => self.begin(plan, step, *op, *input),
            Record::Done { step, output } => self.succeed(plan, step, output),
            Record::Failed { step, op, fault, retry_at } => {
                self.fail(plan, step, *op, fault.clone(), *retry_at).map(drop)
            }
            Record::Interrupted { step, op, crashed, retry_at } => {
                let index = self.fail(plan, step, *op, Fault::interrupted(), *retry_at)?;
                self.steps[index].tally_mut(*op).crashes += u32::from(*crashed);
                Ok(())
            }
            Record::Probed { step, answer } => self.probed(plan, step, answer),
            Record::SoftFailed { step } => self.shift(plan, step, Event::SoftFail).map(drop),
            Record::TurnedBack { step } => self.turn_back(plan, step),
            Record::Compensated { step } => self.shift(plan, step, Event::Undo).map(drop),
            Record::NeedsAttention { step: None, .. } => {
                self.unreadable = true;
                Ok(())
            }
            Record::NeedsAttention { step: Some(step), op, reason, error } => {
                self.block(plan, step, *op, *reason, error)
            }
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

    fn begin(&mut self, plan: &Plan, step: &StepName, op: Op, input: Digest) -> Result<(), IllegalRecord> {
        let event = match op {
            Op::Run => Event::Begin,
            Op::Probe => Event::BeginProbe,
            Op::Compensate => Event::BeginUndo,
        };
        let index = self.shift(plan, step, event)?;
        let state = &mut self.steps[index];
        state.input.get_or_insert(input);
        state.due = None;
        let tally = state.tally_mut(op);
        tally.attempts += 1;
        tally.since_granted += 1;
        if op == Op::Run {
            state.probed = false;
        }
        // Without a pivot, the first retryable step is the point of no return.
        if op == Op::Run && plan.steps()[index].kind == Kind::Retryable && self.direction == Direction::Forward {
            self.direction = Direction::Committed;
        }
        Ok(())
    }

    fn succeed(&mut self, plan: &Plan, step: &StepName, output: &Payload) -> Result<(), IllegalRecord> {
        let index = self.shift(plan, step, Event::Succeed)?;
        self.steps[index].output = Some(output.clone());
        self.steps[index].maybe_applied = false;
        self.pass_pivot(plan, index);
        Ok(())
    }

    fn pass_pivot(&mut self, plan: &Plan, index: usize) {
        if plan.steps()[index].kind == Kind::Pivot && self.direction == Direction::Forward {
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
        let index = self.find(plan, step)?;
        let has_effect = plan.steps()[index].kind != Kind::Query;
        let maybe_applied = match op {
            Op::Run => has_effect && (self.steps[index].maybe_applied || fault.effect == Effect::Unknown),
            Op::Probe | Op::Compensate => self.steps[index].maybe_applied,
        };
        let event = match (op, retry_at) {
            (Op::Run, Some(_)) => Event::Retry,
            (Op::Run, None) if maybe_applied => Event::GiveUpUnknown,
            (Op::Run, None) => Event::GiveUpNotApplied,
            (Op::Probe, Some(_)) => Event::RetryProbe,
            (Op::Probe, None) => Event::ProbeUnknown,
            (Op::Compensate, Some(_)) => Event::RetryUndo,
            (Op::Compensate, None) => Event::GiveUpUndo,
        };
        self.shift(plan, step, event)?;
        let state = &mut self.steps[index];
        state.maybe_applied = maybe_applied;
        state.probed = op == Op::Probe && retry_at.is_none();
        state.due = retry_at;
        // A failing probe must not hide why the step itself failed.
        if op != Op::Probe || state.fault.is_none() {
            state.fault = Some(fault);
        }
        Ok(index)
    }

    fn probed(&mut self, plan: &Plan, step: &StepName, answer: &ProbeAnswer) -> Result<(), IllegalRecord> {
        let event = match answer {
            ProbeAnswer::Applied(_) => Event::Succeed,
            ProbeAnswer::NotApplied => Event::Disprove,
            ProbeAnswer::Unknown => Event::ProbeUnknown,
        };
        let index = self.shift(plan, step, event)?;
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

    fn turn_back(&mut self, plan: &Plan, step: &StepName) -> Result<(), IllegalRecord> {
        let cause = self.find(plan, step)?;
        if self.direction != Direction::Forward {
            return Err(self.wrong_direction("turned back"));
        }
        self.direction = Direction::Backward;
        self.cause = Some(cause);
        // What waits for another attempt, or for a human, has none any more.
        for state in &mut self.steps {
            if matches!(state.phase, Phase::Waiting | Phase::Blocked) {
                state.phase = if state.maybe_applied { Phase::Unknown } else { Phase::NotApplied };
                state.due = None;
            }
        }
        Ok(())
    }

    fn block(
        &mut self,
        plan: &Plan,
        step: &StepName,
        op: Op,
        reason: AttentionReason,
        error: &str,
    ) -> Result<(), IllegalRecord> {
        let event = match op {
            Op::Run | Op::Probe => Event::Block,
            Op::Compensate => Event::BlockUndo,
        };
        let index = self.shift(plan, step, event)?;
        let state = &mut self.steps[index];
        state.due = None;
        match reason {
            // The fault of the last attempt says it already.
            AttentionReason::Failed | AttentionReason::UnknownOutcome | AttentionReason::Poison => {}
            AttentionReason::Undecodable | AttentionReason::InputChanged | AttentionReason::Unreadable => {
                state.fault = Some(Fault::unknown(error.to_owned()));
            }
        }
        Ok(())
    }

    fn resolve(&mut self, plan: &Plan, step: &StepName, op: Op, resolution: &Resolution) -> Result<(), IllegalRecord> {
        let undoing = op == Op::Compensate;
        let event = match resolution {
            Resolution::Retry if undoing => Event::RetryUndo,
            Resolution::Retry => Event::Retry,
            Resolution::Probe => Event::Doubt,
            Resolution::Skip if undoing => Event::Undo,
            Resolution::Skip => Event::Skip,
            Resolution::Supply(_) => Event::Succeed,
            Resolution::NotApplied if undoing => Event::Undo,
            Resolution::NotApplied => Event::Disprove,
        };
        let index = self.shift(plan, step, event)?;
        let state = &mut self.steps[index];
        match resolution {
            Resolution::Retry => {
                // Due at once, with a fresh budget; the total goes on.
                state.due = Some(Timestamp::from_micros(0));
                let tally = state.tally_mut(op);
                (tally.since_granted, tally.crashes) = (0, 0);
                // The operator accepts the input as it is now.
                state.input = None;
            }
            Resolution::Probe => {
                state.probed = false;
                (state.probe.since_granted, state.probe.crashes) = (0, 0);
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
    fn shift(&mut self, plan: &Plan, step: &StepName, event: Event) -> Result<usize, IllegalRecord> {
        let index = self.find(plan, step)?;
        let from = self.steps[index].phase;
        let to =
            next_phase(from, event).ok_or_else(|| IllegalRecord::NoSuchMove { step: step.clone(), from, event })?;
        let undoes = matches!(event, Event::BeginUndo | Event::BlockUndo);
        if undoes && self.direction != Direction::Backward {
            return Err(self.wrong_direction("a compensation"));
        }
        // On the way back, what cannot go on is the compensation, never the step.
        if matches!(event, Event::Begin | Event::Block) && self.direction == Direction::Backward {
            return Err(self.wrong_direction("a step"));
        }
        self.steps[index].phase = to;
        Ok(index)
    }

    fn find(&self, plan: &Plan, step: &StepName) -> Result<usize, IllegalRecord> {
        plan.find(step).ok_or_else(|| IllegalRecord::NoSuchStep { step: step.clone() })
    }

    fn wrong_direction(&self, what: &'static str) -> IllegalRecord {
        IllegalRecord::WrongDirection { what, direction: self.direction }
    }
}
