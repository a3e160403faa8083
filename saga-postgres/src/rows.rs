//! Rows to values.

use std::collections::BTreeMap;

use saga_core::journal::{
    DeadLetter, End, JournalError, LockEntry, NewEvent, OutboxEvent, Received, SagaHeader, SagaStatus, SagaSummary,
    Standing, Stored, lock_grant,
};
use saga_core::machine::AttentionReason;
use saga_core::{Digest, Epoch, Op, SagaId, StepName, Timestamp};
use serde_json::Value;
use sqlx::Row as _;
use sqlx::postgres::PgRow;
use uuid::Uuid;

pub(crate) fn header(row: &PgRow) -> Result<SagaHeader, sqlx::Error> {
    let input: Vec<u8> = row.try_get("input")?;
    let input: [u8; 16] = input.try_into().map_err(|_| decode("a fingerprint has 16 bytes"))?;
    Ok(SagaHeader {
        id: SagaId::from(row.try_get::<Uuid, _>("saga_id")?),
        definition: row.try_get("definition")?,
        version: unsigned(row.try_get("version")?)?,
        key: row.try_get("key")?,
        input: Digest::from_bytes(input),
        created_at: Timestamp::from_micros(row.try_get("created_at")?),
    })
}

pub(crate) fn stored(row: &PgRow) -> Result<Stored, sqlx::Error> {
    Ok(Stored {
        at: Timestamp::from_micros(row.try_get("at")?),
        epoch: row.try_get::<Option<i64>, _>("epoch")?.map(Epoch),
        body: row.try_get("body")?,
    })
}

pub(crate) fn summary(row: &PgRow) -> Result<SagaSummary, sqlx::Error> {
    let status = if !row.try_get::<bool, _>("lives")? {
        match row.try_get::<Option<i16>, _>("ends")? {
            Some(1) => SagaStatus::Ended(End::Completed),
            Some(2) => SagaStatus::Ended(End::RolledBack),
            Some(_) | None => return Err(decode("a saga that is not live has ended, and its last turn says how")),
        }
    } else if row.try_get("running")? {
        SagaStatus::Running
    } else {
        match row.try_get::<i16, _>("standing")? {
            0 => SagaStatus::Waiting,
            1 | 4 => SagaStatus::NeedsAttention,
            2 => SagaStatus::Watching,
            3 => SagaStatus::Retained,
            _ => return Err(decode("a parked saga has one of five standings")),
        }
    };
    Ok(SagaSummary { header: header(row)?, status })
}

pub(crate) fn letter(row: &PgRow) -> Result<DeadLetter, sqlx::Error> {
    let step: String = row.try_get("step")?;
    Ok(DeadLetter {
        saga: SagaId::from(row.try_get::<Uuid, _>("saga_id")?),
        definition: row.try_get("definition")?,
        key: row.try_get("key")?,
        step: (!step.is_empty()).then(|| StepName::from(step.as_str())),
        op: name(row.try_get("op")?)?,
        reason: name::<AttentionReason>(row.try_get("reason")?)?,
        error: row.try_get("error")?,
        attempts: unsigned(row.try_get("attempts")?)?,
        seq: unsigned(row.try_get("seq")?)?,
        opened_at: Timestamp::from_micros(row.try_get("opened_at")?),
    })
}

/// A message, or the entity locks that a saga was given.
pub(crate) fn received(row: &PgRow) -> Result<Received, sqlx::Error> {
    let saga = SagaId::from(row.try_get::<Uuid, _>("saga_id")?);
    if let Some(step) = row.try_get::<Option<String>, _>("step")? {
        let tokens: BTreeMap<String, u64> = json(&row.try_get::<String, _>("tokens")?)?;
        return Ok(lock_grant(saga, &StepName::from(step.as_str()), tokens));
    }
    Ok(Received { saga, id: row.try_get("message_id")?, body: row.try_get("body")? })
}

pub(crate) fn event(row: &PgRow) -> Result<OutboxEvent, sqlx::Error> {
    let headers: String = row.try_get("headers")?;
    Ok(OutboxEvent {
        saga: SagaId::from(row.try_get::<Uuid, _>("saga_id")?),
        event: NewEvent {
            id: row.try_get("event_id")?,
            topic: row.try_get("topic")?,
            headers: json(&headers)?,
            payload: row.try_get("payload")?,
        },
        attempts: unsigned(row.try_get("attempts")?)?,
        at: Timestamp::from_micros(row.try_get("at")?),
    })
}

pub(crate) fn lock(row: &PgRow) -> Result<LockEntry, sqlx::Error> {
    let token: Option<i64> = row.try_get("token")?;
    Ok(LockEntry {
        key: row.try_get("key")?,
        saga: SagaId::from(row.try_get::<Uuid, _>("saga_id")?),
        token: token.map(i64::unsigned_abs),
        asked_at: Timestamp::from_micros(row.try_get("asked_at")?),
    })
}

fn json<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, sqlx::Error> {
    serde_json::from_str(text).map_err(|error| sqlx::Error::Decode(error.into()))
}

/// The stable name of an operation or a reason.
fn name<T: serde::de::DeserializeOwned>(text: String) -> Result<T, sqlx::Error> {
    serde_json::from_value(Value::String(text)).map_err(|error| sqlx::Error::Decode(error.into()))
}

pub(crate) fn op_name(op: Op) -> &'static str {
    op.as_str()
}

/// A parked saga's standing as stored, see the migrations.
pub(crate) fn standing_code(standing: Standing) -> i16 {
    match standing {
        Standing::Waiting => 0,
        Standing::NeedsAttention => 1,
        Standing::Watching => 2,
        Standing::Retained => 3,
        Standing::SetAside => 4,
    }
}

/// A status in words, as the list filters by it.
pub(crate) fn status_name(status: SagaStatus) -> &'static str {
    match status {
        SagaStatus::Running => "running",
        SagaStatus::Waiting => "waiting",
        SagaStatus::NeedsAttention => "attention",
        SagaStatus::Watching => "watching",
        SagaStatus::Retained => "retained",
        SagaStatus::Ended(End::Completed) => "completed",
        SagaStatus::Ended(End::RolledBack) => "rolled-back",
    }
}

pub(crate) fn end_code(end: End) -> i16 {
    match end {
        End::Completed => 1,
        End::RolledBack => 2,
    }
}

fn unsigned(number: i32) -> Result<u32, sqlx::Error> {
    u32::try_from(number).map_err(|error| sqlx::Error::Decode(error.into()))
}

/// Whether Postgres cannot have such a text, so that nothing is called so.
pub(crate) fn is_no_text(text: &str) -> bool {
    text.contains('\0')
}

/// A number as Postgres stores it. Sequences and attempts stay far below its limit.
pub(crate) fn signed(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

fn decode(problem: &'static str) -> sqlx::Error {
    sqlx::Error::Decode(problem.into())
}

/// What a journal never writes.
pub(crate) fn corrupt(problem: String) -> JournalError {
    JournalError::Corrupt { problem }
}
