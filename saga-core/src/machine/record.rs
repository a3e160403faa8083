//! Records: every durable fact of a saga, in the past tense. A turn is a list of them.

use serde::{Deserialize, Serialize};

use crate::checkpoint::{Digest, Payload};
use crate::fault::Fault;
use crate::id::{Op, SagaId, StepName};
use crate::time::Timestamp;

/// What most records take as text, names and results of usual length included: with so much room in advance the text
/// of a turn need not be moved while it grows.
const ROOM: usize = 192;

/// One fact in a saga's journal. Their JSON form is the stored form: names and fields are kept
/// readable by every later version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Record {
    /// The saga exists, with this input.
    Started {
        /// The input.
        input: Payload,
        /// The saga whose step it is; none when it stands for itself.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        parent: Option<Parent>,
    },
    /// The intent: this attempt may have begun from here on. Its key follows from the saga, the
    /// step and the operation; `input` is the fingerprint of what the step is given.
    Begun {
        /// The step.
        step: StepName,
        /// What is done for it.
        #[serde(default = "run", skip_serializing_if = "is_run")]
        op: Op,
        /// Which attempt of this operation, counted from one.
        #[serde(default = "one", skip_serializing_if = "is_one")]
        attempt: u32,
        /// The generation of its key: one more each time that it is certain that nothing happened
        /// under the key before.
        #[serde(default, skip_serializing_if = "is_zero")]
        generation: u32,
        /// When it began; written where a limit counts from it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        at: Option<Timestamp>,
        /// The fingerprint of the step's input.
        input: Digest,
    },
    /// The step completed.
    Done {
        /// The step.
        step: StepName,
        /// What it left.
        output: Payload,
    },
    /// An attempt failed.
    Failed {
        /// The step.
        step: StepName,
        /// What was done for it.
        #[serde(default = "run", skip_serializing_if = "is_run")]
        op: Op,
        /// How it failed.
        fault: Fault,
        /// When the next attempt is due; none when this was the last.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_at: Option<Timestamp>,
    },
    /// The worker went away while an attempt was under way: nothing is known of it.
    Interrupted {
        /// The step.
        step: StepName,
        /// What was done for it.
        #[serde(default = "run", skip_serializing_if = "is_run")]
        op: Op,
        /// Whether the worker's lease lapsed (a crash), rather than being given back (a stop).
        crashed: bool,
        /// When the next attempt is due; none when this was the last.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retry_at: Option<Timestamp>,
    },
    /// The probe answered.
    Probed {
        /// The step.
        step: StepName,
        /// What it answered.
        answer: ProbeAnswer,
    },
    /// The step waits for this time, or for a signal until this time.
    Sleeping {
        /// The step.
        step: StepName,
        /// The time; none when it waits for a signal for as long as it takes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<Timestamp>,
    },
    /// The step asks for entity locks, and waits for them until this time.
    Locking {
        /// The step.
        step: StepName,
        /// The entities, sorted.
        keys: Vec<String>,
        /// The time.
        until: Timestamp,
    },
    /// A child saga was started for the step.
    Delegated {
        /// The step.
        step: StepName,
        /// The child.
        child: SagaId,
    },
    /// The step's child saga is to turn back, or, when it is done, to be undone.
    Recalled {
        /// The step.
        step: StepName,
    },
    /// This saga, which is done, is to be undone: its parent turns back.
    Reopened,
    /// This saga's parent is done: it cannot be undone any more.
    Released,
    /// The step is taken once for each item of a list.
    FannedOut {
        /// The step. Its items are called `step[0]`, `step[1]` …
        step: StepName,
        /// How many items the list has.
        items: u32,
    },
    /// The best-effort step failed for good, and the saga goes on.
    SoftFailed {
        /// The step.
        step: StepName,
    },
    /// The saga is to turn back as soon as it safely can, though no step has failed.
    Halted {
        /// Why.
        cause: Halt,
    },
    /// The saga was to turn back, and cannot: it is past its point of no return, or turns back already.
    CancelRefused {
        /// Who wanted it.
        actor: String,
        /// Why.
        reason: String,
    },
    /// An operator had what waits for its next attempt tried at once.
    RetriedNow {
        /// Who.
        actor: String,
        /// Why.
        reason: String,
    },
    /// Something was signalled. It is kept until a step takes it.
    Signalled {
        /// What.
        name: String,
        /// What is to be known of it.
        payload: Payload,
        /// The message's id.
        #[serde(default)]
        id: String,
    },
    /// What was signalled came too late for any step: another saga sees to it.
    FollowedUp {
        /// The message's id.
        id: String,
        /// That saga.
        by: SagaId,
    },
    /// A message came that this version cannot read, or that means nothing any more.
    Unread {
        /// Its id.
        id: String,
        /// Why not.
        error: String,
    },
    /// The saga turned back.
    TurnedBack {
        /// The step whose failure turned it; none when it was halted.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        step: Option<StepName>,
    },
    /// The step's compensation is done.
    Compensated {
        /// The step.
        step: StepName,
        /// When the participant is asked whether the effect came late, after all; none when that is
        /// not to be expected.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        watch_at: Option<Timestamp>,
    },
    /// The saga is rolled back, and the participant was asked whether the effect came late.
    Watched {
        /// The step.
        step: StepName,
        /// What it answered. When it has happened, the saga goes back to compensate it.
        answer: ProbeAnswer,
        /// When it is asked again; none when this was the last time.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        watch_at: Option<Timestamp>,
    },
    /// The operation cannot go on without a human: a dead letter was opened.
    NeedsAttention {
        /// The step; none when the saga as a whole cannot be read.
        step: Option<StepName>,
        /// What was to be done for it.
        op: Op,
        /// Why.
        reason: AttentionReason,
        /// The error, for people.
        error: String,
    },
    /// An operator answered a dead letter.
    Resolved {
        /// The step; none when the saga as a whole could not be read.
        step: Option<StepName>,
        /// What was to be done for it.
        op: Op,
        /// What the operator decided.
        resolution: Resolution,
        /// Who.
        actor: String,
        /// Why.
        reason: String,
    },
    /// The saga is over: every step is done.
    Completed,
    /// The saga is over: every compensation that was owed is done.
    RolledBack,
}

