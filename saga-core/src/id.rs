//! The names of things: sagas, steps, operations and lease epochs, each a type of its own.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Identifies one saga: a UUIDv7 ([RFC 9562](https://www.rfc-editor.org/rfc/rfc9562)), so that ids
/// sort by the time they were made.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SagaId(Uuid);

impl SagaId {
    /// A new id, stamped with the present time.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "a default id that differs each time would surprise")]
    pub fn new() -> Self {
        Self(Uuid::now_v7())
    }

    /// The id of a saga that this one starts, the same for the same `name`: it keeps this saga's time, and
    /// takes its random bits from the name.
    #[must_use]
    pub fn derived(self, name: &str) -> Self {
        let mut bytes = *Uuid::new_v5(&self.0, name.as_bytes()).as_bytes();
        bytes[..6].copy_from_slice(&self.0.as_bytes()[..6]);
        bytes[6] = 0x70 | (bytes[6] & 0x0f);
        Self(Uuid::from_bytes(bytes))
    }

    /// The id as a UUID, for storage.
    #[must_use]
    pub fn as_uuid(self) -> Uuid {
        self.0
    }
}

impl From<Uuid> for SagaId {
    fn from(uuid: Uuid) -> Self {
        Self(uuid)
    }
}

impl fmt::Display for SagaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for SagaId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A text is no saga id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a saga id is a UUID, as lists of sagas show it; by its start key a saga is found with `Engine::find` or `sagactl list --key`"
)]
pub struct BadSagaId {
    /// What is wrong with it.
    #[from]
    source: uuid::Error,
}

impl std::str::FromStr for SagaId {
    type Err = BadSagaId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.parse()?))
    }
}

/// The name of a step, unique within its definition. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StepName(Arc<str>);

impl StepName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is the very name that the other is a clone of.
    pub(crate) fn is_clone_of(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// The name, for what keeps it.
    pub(crate) fn shared(&self) -> Arc<str> {
        self.0.clone()
    }
}

impl From<&str> for StepName {
    fn from(name: &str) -> Self {
        Self(name.into())
    }
}

impl fmt::Display for StepName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for StepName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

/// What is done for a step: the step itself, the question whether it happened, or its undoing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Op {
    /// The step's own effect.
    Run,
    /// The question "did the operation under this key happen?".
    Probe,
    /// The compensation that undoes the effect.
    Compensate,
}

impl Op {
    /// The stable name that journals, spans and metrics use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Probe => "probe",
            Self::Compensate => "compensate",
        }
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The idempotency key of one logical operation: the same in every attempt and after every crash.
///
/// It is a name-based UUID (version 5, RFC 9562 section 5.5) of the saga's id, the step's name and
/// the [`Op`] (and the generation, after the first), 36 characters long, so that it fits the shortest limit met among payment gateways
/// (40 characters).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct IdempotencyKey(Uuid);

impl IdempotencyKey {
    /// The key of the operation `op` of `step` in `saga`. The `generation` is 0 until the engine
    /// knows for certain that nothing happened under the key and takes a new one.
    #[must_use]
    pub fn of(saga: SagaId, step: &StepName, op: Op, generation: u32) -> Self {
        let op = match op {
            // A probe asks about the operation that ran: it carries that operation's key.
            Op::Run | Op::Probe => Op::Run,
            Op::Compensate => Op::Compensate,
        };
        let name = match generation {
            0 => format!("{op}\0{step}"),
            later => format!("{op}\0{step}\0{later}"),
        };
        Self(Uuid::new_v5(&saga.0, name.as_bytes()))
    }

    /// The key as a UUID, for storage.
    #[must_use]
    pub fn as_uuid(&self) -> Uuid {
        self.0
    }

    /// A key for one part of the operation, for example one item of a list. The same part always
    /// gives the same key.
    #[must_use]
    pub fn part(&self, part: &str) -> Self {
        Self(Uuid::new_v5(&self.0, part.as_bytes()))
    }
}

impl fmt::Display for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The fencing token of a worker's lease. Every lease that a journal grants has a higher epoch than
/// all before it, so that an epoch names one incarnation of one worker and is never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(pub i64);

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_key_in_place_of_an_id_is_told_what_to_use() {
        let id = SagaId::new();
        assert_eq!(id.to_string().parse(), Ok(id));
        let error = "CHECKOUT-000029".parse::<SagaId>().unwrap_err();
        assert!(error.to_string().contains("by its start key a saga is found with `Engine::find`"), "{error}");
    }

    #[test]
    fn the_key_belongs_to_the_operation_and_not_to_the_attempt() {
        let (saga, step) = (SagaId::new(), StepName::from("authorize"));
        let key = IdempotencyKey::of(saga, &step, Op::Run, 0);
        assert_eq!(key, IdempotencyKey::of(saga, &step, Op::Run, 0));
        assert_ne!(key, IdempotencyKey::of(saga, &step, Op::Run, 1));
        assert_eq!(key, IdempotencyKey::of(saga, &step, Op::Probe, 0));
        assert_ne!(key, IdempotencyKey::of(saga, &step, Op::Compensate, 0));
        assert_ne!(key, IdempotencyKey::of(SagaId::new(), &step, Op::Run, 0));
        assert_ne!(key.part("a"), key.part("b"));
        assert_eq!(key.to_string().len(), 36);
    }
}
