//! Idempotency keys: a write under a key happens once, and not at all when it was taken back before.
//!
//! One row for each operation and key, written in the transaction that has the effect: `done` with the
//! answer, or `undone`. The answer is what a repeated call answers, and what a compensation takes back.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sqlx::AnyConnection;

use super::database::{Database, Work, json, to_json};
use super::error::{StoreError, corrupt};

/// What a compensation found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Compensation {
    /// The write never happened, and is refused when it comes.
    NothingHappened,
    /// The write happened, and was taken back.
    TakenBack,
}

/// Does the work once under the key. Again, it answers as then; taken back, it is refused.
///
/// Two at the same time: the insertion waits for the other transaction, on Postgres at the unique index
/// and on SQLite at the write lock, and then sees what became of it.
pub(super) async fn once<T>(
    database: &Database,
    operation: &'static str,
    key: &str,
    work: impl for<'t> FnOnce(&'t mut AnyConnection) -> Work<'t, T> + Send + 'static,
) -> Result<T, StoreError>
where
    T: Serialize + DeserializeOwned + Send + Sync + 'static,
{
    let key = key.to_owned();
    database
        .transaction(move |tx| {
            Box::pin(async move {
                if let Some(answer) = begin(tx, operation, &key).await? {
                    return json(&answer);
                }
                let answer = work(tx).await?;
                finish(tx, operation, &key, to_json(&answer)?).await?;
                Ok(answer)
            })
        })
        .await
}

/// Takes back what was done under the step's key, once, and leaves a tombstone with the key of the
/// compensation. The work is given what the step was answered; it is not called when nothing happened.
pub(super) async fn undo<T>(
    database: &Database,
    operation: &'static str,
    step_key: &str,
    compensation_key: &str,
    work: impl for<'t> FnOnce(&'t mut AnyConnection, T) -> Work<'t, ()> + Send + 'static,
) -> Result<Compensation, StoreError>
where
    T: DeserializeOwned + Send + 'static,
{
    let (step_key, compensation_key) = (step_key.to_owned(), compensation_key.to_owned());
    database
        .transaction(move |tx| {
            Box::pin(async move {
                let (first, answer) = bury(tx, operation, &step_key, &compensation_key).await?;
                let Some(answer) = answer else { return Ok(Compensation::NothingHappened) };
                if first {
                    work(tx, json(&answer)?).await?;
                }
                Ok(Compensation::TakenBack)
            })
        })
        .await
}

/// Takes the key. Some answer when it has been done under this key already.
async fn begin(tx: &mut AnyConnection, operation: &'static str, key: &str) -> Result<Option<String>, StoreError> {
    let insert = "INSERT INTO initiate_operations (operation, operation_key, state) VALUES ($1, $2, 'done') ON CONFLICT DO NOTHING";
    let taken = sqlx::query(insert).bind(operation).bind(key.to_owned()).execute(&mut *tx).await?;
    if taken.rows_affected() == 1 {
        return Ok(None);
    }
    let (state, answer) = read(tx, operation, key).await?;
    if state == "undone" {
        return Err(StoreError::Undone { operation, key: key.to_owned() });
    }
    answer.map(Some).ok_or_else(|| corrupt(format!("{operation} under {key} has no answer")))
}

async fn finish(tx: &mut AnyConnection, operation: &'static str, key: &str, answer: String) -> Result<(), StoreError> {
    sqlx::query("UPDATE initiate_operations SET answer = $1 WHERE operation = $2 AND operation_key = $3")
        .bind(answer)
        .bind(operation)
        .bind(key.to_owned())
        .execute(tx)
        .await?;
    Ok(())
}

/// Leaves the tombstone. Tells whether this call did, and what the step had been answered, if it came.
async fn bury(
    tx: &mut AnyConnection,
    operation: &'static str,
    key: &str,
    by: &str,
) -> Result<(bool, Option<String>), StoreError> {
    let insert = "INSERT INTO initiate_operations (operation, operation_key, state, undone_by) \
                  VALUES ($1, $2, 'undone', $3) ON CONFLICT DO NOTHING";
    let query = sqlx::query(insert).bind(operation).bind(key.to_owned()).bind(by.to_owned());
    if query.execute(&mut *tx).await?.rows_affected() == 1 {
        return Ok((true, None));
    }
    let update = "UPDATE initiate_operations SET state = 'undone', undone_by = $1 \
                  WHERE operation = $2 AND operation_key = $3 AND state = 'done'";
    let query = sqlx::query(update).bind(by.to_owned()).bind(operation).bind(key.to_owned());
    let first = query.execute(&mut *tx).await?.rows_affected() == 1;
    let (_, answer) = read(tx, operation, key).await?;
    Ok((first, answer))
}

async fn read(
    tx: &mut AnyConnection,
    operation: &'static str,
    key: &str,
) -> Result<(String, Option<String>), StoreError> {
    let select = "SELECT state, answer FROM initiate_operations WHERE operation = $1 AND operation_key = $2";
    Ok(sqlx::query_as(select).bind(operation).bind(key.to_owned()).fetch_one(tx).await?)
}
