//! What the engine refuses, and what its callers can do about it. Causes are in `source()`: print the
//! whole chain.

use std::time::Duration;

use crate::checkpoint::CheckpointError;
use crate::codec::{CodecError, TurnError};
use crate::definition::OutlineDiff;
use crate::id::{Epoch, SagaId};
use crate::journal::JournalError;
use crate::machine::{IllegalRecord, Refused};

/// The engine did not open. Nothing runs.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The journal refused, or could not be reached. Its message says what to do.
    #[error("the engine cannot open its journal")]
    Journal {
        /// What the journal said.
        #[from]
        source: JournalError,
    },
    /// A definition has changed under a version that the journal already knows. Sagas that are under
    /// way would be misread: give the changed definition a new version.
    #[error("the definition {definition} changed under version {version}; give it a new version:\n{diff}")]
    ChangedDefinition {
        /// The definition's name.
        definition: String,
        /// Its version.
        version: u32,
        /// Lines with `-` stand in the journal, lines with `+` in this binary.
        diff: OutlineDiff,
    },
    /// A definition publishes events, and this worker has nowhere to publish them.
    #[error(
        "the definition {definition} publishes events, and this worker has no publisher: give it one with `EngineBuilder::publisher`"
    )]
    NoPublisher {
        /// The definition's name.
        definition: String,
    },
    /// Two definitions with one name and version were registered.
    #[error("the definition {definition} version {version} is registered twice, and the two differ")]
    RegisteredTwice {
        /// The definition's name.
        definition: String,
        /// Its version.
        version: u32,
    },
}

/// A saga was not started; except for [`StartError::Unavailable`], nothing was written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The definition is not registered with this engine. Register it before opening the engine.
    #[error("the definition {definition} version {version} is not registered with this engine")]
    UnknownDefinition {
        /// The definition's name.
        definition: String,
        /// Its version.
        version: u32,
    },
    /// A saga with this key exists and had another input. Use another key, or the same input.
    #[error(
        "the saga {definition} with the key {key:?} exists as {existing} with another input: use another key, or the same input"
    )]
    KeyConflict {
        /// The definition's name.
        definition: String,
        /// The start key.
        key: String,
        /// The saga that has it.
        existing: SagaId,
    },
    /// The key cannot be used.
    #[error(
        "the start key must have 1 to {max} bytes (key_max_bytes) and no control characters; this one has {len} bytes"
    )]
    BadKey {
        /// The key's length in bytes.
        len: usize,
        /// The limit.
        max: usize,
    },
    /// The input is too large. Keep it elsewhere and pass a reference.
    #[error("the input has {bytes} bytes encoded, and payload_max_bytes is {max}")]
    PayloadTooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// The input has no encoded form.
    #[error("the input cannot be encoded")]
    Input {
        /// What is wrong with it.
        #[from]
        source: CheckpointError,
    },
    /// The journal did not answer in time. The saga may exist: start it again with the same key.
    #[error("the journal did not answer within {} ms; the saga may exist: start it again with the same key", waited.as_millis())]
    Unavailable {
        /// How long the engine waited.
        waited: Duration,
    },
    /// The input cannot be sealed by the definition's codec.
    #[error("the input cannot be sealed")]
    Codec {
        /// Why.
        source: CodecError,
    },
    /// The journal refused.
    #[error("the journal refused the start")]
    Journal {
        /// What it said.
        #[from]
        source: JournalError,
    },
    /// The engine has been shut down.
    #[error("the engine is closed: open a new one")]
    Closed,
}

/// A saga's outcome cannot be told.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OutcomeError {
    /// The journal cannot be read. The saga goes on; ask again.
    #[error("the outcome of {saga} cannot be read from the journal")]
    Journal {
        /// The saga.
        saga: SagaId,
        /// What the journal said.
        source: JournalError,
    },
    /// The saga is gone: it ended, and its retention is over.
    #[error("the saga {saga} is not in the journal: its retention is over")]
    NotFound {
        /// The saga.
        saga: SagaId,
    },
    /// The saga runs under another version than the definition that asks.
    #[error("the saga {saga} runs under version {runs} of its definition, not {asked}: ask with that version")]
    OtherVersion {
        /// The saga.
        saga: SagaId,
        /// The version that it runs under.
        runs: u32,
        /// The version of the definition that asks.
        asked: u32,
    },
    /// The saga completed, and its output does not decode in this binary.
    #[error("the output of {saga} does not decode")]
    Undecodable {
        /// The saga.
        saga: SagaId,
        /// What is wrong with it.
        source: CheckpointError,
    },
    /// The saga's history cannot be read by this binary.
    #[error("the history of {saga} cannot be read")]
    Unreadable {
        /// The saga.
        saga: SagaId,
        /// What is wrong with it.
        source: HistoryError,
    },
}

/// A history that this binary cannot read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HistoryError {
    /// A turn is not what this version of the library writes.
    #[error("turn {seq} is not readable")]
    Turn {
        /// Its sequence.
        seq: usize,
        /// What serde said.
        source: serde_json::Error,
    },
    /// A turn holds a payload that does not open. Deploy the key that the message names, and resume the saga.
    #[error("turn {seq} holds a payload that does not open")]
    Sealed {
        /// Its sequence.
        seq: usize,
        /// What the codec said.
        source: CodecError,
    },
    /// The records do not fit the definition.
    #[error("the records do not fit the definition")]
    Records {
        /// Which, and why.
        #[from]
        source: IllegalRecord,
    },
}

