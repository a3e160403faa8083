//! Execution contexts: the request, its answer, and what was done for it.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row as _};

use super::database::{Database, existing, json, row, rows, time, to_json};
use super::error::{IllegalTransition, StoreError};
use super::key::{Compensation, once, undo};
use super::state::{Stored as _, allowed, illegal, stored, stored_state, written};

stored! {
    /// How far a checkout is.
    ExecutionStatus of "execution context" {
        /// Under way.
        Initialized = "INITIALIZED",
        /// Done: its response stands.
        Completed = "COMPLETED",
        /// Taken back.
        RolledBack = "ROLLEDBACK",
    }
}

stored! {
    /// What can happen to an execution context.
    ExecutionEvent of "execution context" {
        /// All is done.
        Complete = "complete",
        /// It is taken back.
        RollBack = "roll back",
    }
}

stored! {
    /// What became of a step.
    StepStatus of "execution step" {
        /// It began.
        Started = "STARTED",
        /// It was done.
        Succeeded = "SUCCEEDED",
        /// It was not done.
        Failed = "FAILED",
        /// It was taken back.
        Compensated = "COMPENSATED",
    }
}

impl ExecutionStatus {
    /// What the event makes of it.
    ///
    /// # Errors
    /// When it does not allow the event.
    pub fn next(self, event: ExecutionEvent) -> Result<Self, IllegalTransition> {
        match (self, event) {
            (Self::Initialized, ExecutionEvent::Complete) => Ok(Self::Completed),
            (Self::Initialized, ExecutionEvent::RollBack) => Ok(Self::RolledBack),
            (Self::Completed | Self::RolledBack, ExecutionEvent::Complete | ExecutionEvent::RollBack) => {
                illegal(self, event)
            }
        }
    }
}

/// An execution context to be opened.
#[derive(Clone, Debug)]
pub struct NewExecutionContext {
    /// Its id: `executionContextId`.
    pub execution_context_id: String,
    /// What is to be done: `INITIATE_CHECKOUT`.
    pub task_name: String,
    /// The request, JSON.
    pub request: String,
    /// A digest of the request, by which a repeated one is told from another one.
    pub request_digest: String,
    /// The payment groups.
    pub reference_ids: Vec<String>,
    /// Now.
    pub at: DateTime<Utc>,
}

/// An execution context.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExecutionContext {
    /// Its id.
    pub execution_context_id: String,
    /// What is to be done.
    pub task_name: String,
    /// The request, JSON.
    pub request: String,
    /// The request's digest.
    pub request_digest: String,
    /// The payment groups.
    pub reference_ids: Vec<String>,
    /// How far it is.
    pub status: ExecutionStatus,
    /// The answer, JSON, when it is completed.
    pub response: Option<String>,
    /// What was done, in order.
    pub contexts: Vec<StepEntry>,
    /// When it was tried again.
    pub retry_timestamps: Vec<DateTime<Utc>>,
    /// When it was opened.
    pub created_at: DateTime<Utc>,
    /// When something was last written to it.
    pub updated_at: DateTime<Utc>,
}

/// One entry of the step history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepEntry {
    /// Which step.
    pub step: String,
    /// What became of it.
    pub status: StepStatus,
    /// When.
    pub at: DateTime<Utc>,
}

/// What opening found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opened {
    /// It was made.
    New(ExecutionContext),
    /// The same request came before: its answer, if there is one, is in it.
    Known(ExecutionContext),
}

/// The store of execution contexts.
#[derive(Clone, Debug)]
pub struct ExecutionContexts {
    database: Database,
}

const OPEN: &str = "execution_contexts.open";
const SELECT: &str = "SELECT * FROM execution_contexts WHERE execution_context_id = $1";

impl ExecutionContexts {
    pub(super) fn new(database: &Database) -> Self {
        Self { database: database.clone() }
    }

    /// Opens the context, or finds the one with the same id as it is now.
    ///
    /// # Errors
    /// [`StoreError::RequestDiffers`] when the id came with another request, [`StoreError::Undone`], or the
    /// database's.
    pub async fn open(&self, key: &str, new: NewExecutionContext) -> Result<Opened, StoreError> {
        let (id, digest) = (new.execution_context_id.clone(), new.request_digest.clone());
        let made: bool = once(&self.database, OPEN, key, |tx| Box::pin(async move { insert(tx, &new).await })).await?;
        let context = self.get(&id).await?.ok_or_else(|| missing(&id))?;
        if context.request_digest != digest {
            return Err(StoreError::RequestDiffers { id });
        }
        Ok(if made { Opened::New(context) } else { Opened::Known(context) })
    }

