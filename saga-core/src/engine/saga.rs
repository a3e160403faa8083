//! A saga in memory: its state, the turn that is being made, and what its history says.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::attempt::panic_message;
use super::dependency::{Dependencies, Permit};
use super::error::HistoryError;
use crate::checkpoint::Payload;
use crate::definition::{Blueprint, Evaluated, Outputs, Prepared};
use crate::id::{Op, SagaId, StepName};
use crate::journal::{After, End, History, LetterChange, Standing, Turn};
use crate::limits::Limits;
use crate::machine::{
    Attempt, AttentionReason, Direction, Held, IllegalRecord, Moment, Next, ProbeAnswer, Record, Report, SagaState,
    decode_turn, encode_turn,
};
use crate::time::Timestamp;

/// What a saga waits for, once all that follows from its state has been applied.
#[derive(Debug)]
pub(crate) enum Rest {
    Ended(End),
    Wait { attempts: Vec<Attempt>, wake_at: Option<Timestamp> },
}

/// What a saga is told when it is asked what comes next.
#[derive(Clone, Copy)]
pub(crate) struct At<'a> {
    pub(crate) now: Timestamp,
    /// False when the worker is stopping, or only looks: no operation begins.
    pub(crate) begin: bool,
    pub(crate) limits: &'a Limits,
    pub(crate) dependencies: &'a Dependencies,
}

pub(crate) struct Saga {
    pub(crate) id: SagaId,
    pub(crate) blueprint: Arc<Blueprint>,
    state: SagaState,
    /// Applied, and not yet durable.
    turn: Vec<Record>,
    /// The messages that the turn takes in.
    read: Vec<String>,
    /// What waited for a human when the last turn became durable.
    blocked: Vec<(usize, Op)>,
    /// Decoded inputs of intents that have not been launched.
    prepared: HashMap<usize, (Prepared, Option<Permit>)>,
}

impl Saga {
    /// A saga that is about to be started.
    pub(crate) fn new(id: SagaId, blueprint: Arc<Blueprint>, input: Payload, now: Timestamp) -> Self {
        let state = SagaState::new(&blueprint.plan, input.clone(), now);
        Self { turn: vec![Record::Started { input }], ..Self::with_state(id, blueprint, state) }
    }

    /// A saga from its history.
    pub(crate) fn replay(blueprint: Arc<Blueprint>, history: &History) -> Result<Self, HistoryError> {
        let read = |(seq, stored): (usize, &crate::journal::Stored)| {
            decode_turn(&stored.body).map_err(|source| HistoryError::Turn { seq, source })
        };
        let turns = history.turns.iter().enumerate().map(read).collect::<Result<Vec<_>, _>>()?;
        let state = SagaState::replay(&blueprint.plan, &turns, history.header.created_at)?;
        Ok(Self::with_state(history.header.id, blueprint, state))
    }

    fn with_state(id: SagaId, blueprint: Arc<Blueprint>, state: SagaState) -> Self {
        let blocked = blocked(&state);
        Self { id, blueprint, state, turn: Vec::new(), read: Vec::new(), blocked, prepared: HashMap::new() }
    }

    pub(crate) fn state(&self) -> &SagaState {
        &self.state
    }

    pub(crate) fn into_state(self) -> SagaState {
        self.state
    }

    /// Whether something has been applied that is not durable yet.
    pub(crate) fn has_news(&self) -> bool {
        !self.turn.is_empty()
    }

    pub(crate) fn apply(&mut self, record: Record) -> Result<(), IllegalRecord> {
        self.state.apply(&self.blueprint.plan, &record)?;
        self.turn.push(record);
        Ok(())
    }

    /// Takes in how an attempt ended.
    pub(crate) fn report(&mut self, attempt: Attempt, report: Report, moment: Moment<'_>) -> Result<(), IllegalRecord> {
        let record = self.state.report(&self.blueprint.plan, attempt, report, moment);
        self.apply(record)
    }

    /// Takes in a message.
    pub(crate) fn receive(&mut self, id: String, body: &str) -> Result<(), IllegalRecord> {
        let record = match serde_json::from_str(body) {
            Ok(mail) => self.state.receive(mail),
            Err(error) => Record::Unread { id: id.clone(), error: error.to_string() },
        };
        self.apply(record)?;
        self.read.push(id);
        Ok(())
    }

    /// Takes in that a worker went away while attempts were under way.
    pub(crate) fn interrupt(&mut self, crashed: bool, moment: Moment<'_>) -> Result<(), IllegalRecord> {
        let records = self.state.interrupt(&self.blueprint.plan, crashed, moment);
        records.into_iter().try_for_each(|record| self.apply(record))
    }