impl HistoryError {
    pub(crate) fn of_turn(seq: usize, error: TurnError) -> Self {
        match error {
            TurnError::Json(source) => Self::Turn { seq, source },
            TurnError::Codec(source) => Self::Sealed { seq, source },
        }
    }
}

/// An operator's decision was not carried out; nothing was written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OperatorError {
    /// The decision makes no sense where the saga stands.
    #[error("the decision about {saga} is refused: {source}")]
    Refused {
        /// The saga.
        saga: SagaId,
        /// Why.
        source: Refused,
    },
    /// A worker is busy with the saga, for example with its other compensations. Try again.
    #[error("the saga {saga} is being worked on{}: try again shortly", .by.map(|epoch| format!(" under lease {epoch}")).unwrap_or_default())]
    Busy {
        /// The saga.
        saga: SagaId,
        /// The worker's lease, when it is another process's.
        by: Option<Epoch>,
    },
    /// There is no such saga, or it has ended.
    #[error("there is no unfinished saga {saga}")]
    NotFound {
        /// The saga.
        saga: SagaId,
    },
    /// This engine does not have the saga's definition.
    #[error("the saga {saga} needs the definition {definition} version {version}, which this engine does not have")]
    UnknownDefinition {
        /// The saga.
        saga: SagaId,
        /// The definition's name.
        definition: String,
        /// Its version.
        version: u32,
    },
    /// The supplied result is not what the step returns.
    #[error("the result supplied for {saga} is not what the step returns")]
    BadResult {
        /// The saga.
        saga: SagaId,
        /// What is wrong with it.
        source: CheckpointError,
    },
    /// The saga's history cannot be read by this binary.
    #[error("the history of {saga} cannot be read")]
    Unreadable {
        /// The saga.
        saga: SagaId,
        /// What is wrong with it.
        source: HistoryError,
    },
    /// The journal refused or could not be reached. The decision may have been written: look first.
    #[error("the journal did not take the decision about {saga}")]
    Journal {
        /// The saga.
        saga: SagaId,
        /// What it said.
        source: JournalError,
    },
    /// What follows from the decision cannot be written. Nothing was.
    #[error("what follows from the decision about {saga} cannot be written")]
    Unwritable {
        /// The saga.
        saga: SagaId,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The wish did not reach the saga. Try again.
    #[error("the saga {saga} could not be told")]
    NotSent {
        /// The saga.
        saga: SagaId,
        /// Why.
        source: SignalError,
    },
}

/// A signal was not sent, or it is not known whether it was. Sending it again under the same message id
/// is always safe.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SignalError {
    /// A name cannot be used. Nothing was sent.
    #[error(
        "the name {name:?} cannot be used: definitions, keys, signals and message ids have 1 to {max} bytes and no control characters"
    )]
    BadName {
        /// The name as given.
        name: String,
        /// `key_max_bytes`.
        max: usize,
    },
    /// No version of the definition that is registered here waits for such a signal, and the definition has no rule
    /// ([`on_late_signal`](crate::SagaBuilder::on_late_signal)) for what no step takes. Nothing was sent. (A saga of a
    /// version that is not registered here is sent whatever it is.)
    #[error(
        "no step of {definition} waits for the signal {signal:?}, but for {}: correct the name, or register the version of {definition} that does wait for it",
        names(known)
    )]
    NoSuchSignal {
        /// The name of the definition.
        definition: String,
        /// The signal, as given.
        signal: String,
        /// The signals that its steps wait for.
        known: Vec<String>,
    },
    /// The payload is too large: send a reference to it. Nothing was sent.
    #[error("the payload has {bytes} bytes encoded, and payload_max_bytes is {max}: send a reference to it")]
    PayloadTooLarge {
        /// Its size.
        bytes: usize,
        /// `payload_max_bytes`.
        max: usize,
    },
    /// The payload cannot be encoded. Nothing was sent.
    #[error("the payload cannot be sent")]
    Payload {
        /// Why.
        #[from]
        source: CheckpointError,
    },
    /// The payload cannot be sealed by the definition's codec. Nothing was sent.
    #[error("the payload cannot be sealed")]
    Codec {
        /// Why.
        source: CodecError,
    },
    /// The journal did not answer in time. Send it again under the same message id.
    #[error("the journal did not answer within {} ms: send it again under the same message id", waited.as_millis())]
    Unavailable {
        /// How long was waited.
        waited: Duration,
    },
    /// The saga is over, and this engine does not have its definition, whose rule says what becomes of a
    /// signal that comes too late. Nothing was kept: register the definition, and send it again.
    #[error(
        "the saga {definition} {key} is over, and its definition is not registered here, so that its rule for late signals is not known: register it, and send the signal again"
    )]
    TooLate {
        /// The name of the definition.
        definition: String,
        /// The start key.
        key: String,
    },
    /// The engine was shut down.
    #[error("the engine is closed")]
    Closed,
    /// The journal refused.
    #[error("the journal refuses the message")]
    Journal {
        /// Why.
        source: JournalError,
    },
}

fn names(known: &[String]) -> String {
    if known.is_empty() { "none at all".to_owned() } else { format!("{known:?}") }
}

/// An event that waits for a human was not decided about. Nothing changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EventError {
    /// There is no such event, or it does not wait: somebody else has decided, perhaps.
    #[error("no event {event} waits for a decision: list the dead events again")]
    NotWaiting {
        /// The event's id.
        event: String,
    },
    /// A decision needs a name and a reason.
    #[error("an operator's decision needs an actor and a reason")]
    NoReason,
    /// The journal refused or could not be reached.
    #[error("the journal did not take the decision about the event")]
    Journal {
        /// What it said.
        source: JournalError,
    },
}
