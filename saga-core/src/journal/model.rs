//! What goes into a journal and comes out of it.

use std::collections::BTreeMap;

use crate::checkpoint::Digest;
use crate::id::{Epoch, Op, SagaId, StepName};
use crate::machine::AttentionReason;
use crate::time::Timestamp;

/// A saga to be created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewSaga {
    /// Its id, made by the caller; a call that is repeated carries the same.
    pub id: SagaId,
    /// The name of its definition.
    pub definition: String,
    /// The version of its definition.
    pub version: u32,
    /// The start key: unique for each definition name.
    pub key: String,
    /// The fingerprint of its input.
    pub input: Digest,
    /// Its first turn (sequence 0).
    pub body: String,
    /// Marks this write.
    pub nonce: i64,
}

/// The answer to a start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StartReceipt {
    /// The saga was created, by this call or by an earlier try of it.
    Created,
    /// A saga with this definition name and key exists already.
    Exists(SagaHeader),
}

/// The facts about a saga that never change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SagaHeader {
    /// Its id.
    pub id: SagaId,
    /// The name of its definition.
    pub definition: String,
    /// The version of its definition.
    pub version: u32,
    /// The start key.
    pub key: String,
    /// The fingerprint of its input.
    pub input: Digest,
    /// When it was created, by the journal's clock.
    pub created_at: Timestamp,
}

/// One saga's next turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    /// The saga.
    pub saga: SagaId,
    /// Its place in the history; the start has 0.
    pub seq: u32,
    /// Marks this write, so that it is recognised when it is sent again.
    pub nonce: i64,
    /// The records, encoded.
    pub body: String,
    /// What becomes of the saga.
    pub after: After,
    /// Dead letters opened and closed.
    pub letters: Vec<LetterChange>,
    /// The messages that the turn takes in, by their ids.
    pub read: Vec<String>,
    /// The events that the turn publishes, in order.
    pub events: Vec<NewEvent>,
    /// The entity locks that the turn asks for, or gives up.
    pub locks: Option<LockChange>,
    /// The sagas that the turn starts, for any worker.
    pub starts: Vec<NewSaga>,
    /// The messages that the turn sends, after it has started its sagas.
    pub sends: Vec<Message>,
}

impl Turn {
    /// A turn that does nothing beside its records.
    #[must_use]
    pub fn new(saga: SagaId, seq: u32, nonce: i64, body: String, after: After) -> Self {
        Self {
            saga,
            seq,
            nonce,
            body,
            after,
            letters: Vec::new(),
            read: Vec::new(),
            events: Vec::new(),
            locks: None,
            starts: Vec::new(),
            sends: Vec::new(),
        }
    }
}

/// An event that a turn publishes: a row of the outbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEvent {
    /// Marks the event, the same however often it is published; unique in the journal.
    pub id: String,
    /// What it is about, for example `line_items_updated`: brokers route by it.
    pub topic: String,
    /// What goes with it beside the payload.
    pub headers: BTreeMap<String, String>,
    /// What it says: a JSON text.
    pub payload: String,
}

/// An event that waits to be published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxEvent {
    /// The saga that published it.
    pub saga: SagaId,
    /// The event.
    pub event: NewEvent,
    /// How often publishing it has failed.
    pub attempts: u32,
    /// When its turn was written, by the journal's clock.
    pub at: Timestamp,
}

/// What a relay is given to publish.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OutboxBatch {
    /// The events: those of one saga in the order in which they are to be published.
    pub events: Vec<OutboxEvent>,
    /// When the next event of this lease is due that is not due now.
    pub next_due_at: Option<Timestamp>,
}

/// What became of an event that was handed to a relay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettledEvent {
    /// The event's id.
    pub id: String,
    /// What became of it.
    pub fate: EventFate,
}

/// What became of an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventFate {
    /// The broker has it: it is forgotten.
    Published,
    /// It is to be tried again.
    Retry {
        /// When, from now.
        after: std::time::Duration,
        /// What went wrong, for people.
        error: String,
    },
    /// It cannot be published: it waits for a human, and holds up no other event.
    Dead {
        /// What went wrong, for people.
        error: String,
    },
}

/// An event that could not be published and waits for a human.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadEvent {
    /// The event.
    pub event: OutboxEvent,
    /// What went wrong, for people.
    pub error: String,
}

/// A saga asks for entity locks, or gives up those that it has or waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LockChange {
    /// It asks for all of these, or none. A saga asks once.
    Ask {
        /// The step that asks.
        step: StepName,
        /// The entities, sorted, each once.
        keys: Vec<String>,
    },
    /// It gives up all that it has, and its place in every line.
    GiveUp,
}

/// A saga that has an entity locked, or waits in line for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockEntry {
    /// The entity.
    pub key: String,
    /// The saga.
    pub saga: SagaId,
    /// Its fencing token, when it has the lock; none while it waits.
    pub token: Option<u64>,
    /// When it asked, by the journal's clock.
    pub asked_at: Timestamp,
}

/// What becomes of a saga with a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// Its owner keeps it and goes on.
    Keep,
    /// Nobody owns it until it is due.
    Park {
        /// When it is due; none when it waits for a human alone.
        wake_at: Option<Timestamp>,
        /// How it stands meanwhile.
        standing: Standing,
    },
    /// It is over.
    End(End),
}

/// How a parked saga stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Standing {
    /// It waits for its time, or for a worker.
    Waiting,
    /// It waits for a human.
    NeedsAttention,
    /// It is rolled back, and participants are still watched for effects that come late.
    Watching,
    /// It is completed, and kept for its parent, which may still want it undone.
    Retained,
    /// It waits for a human as a whole, because it cannot be read: messages wait with it.
    SetAside,
}

