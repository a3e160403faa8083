//! Rows to values.

use saga_core::journal::{DeadLetter, End, JournalError, SagaHeader, SagaStatus, SagaSummary, Standing, Stored};
use saga_core::{Digest, Epoch, SagaId, StepName, Timestamp};
use serde_json::Value;
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;

pub(crate) fn header(row: &SqliteRow) -> Result<SagaHeader, sqlx::Error> {
    let input: Vec<u8> = row.try_get("input")?;
    let input: [u8; 16] = input.try_into().map_err(|_| decode("a fingerprint has 16 bytes"))?;
    Ok(SagaHeader {
        id: SagaId::from(row.try_get::<Uuid, _>("saga_id")?),
        definition: row.try_get("definition")?,
        version: row.try_get("version")?,
        key: row.try_get("key")?,
        input: Digest::from_bytes(input),
        created_at: Timestamp::from_micros(row.try_get("created_at")?),
    })
}

pub(crate) fn stored(row: &SqliteRow) -> Result<Stored, sqlx::Error> {
    Ok(Stored {
        at: Timestamp::from_micros(row.try_get("at")?),
        epoch: row.try_get::<Option<i64>, _>("epoch")?.map(Epoch),
        body: row.try_get("body")?,
    })
}

pub(crate) fn summary(row: &SqliteRow) -> Result<SagaSummary, sqlx::Error> {
    let status = if !row.try_get::<bool, _>("lives")? {
        match row.try_get::<Option<i64>, _>("ends")? {
            Some(1) => SagaStatus::Ended(End::Completed),
            Some(2) => SagaStatus::Ended(End::RolledBack),
            Some(_) | None => return Err(decode("a saga that is not live has ended, and its last turn says how")),
        }
    } else if row.try_get("running")? {
        SagaStatus::Running
    } else {
        match row.try_get::<i64, _>("standing")? {
            0 => SagaStatus::Waiting,
            1 | 4 => SagaStatus::NeedsAttention,
            2 => SagaStatus::Watching,
            3 => SagaStatus::Retained,
            _ => return Err(decode("a parked saga has one of four standings")),
        }
    };
    Ok(SagaSummary { header: header(row)?, status })
}

pub(crate) fn letter(row: &SqliteRow) -> Result<DeadLetter, sqlx::Error> {
    let step: String = row.try_get("step")?;
    Ok(DeadLetter {
        saga: SagaId::from(row.try_get::<Uuid, _>("saga_id")?),
        definition: row.try_get("definition")?,
        key: row.try_get("key")?,
        step: (!step.is_empty()).then(|| StepName::from(step.as_str())),
        op: name(row.try_get("op")?)?,
        reason: name(row.try_get("reason")?)?,
        error: row.try_get("error")?,
        attempts: row.try_get("attempts")?,
        seq: row.try_get("seq")?,
        opened_at: Timestamp::from_micros(row.try_get("opened_at")?),
    })
}

/// The stable name of an operation or a reason.
fn name<T: serde::de::DeserializeOwned>(text: String) -> Result<T, sqlx::Error> {
    serde_json::from_value(Value::String(text)).map_err(|error| sqlx::Error::Decode(error.into()))
}

/// A parked saga's standing as stored, see the migrations.
pub(crate) fn standing_code(standing: Standing) -> i64 {
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

pub(crate) fn end_code(end: End) -> i64 {
    match end {
        End::Completed => 1,
        End::RolledBack => 2,
    }
}

/// The step as stored: empty for the saga as a whole.
pub(crate) fn step_text(step: Option<&StepName>) -> String {
    step.map_or_else(String::new, ToString::to_string)
}

pub(crate) fn decode(problem: &'static str) -> sqlx::Error {
    sqlx::Error::Decode(problem.into())
}

/// What a journal never writes.
pub(crate) fn corrupt(problem: String) -> JournalError {
    JournalError::Corrupt { problem }
}
