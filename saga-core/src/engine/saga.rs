//! A saga in memory: its state, the turn that is being made, and what its history says.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::dependency::{Dependencies, Permit};
use super::error::HistoryError;
use super::late;
use super::turn::TurnError;
use crate::checkpoint::Payload;
use crate::codec::{self, OpenedMail, decode_turn, encode_turn, open_mail};
use crate::definition::{Blueprint, Evaluated, Event, LateSignal, Outputs, Prepared};
use crate::id::{IdempotencyKey, Op, SagaId, StepName};
use crate::journal::{After, End, History, LetterChange, NewEvent, NewSaga, Standing, Turn};
use crate::limits::Limits;
use crate::machine::{
    Attempt, AttentionReason, Direction, Held, IllegalRecord, Moment, Next, Parent, ProbeAnswer, Record, Report,
    SagaState,
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
    /// Its start key.
    key: Arc<str>,
    pub(crate) blueprint: Arc<Blueprint>,
    state: SagaState,
    /// Applied, and not yet sent to the journal.
    turn: Vec<Record>,
    /// A turn is on its way to the journal, and its records are not needed any more.
    sent: bool,
    /// What the turn publishes.
    events: Vec<NewEvent>,
    /// What the turn starts.
    starts: Vec<NewSaga>,
    /// The messages that the turn takes in.
    read: Vec<String>,
    /// The steps that waited for a human when the turn turned the saga back.
    overtaken: Vec<StepName>,
    /// Decoded inputs of intents that have not been launched.
    prepared: Vec<(usize, Prepared, Option<Permit>)>,
}

impl Saga {
    /// A saga that is about to be started.
    pub(crate) fn new(id: SagaId, key: &str, blueprint: Arc<Blueprint>, input: Payload, now: Timestamp) -> Self {
        let state = SagaState::new(&blueprint.plan, input.clone(), now);
        let started = Record::Started { input, parent: None };
        Self { turn: vec![started], ..Self::with_state(id, key, blueprint, state) }
    }

    /// A saga from its history.
    pub(crate) fn replay(blueprint: Arc<Blueprint>, history: &History) -> Result<Self, HistoryError> {
        let read = |(seq, stored): (usize, &crate::journal::Stored)| {
            decode_turn(&blueprint, &history.header, &stored.body).map_err(|error| HistoryError::of_turn(seq, error))
        };
        let turns = history.turns.iter().enumerate().map(read).collect::<Result<Vec<_>, _>>()?;
        let state = SagaState::replay(&blueprint.plan, &turns, history.header.created_at)?;
        Ok(Self::with_state(history.header.id, &history.header.key, blueprint, state))
    }

    /// The start key, for the log; nothing of a definition that keeps its payloads secret, whose keys may well
    /// be secret too.
    pub(crate) fn told_key(&self) -> Option<&str> {
        (!self.blueprint.is_secret()).then_some(&*self.key)
    }

    fn with_state(id: SagaId, key: &str, blueprint: Arc<Blueprint>, state: SagaState) -> Self {
        Self {
            id,
            key: key.into(),
            blueprint,
            state,
            turn: Vec::new(),
            sent: false,
            overtaken: Vec::new(),
            events: Vec::new(),
            starts: Vec::new(),
            read: Vec::new(),
            prepared: Vec::new(),
        }
    }

    /// Its start key.
    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    pub(crate) fn state(&self) -> &SagaState {
        &self.state
    }

    pub(crate) fn into_state(self) -> SagaState {
        self.state
    }

    /// Whether something has been applied that is not durable yet.
    pub(crate) fn has_news(&self) -> bool {
        self.sent || !self.turn.is_empty()
    }