    /// Applies everything that follows from the state, intents included. With `begin` false no
    /// operation begins: the worker is stopping.
    pub(crate) fn settle(&mut self, at: At<'_>) -> Result<Rest, IllegalRecord> {
        let At { now, begin, limits, dependencies } = at;
        let mut held = Held::default();
        loop {
            match self.state.next_holding(&self.blueprint.plan, now, &held) {
                Next::Append(record) => self.apply(record)?,
                Next::Begin { step, op } if begin => {
                    let dependency = self.state.planned(&self.blueprint.plan, step).dependency.as_ref();
                    match dependency.map(|dependency| dependencies.admit(dependency, op, now)).transpose() {
                        Ok(permit) => self.begin(step, op, now, permit)?,
                        // It waits outside: no attempt is counted, and nothing is written.
                        Err(until) => held.hold(step, until),
                    }
                }
                Next::Evaluate { step } => self.evaluate(step, now, limits)?,
                Next::Begin { .. } => {
                    // What is in flight goes on; what could begin is left for the next owner, at once.
                    return Ok(Rest::Wait { attempts: Vec::new(), wake_at: Some(now) });
                }
                Next::Wait { attempts, wake_at } => return Ok(Rest::Wait { attempts, wake_at }),
                Next::Ended if self.state.direction() == Direction::Completed => {
                    return Ok(Rest::Ended(End::Completed));
                }
                Next::Ended => return Ok(Rest::Ended(End::RolledBack)),
            }
        }
    }

    /// Works out a decision, or a time to wait for; or calls a human when that cannot be done.
    fn evaluate(&mut self, step: usize, now: Timestamp, limits: &Limits) -> Result<(), IllegalRecord> {
        let name = self.state.steps()[step].name().clone();
        let evaluate = || self.blueprint.steps[self.state.origin(step)].evaluate(&Outputs::of(&self.state), now);
        let (op, reason) = (Op::Run, AttentionReason::Undecodable);
        match catch_unwind(AssertUnwindSafe(evaluate)) {
            Ok(Ok(Evaluated::Done(output))) => self.apply(Record::Done { step: name, output }),
            Ok(Ok(Evaluated::Until(until))) => self.apply(Record::Sleeping { step: name, until }),
            Ok(Ok(Evaluated::Items(items))) if items > limits.items_max => {
                let error = format!("the list has {items} items, and items_max is {}", limits.items_max);
                self.call_human(name, op, AttentionReason::Failed, error)
            }
            Ok(Ok(Evaluated::Items(items))) => {
                self.apply(Record::FannedOut { step: name, items: u32::try_from(items).unwrap_or(u32::MAX) })
            }
            Ok(Err(error)) => self.call_human(name, op, reason, describe(&error)),
            Err(panic) => {
                let error = format!("working it out panicked: {}", panic_message(&*panic));
                self.call_human(name, op, reason, error)
            }
        }
    }

    /// Writes the intent of an operation, or calls a human when its input cannot be had.
    fn begin(&mut self, step: usize, op: Op, now: Timestamp, permit: Option<Permit>) -> Result<(), IllegalRecord> {
        let known = &self.state.steps()[step];
        let name = known.name().clone();
        // A user's `map`, or a `Deserialize`, may panic: that is this saga's trouble, and no other's.
        let prepare = || self.blueprint.steps[self.state.origin(step)].prepare(op, step, &Outputs::of(&self.state));
        let prepared = match catch_unwind(AssertUnwindSafe(prepare)) {
            Ok(prepared) => prepared,
            Err(panic) => {
                let error = format!("computing the input panicked: {}", panic_message(&*panic));
                return self.call_human(name, op, AttentionReason::Undecodable, error);
            }
        };
        match prepared {
            Ok(prepared) if known.input().is_none_or(|input| input == prepared.input) => {
                let intent = self.state.intent(&self.blueprint.plan, step, op, prepared.input, now);
                self.apply(intent)?;
                self.prepared.insert(step, (prepared, permit));
                Ok(())
            }
            Ok(_) => self.call_human(
                name,
                op,
                AttentionReason::InputChanged,
                "the step's input is no longer what it was when the step first began".to_owned(),
            ),
            Err(error) => self.call_human(name, op, AttentionReason::Undecodable, describe(&error)),
        }
    }

    fn call_human(
        &mut self,
        step: StepName,
        op: Op,
        reason: AttentionReason,
        error: String,
    ) -> Result<(), IllegalRecord> {
        let op = match op {
            // On the way back, a step that cannot be asked about is a compensation that cannot go on.
            Op::Probe if matches!(self.state.direction(), Direction::Backward | Direction::RolledBack) => {
                Op::Compensate
            }
            Op::Probe | Op::Run => Op::Run,
            Op::Compensate => Op::Compensate,
        };
        self.apply(Record::NeedsAttention { step: Some(step), op, reason, error })
    }

    /// How the saga stands while it is parked.
    pub(crate) fn standing(&self) -> Standing {
        match self.state.direction() {
            _ if self.state.needs_attention() => Standing::NeedsAttention,
            Direction::RolledBack => Standing::Watching,
            Direction::Forward | Direction::Committed | Direction::Backward | Direction::Completed => Standing::Waiting,
        }
    }

    /// How the saga ends with the turn that is being made, for those who wait for it.
    pub(crate) fn ending(&self) -> Option<End> {
        self.turn.iter().find_map(|record| match record {
            Record::Completed => Some(End::Completed),
            Record::RolledBack => Some(End::RolledBack),
            _ => None,
        })
    }