    /// Rolls back the context that was opened under the step's key, and refuses one that comes later. One
    /// that another operation opened is left alone.
    ///
    /// # Errors
    /// [`StoreError::Illegal`] when it is completed, or the database's.
    pub async fn undo_open(
        &self,
        step_key: &str,
        compensation_key: &str,
        execution_context_id: &str,
        at: DateTime<Utc>,
    ) -> Result<Compensation, StoreError> {
        let id = execution_context_id.to_owned();
        undo(&self.database, OPEN, step_key, compensation_key, move |tx, made: bool| {
            Box::pin(async move {
                // Somebody may have rolled it back by hand.
                if made && status(tx, &id).await? != ExecutionStatus::RolledBack {
                    advance(tx, &id, ExecutionEvent::RollBack, None, at).await?;
                }
                Ok(())
            })
        })
        .await
    }

    /// Names the payment groups that the context is about.
    ///
    /// # Errors
    /// When there is no such context, or the database fails.
    pub async fn refer(&self, key: &str, execution_context_id: &str, ids: Vec<String>) -> Result<(), StoreError> {
        let id = execution_context_id.to_owned();
        once(&self.database, "execution_contexts.refer", key, move |tx| {
            Box::pin(async move {
                let update = "UPDATE execution_contexts SET reference_ids = $1 WHERE execution_context_id = $2";
                let query = sqlx::query(update).bind(to_json(&ids)?).bind(id.clone());
                if query.execute(tx).await?.rows_affected() == 1 { Ok(()) } else { Err(missing(&id)) }
            })
        })
        .await
    }

    /// Adds to the step history: one entry of each status under a key.
    ///
    /// # Errors
    /// When there is no such context, or the database fails.
    pub async fn record_step(&self, key: &str, execution_context_id: &str, entry: StepEntry) -> Result<(), StoreError> {
        let operation = match entry.status {
            StepStatus::Started => "execution_contexts.step_started",
            StepStatus::Succeeded => "execution_contexts.step_succeeded",
            StepStatus::Failed => "execution_contexts.step_failed",
            StepStatus::Compensated => "execution_contexts.step_compensated",
        };
        let id = execution_context_id.to_owned();
        once(&self.database, operation, key, move |tx| {
            Box::pin(async move {
                let nth = next_entry(tx, &id, entry.at).await?;
                sqlx::query("INSERT INTO execution_steps VALUES ($1, $2, $3, $4, $5)")
                    .bind(id)
                    .bind(nth)
                    .bind(entry.step)
                    .bind(entry.status.as_str())
                    .bind(entry.at.timestamp_micros())
                    .execute(tx)
                    .await?;
                Ok(())
            })
        })
        .await
    }

    /// Adds to the retry timestamps.
    ///
    /// # Errors
    /// When there is no such context, or the database fails.
    pub async fn record_retry(
        &self,
        key: &str,
        execution_context_id: &str,
        at: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let id = execution_context_id.to_owned();
        once(&self.database, "execution_contexts.record_retry", key, move |tx| {
            Box::pin(async move {
                let nth = next_entry(tx, &id, at).await?;
                let insert = "INSERT INTO execution_retries VALUES ($1, $2, $3)";
                sqlx::query(insert).bind(id).bind(nth).bind(at.timestamp_micros()).execute(tx).await?;
                Ok(())
            })
        })
        .await
    }

    /// The context is completed, with this response (JSON).
    ///
    /// # Errors
    /// [`StoreError::Illegal`] when it is closed already, by another operation; or the database's.
    pub async fn complete(
        &self,
        key: &str,
        execution_context_id: &str,
        response: String,
        at: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let id = execution_context_id.to_owned();
        once(&self.database, "execution_contexts.complete", key, move |tx| {
            Box::pin(async move { advance(tx, &id, ExecutionEvent::Complete, Some(response), at).await })
        })
        .await
    }

    /// The context is rolled back.
    ///
    /// # Errors
    /// [`StoreError::Illegal`] when it is closed already, by another operation; or the database's.
    pub async fn roll_back(&self, key: &str, execution_context_id: &str, at: DateTime<Utc>) -> Result<(), StoreError> {
        let id = execution_context_id.to_owned();
        once(&self.database, "execution_contexts.roll_back", key, move |tx| {
            Box::pin(async move { advance(tx, &id, ExecutionEvent::RollBack, None, at).await })
        })
        .await
    }