    pub(crate) fn apply(&mut self, record: Record) -> Result<(), IllegalRecord> {
        let overtakes = matches!(record, Record::TurnedBack { .. });
        let overtaken = if overtakes { waiting_for_a_human(&self.state) } else { Vec::new() };
        self.state.apply(&self.blueprint.plan, &record)?;
        if overtakes {
            self.overtaken = overtaken;
        }
        if self.turn.capacity() == 0 {
            // What was done and the next intent: a vector's own first room is twice that.
            self.turn.reserve_exact(2);
        }
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
        match open_mail(&self.blueprint, &self.key, body) {
            Ok(OpenedMail::Open(mail)) => self.apply(self.state.receive(&id, mail))?,
            // Taken in as it is, so that it is not lost, and a human is called: nothing goes on before it can
            // be opened.
            Ok(OpenedMail::Sealed(mail, problem)) => {
                self.apply(self.state.receive(&id, mail))?;
                let (op, reason) = (Op::Run, AttentionReason::Unreadable);
                let error = format!("the message {id} does not open: {}", describe(&problem));
                self.apply(Record::NeedsAttention { step: None, op, reason, error })?;
            }
            Err(error) => self.apply(Record::Unread { id: id.clone(), error: error.to_string() })?,
        }
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
    pub(crate) fn settle(&mut self, at: At<'_>) -> Result<Rest, SettleError> {
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
                Next::FollowUp => self.follow_up()?,
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
            Ok(Ok(evaluated)) if let Err(error) = check(&evaluated, limits) => {
                self.call_human(name, op, AttentionReason::Failed, error)
            }
            Ok(Ok(Evaluated::Publishes(event))) => {
                let id = IdempotencyKey::of(self.id, &name, op, 0).to_string();
                let Event { topic, headers, payload } = event;
                let payload = match codec::seal_event(&self.blueprint, &id, &payload) {
                    Ok(payload) => payload,
                    Err(error) => return self.call_human(name, op, AttentionReason::Failed, describe(&error)),
                };
                self.apply(Record::Done { step: name, output: Payload::null() })?;
                self.events.push(NewEvent { id, topic, headers, payload: payload.as_json().to_owned() });
                Ok(())
            }
            Ok(Ok(Evaluated::Locks { keys, .. })) if keys.is_empty() => {
                self.apply(Record::Done { step: name, output: Payload::empty_object() })
            }
            Ok(Ok(Evaluated::Locks { keys, at_most })) => {
                self.apply(Record::Locking { step: name, keys, until: now.after(at_most) })
            }
            Ok(Ok(Evaluated::Delegates(input))) => self.delegate(step, name, input),
            Ok(Ok(Evaluated::Items(items))) => {
                self.apply(Record::FannedOut { step: name, items: u32::try_from(items).unwrap_or(u32::MAX) })
            }
            Ok(Err(error)) => self.call_human(name, op, reason, describe(&self.blueprint.withhold(error))),
            Err(panic) => {
                let error = format!("working it out panicked: {}", self.blueprint.panic_text(&*panic));
                self.call_human(name, op, reason, error)
            }
        }
    }

    /// Starts the child saga of a step, with the turn that is being made.
    fn delegate(&mut self, step: usize, name: StepName, input: Payload) -> Result<(), IllegalRecord> {
        let Some(child) = &self.state.planned(&self.blueprint.plan, step).child else {
            return Err(IllegalRecord::NoSuchStep { step: name });
        };
        let is_child = |related: &&Arc<Blueprint>| related.name == child.0 && related.version == child.1;
        let Some(of_child) = self.blueprint.related.iter().find(is_child) else {
            return Err(IllegalRecord::NoSuchStep { step: name });
        };
        let parent =
            Parent { definition: self.blueprint.name.to_string(), key: self.key.to_string(), step: name.clone() };
        let id = self.id.derived(name.as_str());
        let started = NewSaga {
            id,
            definition: child.0.to_string(),
            version: child.1,
            key: self.child_key(&name),
            input: of_child.digest(input.digest()),
            body: String::new(),
            nonce: fastrand::i64(..),
        };
        let body = encode_turn(of_child, id, &[Record::Started { input, parent: Some(parent) }]);
        match body {
            Ok(body) => self.starts.push(NewSaga { body, ..started }),
            Err(error) => {
                return self.call_human(name, Op::Run, AttentionReason::Undecodable, describe(&error));
            }
        }
        self.apply(Record::Delegated { step: name, child: id })
    }

    pub(super) fn child_key(&self, step: &StepName) -> String {
        format!("{}/{step}", self.id)
    }

