//! Starts: by a worker, by a client, or inside the caller's own transaction.

use std::collections::{HashMap, HashSet};

use saga_core::engine::{StartError, prepare_start};
use saga_core::journal::{JournalError, Lease, NewSaga, StartReceipt, check_ids};
use saga_core::{Checkpoint, Definition, SagaId};
use sqlx::{AssertSqlSafe, Row as _, SqliteConnection};
use uuid::Uuid;

use crate::append::hold_lease;
use crate::error::journal_error;
use crate::sql::Bound;
use crate::{rows, sql};

const DOING: &str = "starting sagas";

/// Creates sagas within a transaction of the caller.
pub(crate) async fn start(
    connection: &mut SqliteConnection,
    lease: Option<Lease>,
    sagas: &[NewSaga],
) -> Result<Vec<StartReceipt>, JournalError> {
    check_ids(sagas)?;
    let now = match lease {
        Some(lease) => hold_lease(connection, lease, DOING).await?,
        None => now(connection).await.map_err(journal_error(DOING))?,
    };
    create(connection, lease, sagas, now).await
}

/// SQLite's time, in microseconds.
pub(crate) async fn now(connection: &mut SqliteConnection) -> Result<i64, sqlx::Error> {
    let now = format!("SELECT {} AS now", sql::NOW);
    sqlx::query(AssertSqlSafe(now)).fetch_one(connection).await?.try_get("now")
}

async fn create(
    connection: &mut SqliteConnection,
    lease: Option<Lease>,
    sagas: &[NewSaga],
    now: i64,
) -> Result<Vec<StartReceipt>, JournalError> {
    let created = insert(connection, lease, sagas, now).await.map_err(journal_error(DOING))?;
    let mut receipts = Vec::with_capacity(sagas.len());
    for saga in sagas {
        receipts.push(if created.get(&saga.id.as_uuid()) == Some(&(&*saga.definition, &*saga.key)) {
            StartReceipt::Created
        } else {
            existing(connection, saga)
                .await
                .map_err(journal_error(DOING))?
                .ok_or_else(|| JournalError::id_taken(saga))?
        });
    }
    Ok(receipts)
}

/// Inserts what is new: the ids, each with the key that it was created under.
pub(crate) async fn insert<'s>(
    connection: &mut SqliteConnection,
    lease: Option<Lease>,
    sagas: &'s [NewSaga],
    now: i64,
) -> Result<HashMap<Uuid, (&'s str, &'s str)>, sqlx::Error> {
    let mut created: HashSet<Uuid> = HashSet::with_capacity(sagas.len());
    // First as if all were new, as they nearly always are: see `append::insert`.
    for (query, chunk) in sql::CREATE_ALL.chunks(sagas) {
        match bind(query, chunk, now).execute(&mut *connection).await {
            Ok(_) => created.extend(chunk.iter().map(|saga| saga.id.as_uuid())),
            Err(error) if sql::is_violation(&error) => {
                for (query, chunk) in sql::CREATE.chunks(chunk) {
                    for row in bind(query, chunk, now).fetch_all(&mut *connection).await? {
                        created.insert(row.try_get("saga_id")?);
                    }
                }
            }
            Err(error) => return Err(error),
        }
    }
    // One saga may be there twice: the first one counts.
    let fresh: Vec<&NewSaga> = sagas.iter().filter(|saga| created.remove(&saga.id.as_uuid())).collect();
    let epoch = lease.map(|lease| lease.epoch.0);
    for (query, chunk) in sql::FIRST_TURN.chunks(&fresh) {
        let query = chunk
            .iter()
            .fold(query, |query, saga| query.bind(saga.id.as_uuid()).bind(saga.nonce).bind(saga.body.clone()));
        query.bind(now).bind(epoch).execute(&mut *connection).await?;
    }
    for (query, chunk) in sql::ENTER.chunks(&fresh) {
        let query = chunk
            .iter()
            .fold(query, |query, saga| query.bind(saga.id.as_uuid()).bind(saga.definition.clone()).bind(saga.version));
        query.bind(epoch).bind(epoch.is_none().then_some(now)).execute(&mut *connection).await?;
    }
    Ok(fresh.iter().map(|saga| (saga.id.as_uuid(), (&*saga.definition, &*saga.key))).collect())
}

fn bind(query: Bound, sagas: &[NewSaga], now: i64) -> Bound {
    let bound = sagas.iter().fold(query, |query, saga| {
        let query = query.bind(saga.id.as_uuid()).bind(saga.definition.clone()).bind(saga.version);
        query.bind(saga.key.clone()).bind(saga.input.as_bytes().to_vec())
    });
    bound.bind(now)
}

/// The saga that has the key: perhaps this very one, from an earlier try. None when the id is another saga's.
async fn existing(connection: &mut SqliteConnection, saga: &NewSaga) -> Result<Option<StartReceipt>, sqlx::Error> {
    let query = sqlx::query(sql::BY_KEY).bind(saga.definition.clone()).bind(saga.key.clone());
    let header = query.fetch_optional(&mut *connection).await?.as_ref().map(rows::header).transpose()?;
    let Some(header) = header else { return Ok(None) };
    if header.id == saga.id {
        return Ok(Some(StartReceipt::Created));
    }
    let other = sqlx::query(sql::HEADER).bind(saga.id.as_uuid()).fetch_optional(connection).await?;
    Ok(other.is_none().then_some(StartReceipt::Exists(header)))
}

/// A saga was not started in the caller's transaction.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartInError {
    /// The key or the input cannot be used, or the key is taken by a saga with another input.
    #[error("the saga cannot be started")]
    Start {
        /// Why.
        #[from]
        source: StartError,
    },
    /// The statement failed: roll the transaction back.
    #[error("the saga was not written: roll the transaction back")]
    Journal {
        /// Why.
        #[from]
        source: JournalError,
    },
}

/// Starts a saga inside an open transaction of the caller, on the file that holds the journal: the
/// saga exists if and only if that transaction commits. A worker then claims it, within its poll
/// interval. How durable the commit is, is the caller's connection's choice (`synchronous`).
///
/// Starting again under the same key and input returns the saga that is there.
///
/// ```no_run
/// # use saga_core::{Definition, step_fn};
/// # use saga_sqlite::start_in;
/// # async fn example(pool: sqlx::SqlitePool, ship: Definition<i64, ()>) -> Result<(), Box<dyn std::error::Error>> {
/// let mut tx = pool.begin().await?;
/// sqlx::query("INSERT INTO orders (id) VALUES (?)").bind(17_i64).execute(&mut *tx).await?;
/// start_in(&mut tx, &ship, "order-17", &17).await?;
/// tx.commit().await?;
/// # Ok(()) }
/// ```
///
/// # Errors
/// See [`StartInError`].
pub async fn start_in<I: Checkpoint, O>(
    transaction: &mut SqliteConnection,
    definition: &Definition<I, O>,
    key: &str,
    input: &I,
) -> Result<SagaId, StartInError> {
    let new = prepare_start(definition, key, input)?;
    let receipt = start(transaction, None, std::slice::from_ref(&new)).await?.pop();
    match receipt {
        Some(StartReceipt::Exists(existing)) if existing.input != new.input => {
            Err(StartError::KeyConflict { definition: existing.definition, key: existing.key, existing: existing.id }
                .into())
        }
        Some(StartReceipt::Exists(existing)) => Ok(existing.id),
        Some(StartReceipt::Created) | None => Ok(new.id),
    }
}
