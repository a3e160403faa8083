//! For participants whose effects are writes in a database of their own: a fence in the same transaction.
//!
//! After the fence of Seata's TCC mode and the sub-transaction barrier of DTM: a repeated call has its effect
//! once; a compensation that comes before its step leaves a tombstone, and the step that comes after it is
//! refused.

use std::time::Duration;

use saga_core::IdempotencyKey;
use sqlx::{Executor as _, PgConnection, Row as _};

/// The table, to be made once in the participant's database, which need not be the journal's.
const TABLE: &str = "CREATE TABLE IF NOT EXISTS saga_fence (
    key   uuid PRIMARY KEY,
    state smallint NOT NULL,
    at    BIGINT NOT NULL,
    left_behind TEXT
)";

/// What a step finds, see [`Fence::enter`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Entry {
    /// Nothing has been done under the key: do it now, in this transaction.
    Fresh,
    /// It was done by an earlier call: do nothing, and answer as then.
    Repeated,
    /// It was undone before it came: refuse (`StepError::rejected`).
    Undone,
}

/// What a compensation finds, see [`Fence::undo`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Undo {
    /// It was done: undo it now, in this transaction.
    Applied,
    /// It never came, and will be refused when it does: there is nothing to undo.
    Null,
    /// It was undone by an earlier call: do nothing.
    Repeated,
}

/// What a probe finds, see [`Fence::close`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Closed {
    /// It was done.
    Applied,
    /// It was not done, or was undone, and is refused when it comes.
    NotApplied,
}

/// What a step finds that is not the first to enter, see [`Fence::recall`].
#[derive(Debug)]
pub(crate) enum Recalled {
    /// It was done by an earlier call, and this was left.
    Done(Option<String>),
    /// It was undone, or refused for good, before it came.
    Undone,
}

/// The fence: one row for each operation, written in the transaction that has the effect.
///
/// ```no_run
/// use saga_core::{StepContext, StepError};
/// use saga_postgres::{Entry, Fence, Undo};
///
/// async fn reserve(pool: &sqlx::PgPool, cx: &StepContext) -> Result<(), StepError> {
///     let mut tx = pool.begin().await?;
///     match Fence::enter(&mut tx, cx.key()).await? {
///         Entry::Fresh => {
///             sqlx::query("UPDATE stock SET free = free - 1").execute(&mut *tx).await?;
///         }
///         Entry::Repeated => {}
///         Entry::Undone => return Err(StepError::rejected("it was undone before it came")),
///     }
///     Ok(tx.commit().await?)
/// }
///
/// async fn release(pool: &sqlx::PgPool, cx: &StepContext) -> Result<(), StepError> {
///     let mut tx = pool.begin().await?;
///     // The key of the step, not the compensation's own.
///     if Fence::undo(&mut tx, cx.step_key()).await? == Undo::Applied {
///         sqlx::query("UPDATE stock SET free = free + 1").execute(&mut *tx).await?;
///     }
///     Ok(tx.commit().await?)
/// }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Fence;