    /// Starts the sagas that see to what was signalled and no step has taken.
    fn follow_up(&mut self) -> Result<(), SettleError> {
        for signal in self.state.untaken_signals().to_vec() {
            let late = LateSignal {
                definition: self.blueprint.name.to_string(),
                key: self.key.to_string(),
                saga: self.id,
                signal: signal.name,
                payload: signal.payload,
                message_id: signal.id.clone(),
            };
            let new = late::new_saga(&self.blueprint, late)?;
            self.apply(Record::FollowedUp { id: signal.id, by: new.id })?;
            self.starts.push(new);
        }
        Ok(())
    }

    /// Writes the intent of an operation, or calls a human when its input cannot be had.
    fn begin(&mut self, step: usize, op: Op, now: Timestamp, permit: Option<Permit>) -> Result<(), IllegalRecord> {
        let known = &self.state.steps()[step];
        let name = known.name().clone();
        // A user's `map`, or a `Deserialize`, may panic: that is this saga's trouble, and no other's.
        // So may a codec's fingerprint. None when the input is no longer what it was when the step first began.
        let prepare = || {
            let prepared =
                self.blueprint.steps[self.state.origin(step)].prepare(op, step, &Outputs::of(&self.state))?;
            let input = match known.input() {
                Some(input) => self.blueprint.is_digest(input, prepared.input).then_some(input),
                None => Some(self.blueprint.digest(prepared.input)),
            };
            Ok((prepared, input))
        };
        let prepared = match catch_unwind(AssertUnwindSafe(prepare)) {
            Ok(prepared) => prepared,
            Err(panic) => {
                let error = format!("computing the input panicked: {}", self.blueprint.panic_text(&*panic));
                return self.call_human(name, op, AttentionReason::Undecodable, error);
            }
        };
        match prepared {
            Ok((prepared, Some(input))) => {
                let intent = self.state.intent(&self.blueprint.plan, step, op, input, now);
                self.apply(intent)?;
                // Mostly one: a vector's own first room is for four.
                self.prepared.reserve_exact(1);
                self.prepared.push((step, prepared, permit));
                Ok(())
            }
            Ok((_, None)) => self.call_human(
                name,
                op,
                AttentionReason::InputChanged,
                "the step's input is no longer what it was when the step first began".to_owned(),
            ),
            Err(error) => {
                let error = describe(&self.blueprint.withhold(error));
                self.call_human(name, op, AttentionReason::Undecodable, error)
            }
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

    /// What was applied and is not durable yet.
    pub(super) fn records(&self) -> &[Record] {
        &self.turn
    }

    /// The steps that waited for a human when the turn turned the saga back.
    pub(super) fn overtaken(&self) -> &[StepName] {
        &self.overtaken
    }

    /// How the saga stands while it is parked.
    pub(crate) fn standing(&self) -> Standing {
        match self.state.direction() {
            _ if self.state.is_set_aside() => Standing::SetAside,
            _ if self.state.needs_attention() => Standing::NeedsAttention,
            Direction::RolledBack => Standing::Watching,
            _ if self.state.is_retained() => Standing::Retained,
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

    /// How many signals came too late, by the turn that is being made.
    pub(crate) fn late_signals(&self) -> u64 {
        self.turn.iter().filter(|record| matches!(record, Record::FollowedUp { .. })).count() as u64
    }

    /// The decoded input of an intent, once.
    pub(crate) fn take_prepared(&mut self, attempt: Attempt) -> Option<(Prepared, Option<Permit>)> {
        let at = self.prepared.iter().position(|(step, ..)| *step == attempt.step)?;
        let (_, prepared, permit) = self.prepared.swap_remove(at);
        if self.prepared.is_empty() {
            self.prepared = Vec::new();
        }
        Some((prepared, permit))
    }

    /// The first turn's text, for the start.
    pub(crate) fn first_turn(&self) -> Result<String, codec::TurnError> {
        encode_turn(&self.blueprint, self.id, &self.turn)
    }

    /// Whether the turn holds nothing but the start and intents: what a start can carry.
    pub(crate) fn starts_plainly(&self) -> bool {
        self.turn.iter().all(|record| matches!(record, Record::Started { .. } | Record::Begun { .. }))
    }

    /// The turn to append: everything applied since the last one.
    pub(crate) fn turn(&self, after: After, nonce: i64) -> Result<Turn, TurnError> {
        let body = encode_turn(&self.blueprint, self.id, &self.turn)?;
        let mut turn = Turn::new(self.id, self.state.turns(), nonce, body, after);
        turn.letters = self.letters();
        turn.read.clone_from(&self.read);
        turn.events.clone_from(&self.events);
        turn.starts.clone_from(&self.starts);
        turn.sends = self.sends(after)?;
        turn.locks = self.lock_change(after);
        Ok(turn)
    }

    /// Takes note that the turn is on its way, and that nothing comes before it is durable: its records are not
    /// needed any more. (Dropped now, and not with the answer, which finds the saga out of the processor's caches.)
    pub(crate) fn turn_sent(&mut self) {
        self.turn = Vec::new();
        self.sent = true;
    }

    /// Takes note that the turn is durable.
    pub(crate) fn turn_written(&mut self) {
        // With their room: a saga may now wait in its step for long.
        self.turn = Vec::new();
        self.sent = false;
        self.read.clear();
        self.events.clear();
        self.starts.clear();
        self.overtaken.clear();
        self.state.turn_written();
    }
}

impl std::fmt::Debug for Saga {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Saga").field("id", &self.id).field("direction", &self.state.direction()).finish()
    }
}

/// The steps that cannot go on without a human.
fn waiting_for_a_human(state: &SagaState) -> Vec<StepName> {
    state.steps().iter().filter(|step| step.blocked() == Some(Op::Run)).map(|step| step.name().clone()).collect()
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

/// The turn that sets a saga aside whose history this binary cannot read. It takes in what has come for the
/// saga, which would otherwise be due again at once, for ever.
pub(crate) fn set_aside(id: SagaId, seq: u32, nonce: i64, error: String) -> Result<Turn, serde_json::Error> {
    let (op, reason) = (Op::Run, AttentionReason::Unreadable);
    let record = Record::NeedsAttention { step: None, op, reason, error: error.clone() };
    let after = After::Park { wake_at: None, standing: Standing::SetAside };
    let mut turn = Turn::new(id, seq, nonce, crate::machine::encode_turn(&[record])?, after);
    turn.letters = vec![LetterChange::Open { step: None, op, reason, error, attempts: 0 }];
    Ok(turn)
}

/// Why a saga's next turn cannot be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SettleError {
    /// The machine and the history disagree.
    #[error(transparent)]
    Illegal(#[from] IllegalRecord),
    /// A saga that is to be started for a late signal cannot be encoded.
    #[error("the follow-up of a late signal cannot be encoded")]
    FollowUp(#[from] codec::TurnError),
}

/// What was worked out must be such that a journal can keep it.
fn check(evaluated: &Evaluated, limits: &Limits) -> Result<(), String> {
    let name = |what: &str, name: &str| match name.chars().any(char::is_control) || name.len() > limits.key_max_bytes {
        true => Err(format!(
            "{what} {name:?} has control characters, or more than key_max_bytes ({})",
            limits.key_max_bytes
        )),
        false => Ok(()),
    };
    let payload = match evaluated {
        Evaluated::Done(payload) | Evaluated::Delegates(payload) => payload.len(),
        Evaluated::Publishes(event) => {
            name("the topic", &event.topic)?;
            let headers = event.headers.iter().flat_map(|(header, value)| [header, value]);
            headers.clone().try_for_each(|text| name("the header", text))?;
            event.payload.len()
        }
        Evaluated::Locks { keys, .. } if keys.len() > limits.items_max => {
            return Err(format!("it locks {} entities, and items_max is {}", keys.len(), limits.items_max));
        }
        Evaluated::Locks { keys, .. } => return keys.iter().try_for_each(|key| name("the entity", key)),
        Evaluated::Until(_) | Evaluated::Items(_) => 0,
    };
    match payload > limits.payload_max_bytes {
        true => Err(format!("it has {payload} bytes encoded, and payload_max_bytes is {}", limits.payload_max_bytes)),
        false => Ok(()),
    }
}

/// The moment of a decision: the journal's time and a fresh draw.
pub(crate) fn moment(now: Timestamp, limits: &Limits) -> Moment<'_> {
    Moment { now, chance: fastrand::f64(), limits }
}