/// How a saga ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum End {
    /// Every step is done.
    Completed,
    /// Every compensation owed is done.
    RolledBack,
}

/// A message to a saga, addressed by the name of its definition and its start key, so that it may be
/// sent before the saga is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The name of the definition.
    pub definition: String,
    /// The start key.
    pub key: String,
    /// Marks the message: what is sent again under the same mark is the same message.
    pub id: String,
    /// What it says: opaque to the journal.
    pub body: String,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sent {
    /// It is kept until the saga takes it in, or ends.
    Accepted,
    /// It had been sent before.
    Duplicate,
    /// The saga is over; nothing was kept.
    TooLate,
}

/// A message that a saga has not taken in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// The saga.
    pub saga: SagaId,
    /// The message's mark.
    pub id: String,
    /// What it says.
    pub body: String,
}

/// A dead letter opens or closes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LetterChange {
    /// An operation waits for a human.
    Open {
        /// The step; none for the saga as a whole.
        step: Option<StepName>,
        /// What was to be done for it.
        op: Op,
        /// Why.
        reason: AttentionReason,
        /// The error, for people.
        error: String,
        /// How many attempts there have been.
        attempts: u32,
    },
    /// An operator has decided, or the saga has found another way.
    Close {
        /// The step; none for the saga as a whole.
        step: Option<StepName>,
        /// What was to be done for it.
        op: Op,
        /// What was decided.
        resolution: String,
        /// Who decided.
        actor: String,
        /// Why.
        reason: String,
    },
}

/// The answer for one turn of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Appended {
    /// It was written.
    Written,
    /// It had been written by an earlier try of the same call.
    Repeated,
    /// Its place is taken by another turn, or is not the next one, or the saga belongs to another
    /// owner: this worker's picture of the saga is wrong. Drop it.
    Rival,
    /// It would end the saga, for which a message has come that no turn has read. Nothing was written:
    /// read it first.
    Unread,
}

/// What a claim brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The sagas that the lease now owns.
    pub sagas: Vec<Claimed>,
    /// When the next saga without an owner is due, if one of the definitions asked for has a time set.
    pub next_due_at: Option<Timestamp>,
    /// The journal's time.
    pub now: Timestamp,
}

/// A saga that was claimed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimed {
    /// The saga.
    pub header: SagaHeader,
    /// Whether it was taken from a worker whose lease lapsed.
    pub crashed: bool,
}

/// The answer to the claim of one saga.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClaimOne {
    /// The lease now owns it (or did already).
    Claimed(Claimed),
    /// A worker with a valid lease owns it.
    Owned(Epoch),
    /// It has ended.
    Ended,
    /// There is no such saga.
    NotFound,
}

/// A saga's whole history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    /// The saga.
    pub header: SagaHeader,
    /// Its turns, in order of their sequence.
    pub turns: Vec<Stored>,
}

/// A stored turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// When it was written, by the journal's clock.
    pub at: Timestamp,
    /// The lease that wrote it; none for a start without one.
    pub epoch: Option<Epoch>,
    /// The records, encoded.
    pub body: String,
}

/// Where a saga stands, without its history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SagaStatus {
    /// A worker has it.
    Running,
    /// It waits for its time, or for a worker.
    Waiting,
    /// It waits for a human.
    NeedsAttention,
    /// It is rolled back, and participants are still watched for effects that come late.
    Watching,
    /// It is completed, and kept for its parent, which may still want it undone.
    Retained,
    /// It is over.
    Ended(End),
}

/// A saga's header and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SagaSummary {
    /// The facts that never change.
    pub header: SagaHeader,
    /// Where it stands.
    pub status: SagaStatus,
}

/// Which sagas to list, newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListFilter {
    /// Only those that stand like this.
    pub status: Option<SagaStatus>,
    /// Only those of this definition.
    pub definition: Option<String>,
    /// Only those whose start key begins like this.
    pub key_prefix: Option<String>,
    /// Only those older than this one: the last of the page before.
    pub before: Option<SagaId>,
    /// Only those that were created at this time or later, by the journal's clock.
    pub created_after: Option<Timestamp>,
    /// Only those that were created before this time: together with `created_after` an interval that
    /// holds its beginning and not its end, so that intervals can follow each other without an overlap.
    pub created_before: Option<Timestamp>,
    /// Only those in whose history this text occurs, exactly as it is written: an error's message or
    /// code, an operator's name, a part of a payload. It is looked for in the records' JSON, in the form
    /// that [`needle`](Self::needle) tells; what a codec has encrypted is not found.
    ///
    /// It reads the histories of all sagas that pass the rest of the filter, newest first, until there
    /// are enough: name a status, a definition or a time as well.
    pub mentions: Option<String>,
}

impl ListFilter {
    /// What a history must contain for [`mentions`](Self::mentions): the text as serde writes it inside of
    /// a JSON string, so that a quotation mark or a line break in it is found. For journals.
    #[must_use]
    pub fn needle(&self) -> Option<String> {
        let quoted = serde_json::Value::from(self.mentions.as_deref()?).to_string();
        Some(quoted[1..quoted.len() - 1].to_owned())
    }
}

/// An operation that waits for a human.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// The saga.
    pub saga: SagaId,
    /// The name of its definition.
    pub definition: String,
    /// Its start key.
    pub key: String,
    /// The step; none when the saga as a whole cannot be read.
    pub step: Option<StepName>,
    /// What was to be done for it.
    pub op: Op,
    /// Why it waits.
    pub reason: AttentionReason,
    /// The error, for people.
    pub error: String,
    /// How many attempts there have been.
    pub attempts: u32,
    /// The sequence of the turn that opened it: with the saga, the step and the op it names this
    /// letter for good.
    pub seq: u32,
    /// When it was opened, by the journal's clock.
    pub opened_at: Timestamp,
}