/// The saga whose step this one is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parent {
    /// The name of its definition.
    pub definition: String,
    /// Its start key.
    pub key: String,
    /// The step.
    pub step: StepName,
}

/// Why a saga turns back though no step has failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Halt {
    /// Its deadline passed.
    Deadline,
    /// Its parent turns back.
    Recalled,
    /// Somebody wanted it.
    Cancelled {
        /// Who.
        actor: String,
        /// Why.
        reason: String,
    },
}

impl std::fmt::Display for Halt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Deadline => f.write_str("the saga's deadline passed"),
            Self::Recalled => f.write_str("the saga's parent turns back"),
            Self::Cancelled { actor, reason } => write!(f, "cancelled by {actor}: {reason}"),
        }
    }
}

/// What a probe found out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProbeAnswer {
    /// It happened, and left this.
    Applied(Payload),
    /// It did not happen and cannot any more.
    NotApplied,
    /// It cannot be told.
    Unknown,
}

/// Why an operation waits for a human.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AttentionReason {
    /// It failed for good: no attempts left, or an error that no attempt can mend.
    Failed,
    /// A pivot's effect is unknown, and neither the same key nor a probe could tell.
    UnknownOutcome,
    /// It has taken its worker down again and again.
    Poison,
    /// Its input, or the output to be undone, does not decode in this binary.
    Undecodable,
    /// Its key is older than participants remember it, so that sending it again could do it twice.
    KeyExpired,
    /// Its input is not what it was at the first attempt, though the key would be the same.
    InputChanged,
    /// The saga's history cannot be read by this binary.
    Unreadable,
}

impl AttentionReason {
    /// The stable name that journals and consoles use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::UnknownOutcome => "unknown-outcome",
            Self::Poison => "poison",
            Self::Undecodable => "undecodable",
            Self::KeyExpired => "key-expired",
            Self::InputChanged => "input-changed",
            Self::Unreadable => "unreadable",
        }
    }
}

impl std::fmt::Display for AttentionReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What an operator decides about a dead letter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resolution {
    /// Try again, with a fresh budget of attempts under the same key.
    Retry,
    /// Ask the participant once more whether it happened: for a pivot with an unknown outcome. A step
    /// without a probe comes straight back.
    Probe,
    /// Go on without it: a step whose output nobody reads and nobody undoes (never the pivot), or a
    /// compensation done by hand.
    Skip,
    /// It is done, and this is its output.
    Supply(Payload),
    /// It certainly did not happen: the saga turns back. Not past the point of no return.
    NotApplied,
}

impl Resolution {
    /// The stable name that journals and consoles use.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Probe => "probe",
            Self::Skip => "skip",
            Self::Supply(_) => "supply",
            Self::NotApplied => "not-applied",
        }
    }
}

fn run() -> Op {
    Op::Run
}

fn is_run(op: &Op) -> bool {
    *op == Op::Run
}

fn one() -> u32 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(generation: &u32) -> bool {
    *generation == 0
}

fn is_one(attempt: &u32) -> bool {
    *attempt == 1
}

/// The stored form of a turn: its records as a JSON array.
///
/// # Errors
/// Never for records that the machine made; the signature is serde's.
pub fn encode_turn(records: &[Record]) -> Result<String, serde_json::Error> {
    let mut body = Vec::with_capacity(ROOM * records.len());
    serde_json::to_writer(&mut body, records)?;
    String::from_utf8(body).map_err(serde::ser::Error::custom)
}

/// Reads a stored turn.
///
/// # Errors
/// When the text is no turn, or holds a record that this version does not know.
pub fn decode_turn(body: &str) -> Result<Vec<Record>, serde_json::Error> {
    serde_json::from_str(body)
}