    /// How many effects came late, by the turn that is being made.
    pub(crate) fn late_effects(&self) -> u64 {
        let late = |record: &&Record| matches!(record, Record::Watched { answer: ProbeAnswer::Applied(_), .. });
        self.turn.iter().filter(late).count() as u64
    }

    /// The decoded input of an intent, once.
    pub(crate) fn take_prepared(&mut self, attempt: Attempt) -> Option<(Prepared, Option<Permit>)> {
        self.prepared.remove(&attempt.step)
    }

    /// The first turn's text, for the start.
    pub(crate) fn first_turn(&self) -> Result<String, serde_json::Error> {
        encode_turn(&self.turn)
    }

    /// Whether the turn holds nothing but the start and intents: what a start can carry.
    pub(crate) fn starts_plainly(&self) -> bool {
        self.turn.iter().all(|record| matches!(record, Record::Started { .. } | Record::Begun { .. }))
    }

    /// The turn to append: everything applied since the last one.
    pub(crate) fn turn(&self, after: After, nonce: i64) -> Result<Turn, serde_json::Error> {
        Ok(Turn {
            saga: self.id,
            seq: self.state.turns(),
            nonce,
            body: encode_turn(&self.turn)?,
            after,
            letters: self.letters(),
            read: self.read.clone(),
        })
    }

    /// Takes note that the turn is durable.
    pub(crate) fn turn_written(&mut self) {
        self.turn.clear();
        self.read.clear();
        self.state.turn_written();
        self.blocked = blocked(&self.state);
    }

    /// The dead letters that the turn opens and closes.
    fn letters(&self) -> Vec<LetterChange> {
        let mut changes = Vec::new();
        for record in &self.turn {
            match record {
                Record::NeedsAttention { step, op, reason, error } => {
                    let tally = step
                        .as_ref()
                        .and_then(|step| self.state.find(step))
                        .map(|index| self.state.steps()[index].tally(*op));
                    changes.push(LetterChange::Open {
                        step: step.clone(),
                        op: *op,
                        reason: *reason,
                        error: error.clone(),
                        attempts: tally.unwrap_or_default().attempts,
                    });
                }
                Record::Resolved { step, op, resolution, actor, reason } => changes.push(LetterChange::Close {
                    step: step.clone(),
                    op: *op,
                    resolution: resolution.as_str().to_owned(),
                    actor: actor.clone(),
                    reason: reason.clone(),
                }),
                // What waited for a human has been overtaken: the saga turned back past it.
                Record::TurnedBack { step } => {
                    changes.extend(self.blocked.iter().filter(|(_, op)| *op == Op::Run).map(|(index, op)| {
                        LetterChange::Close {
                            step: Some(self.state.steps()[*index].name().clone()),
                            op: *op,
                            resolution: "superseded".to_owned(),
                            actor: "engine".to_owned(),
                            reason: match step {
                                Some(step) => format!("the saga turned back at {step}"),
                                None => "the saga turned back".to_owned(),
                            },
                        }
                    }));
                }
                Record::Started { .. }
                | Record::Begun { .. }
                | Record::Done { .. }
                | Record::Failed { .. }
                | Record::Interrupted { .. }
                | Record::Probed { .. }
                | Record::Sleeping { .. }
                | Record::FannedOut { .. }
                | Record::SoftFailed { .. }
                | Record::Halted { .. }
                | Record::CancelRefused { .. }
                | Record::Signalled { .. }
                | Record::Unread { .. }
                | Record::Watched { .. }
                | Record::Compensated { .. }
                | Record::Completed
                | Record::RolledBack => {}
            }
        }
        changes
    }
}

impl std::fmt::Debug for Saga {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Saga").field("id", &self.id).field("direction", &self.state.direction()).finish()
    }
}

fn blocked(state: &SagaState) -> Vec<(usize, Op)> {
    state.steps().iter().enumerate().filter_map(|(index, step)| Some((index, step.blocked()?))).collect()
}

/// An error and its causes in one line.
pub(crate) fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// The turn that sets a saga aside whose history this binary cannot read.
pub(crate) fn set_aside(id: SagaId, seq: u32, nonce: i64, error: String) -> Result<Turn, serde_json::Error> {
    let (op, reason) = (Op::Run, AttentionReason::Unreadable);
    let record = Record::NeedsAttention { step: None, op, reason, error: error.clone() };
    Ok(Turn {
        saga: id,
        seq,
        nonce,
        body: encode_turn(&[record])?,
        after: After::Park { wake_at: None, standing: Standing::NeedsAttention },
        letters: vec![LetterChange::Open { step: None, op, reason, error, attempts: 0 }],
        read: Vec::new(),
    })
}

/// The moment of a decision: the journal's time and a fresh draw.
pub(crate) fn moment(now: Timestamp, limits: &Limits) -> Moment<'_> {
    Moment { now, chance: fastrand::f64(), limits }
}