impl Fence {
    /// Makes the table if it is not there.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn install(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        connection.execute(TABLE).await.map(drop)
    }

    /// Enters a step's operation. Do what [`Entry`] says in the same transaction.
    ///
    /// # Errors
    /// When the database fails: roll back.
    pub async fn enter(transaction: &mut PgConnection, key: IdempotencyKey) -> Result<Entry, sqlx::Error> {
        if insert(transaction, key, DONE).await? {
            return Ok(Entry::Fresh);
        }
        Ok(if state(transaction, key).await? == DONE { Entry::Repeated } else { Entry::Undone })
    }

    /// Enters a compensation, by the key of the step that it undoes. Do what [`Undo`] says in the same
    /// transaction.
    ///
    /// # Errors
    /// When the database fails: roll back.
    pub async fn undo(transaction: &mut PgConnection, step_key: IdempotencyKey) -> Result<Undo, sqlx::Error> {
        if insert(transaction, step_key, UNDONE).await? {
            return Ok(Undo::Null);
        }
        if state(transaction, step_key).await? == UNDONE {
            return Ok(Undo::Repeated);
        }
        let undo = sqlx::query("UPDATE saga_fence SET state = $1 WHERE key = $2");
        undo.bind(UNDONE).bind(step_key.as_uuid()).execute(transaction).await?;
        Ok(Undo::Applied)
    }

    /// Tells whether the step was done, and makes sure that it will not be if it was not: an answer to a
    /// probe that stays true.
    ///
    /// # Errors
    /// When the database fails: roll back.
    pub async fn close(transaction: &mut PgConnection, step_key: IdempotencyKey) -> Result<Closed, sqlx::Error> {
        let fresh = insert(transaction, step_key, UNDONE).await?;
        let applied = !fresh && state(transaction, step_key).await? == DONE;
        Ok(if applied { Closed::Applied } else { Closed::NotApplied })
    }

    /// Enters a step's operation after its writes, with what it leaves for who comes again. False when somebody has
    /// entered it already: roll the writes back, and [`recall`](Self::recall).
    pub(crate) async fn leave(
        transaction: &mut PgConnection,
        key: IdempotencyKey,
        left: &str,
    ) -> Result<bool, sqlx::Error> {
        let leave = sqlx::query(
            "INSERT INTO saga_fence (key, state, at, left_behind) \
             VALUES ($1, $2, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint, $3) ON CONFLICT DO NOTHING",
        );
        let left = leave.bind(key.as_uuid()).bind(DONE).bind(left.to_owned()).execute(transaction).await?;
        Ok(left.rows_affected() == 1)
    }

    /// What has become of a step's operation so far, and what it left.
    pub(crate) async fn recall(
        connection: &mut PgConnection,
        key: IdempotencyKey,
    ) -> Result<Option<Recalled>, sqlx::Error> {
        let recall = sqlx::query("SELECT state, left_behind FROM saga_fence WHERE key = $1").bind(key.as_uuid());
        let Some(row) = recall.fetch_optional(connection).await? else { return Ok(None) };
        let done = row.try_get::<i16, _>("state")? == DONE;
        Ok(Some(if done { Recalled::Done(row.try_get("left_behind")?) } else { Recalled::Undone }))
    }

    /// What a step left.
    pub(crate) async fn output(
        transaction: &mut PgConnection,
        key: IdempotencyKey,
    ) -> Result<Option<String>, sqlx::Error> {
        let left = sqlx::query("SELECT left_behind FROM saga_fence WHERE key = $1").bind(key.as_uuid());
        left.fetch_one(transaction).await?.try_get("left_behind")
    }

    /// Forgets operations that were entered longer ago than this, and tells how many. Keep them for longer
    /// than any request can be on its way, and than any saga is retried.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn forget(connection: &mut PgConnection, older_than: Duration) -> Result<u64, sqlx::Error> {
        let age = i64::try_from(older_than.as_micros()).unwrap_or(i64::MAX);
        let forget = sqlx::query(
            "DELETE FROM saga_fence WHERE at < (extract(epoch FROM clock_timestamp()) * 1000000)::bigint - $1",
        );
        Ok(forget.bind(age).execute(connection).await?.rows_affected())
    }
}

const DONE: i16 = 1;
const UNDONE: i16 = 2;

/// Takes the key, if nobody has. Waits for a transaction that is about to.
async fn insert(connection: &mut PgConnection, key: IdempotencyKey, state: i16) -> Result<bool, sqlx::Error> {
    let insert = "INSERT INTO saga_fence (key, state, at) VALUES ($1, $2, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint) ON CONFLICT DO NOTHING";
    Ok(sqlx::query(insert).bind(key.as_uuid()).bind(state).execute(connection).await?.rows_affected() == 1)
}

async fn state(connection: &mut PgConnection, key: IdempotencyKey) -> Result<i16, sqlx::Error> {
    let state = sqlx::query("SELECT state FROM saga_fence WHERE key = $1 FOR UPDATE").bind(key.as_uuid());
    state.fetch_one(connection).await?.try_get("state")
}