    /// A context with its history.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn get(&self, execution_context_id: &str) -> Result<Option<ExecutionContext>, StoreError> {
        let mut connection = self.database.connection().await?;
        let Some(found) = row(&mut connection, SELECT, execution_context_id).await? else { return Ok(None) };
        let steps = "SELECT * FROM execution_steps WHERE execution_context_id = $1 ORDER BY nth";
        let steps = rows(&mut connection, steps, execution_context_id).await?;
        let retries = "SELECT * FROM execution_retries WHERE execution_context_id = $1 ORDER BY nth";
        let retries = rows(&mut connection, retries, execution_context_id).await?;
        context(&found, &steps, &retries).map(Some)
    }

    /// The ids of contexts that are not closed and to which nothing was written since `before`, the oldest
    /// first: stuck checkouts.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn stuck(&self, before: DateTime<Utc>, limit: u32) -> Result<Vec<String>, StoreError> {
        let select = "SELECT execution_context_id FROM execution_contexts \
                      WHERE status = 'INITIALIZED' AND updated_at < $1 ORDER BY updated_at LIMIT $2";
        let query = sqlx::query_as(select).bind(before.timestamp_micros()).bind(i64::from(limit));
        let ids: Vec<(String,)> = query.fetch_all(self.database.pool()).await?;
        Ok(ids.into_iter().map(|(id,)| id).collect())
    }
}

/// False when the id is taken.
async fn insert(tx: &mut AnyConnection, new: &NewExecutionContext) -> Result<bool, StoreError> {
    let made = sqlx::query(
        "INSERT INTO execution_contexts (execution_context_id, task_name, request, request_digest, reference_ids, \
         status, created_at, updated_at, entries) VALUES ($1, $2, $3, $4, $5, 'INITIALIZED', $6, $6, 0) \
         ON CONFLICT DO NOTHING",
    )
    .bind(new.execution_context_id.clone())
    .bind(new.task_name.clone())
    .bind(new.request.clone())
    .bind(new.request_digest.clone())
    .bind(to_json(&new.reference_ids)?)
    .bind(new.at.timestamp_micros())
    .execute(tx)
    .await?;
    Ok(made.rows_affected() == 1)
}

async fn status(tx: &mut AnyConnection, id: &str) -> Result<ExecutionStatus, StoreError> {
    stored_state(&existing(tx, ExecutionStatus::ENTITY, SELECT, id).await?, "status")
}

async fn advance(
    tx: &mut AnyConnection,
    id: &str,
    event: ExecutionEvent,
    response: Option<String>,
    at: DateTime<Utc>,
) -> Result<(), StoreError> {
    let read = status(tx, id).await?;
    let next = allowed(read.next(event), id)?;
    let update = "UPDATE execution_contexts SET status = $1, response = $2, updated_at = $3 \
                  WHERE execution_context_id = $4 AND status = $5";
    let query = sqlx::query(update).bind(next.as_str()).bind(response).bind(at.timestamp_micros());
    let query = query.bind(id.to_owned()).bind(read.as_str());
    written::<ExecutionStatus>(query.execute(tx).await?.rows_affected(), id)
}

/// Takes the next number in the histories. The row stays locked until the entry is written.
async fn next_entry(tx: &mut AnyConnection, id: &str, at: DateTime<Utc>) -> Result<i64, StoreError> {
    let update = "UPDATE execution_contexts SET entries = entries + 1, updated_at = $1 WHERE execution_context_id = $2";
    sqlx::query(update).bind(at.timestamp_micros()).bind(id.to_owned()).execute(&mut *tx).await?;
    Ok(existing(tx, ExecutionStatus::ENTITY, SELECT, id).await?.try_get("entries")?)
}

fn context(row: &AnyRow, steps: &[AnyRow], retries: &[AnyRow]) -> Result<ExecutionContext, StoreError> {
    let entry = |row: &AnyRow| {
        Ok::<_, StoreError>(StepEntry {
            step: row.try_get("step")?,
            status: stored_state(row, "status")?,
            at: time(row, "at")?,
        })
    };
    Ok(ExecutionContext {
        execution_context_id: row.try_get("execution_context_id")?,
        task_name: row.try_get("task_name")?,
        request: row.try_get("request")?,
        request_digest: row.try_get("request_digest")?,
        reference_ids: json(&row.try_get::<String, _>("reference_ids")?)?,
        status: stored_state(row, "status")?,
        response: row.try_get("response")?,
        contexts: steps.iter().map(entry).collect::<Result<_, _>>()?,
        retry_timestamps: retries.iter().map(|row| time(row, "at")).collect::<Result<_, _>>()?,
        created_at: time(row, "created_at")?,
        updated_at: time(row, "updated_at")?,
    })
}

fn missing(id: &str) -> StoreError {
    StoreError::NotFound { entity: ExecutionStatus::ENTITY, id: id.to_owned() }
}
