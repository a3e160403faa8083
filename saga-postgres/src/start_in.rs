//! Starting a saga inside the caller's own transaction.

use saga_core::engine::{StartError, prepare_start};
use saga_core::journal::{JournalError, StartReceipt};
use saga_core::{Checkpoint, Definition, SagaId};
use sqlx::PgConnection;

use crate::error::Failure;
use crate::journal::{PostgresJournal, bind_start, receipts};

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

/// Starts a saga inside an open transaction of the caller, on the journal's own database: the saga
/// exists if and only if that transaction commits. A worker then claims it, within its poll interval.
///
/// Starting again under the same key and input returns the saga that is there.
///
/// ```no_run
/// # use saga_core::{Definition, step_fn};
/// # use saga_postgres::{PostgresJournal, start_in};
/// # async fn example(journal: &PostgresJournal, pool: sqlx::PgPool, ship: Definition<i64, ()>) -> Result<(), Box<dyn std::error::Error>> {
/// let mut tx = pool.begin().await?;
/// sqlx::query("INSERT INTO orders (id) VALUES ($1)").bind(17_i64).execute(&mut *tx).await?;
/// start_in(journal, &mut tx, &ship, "order-17", &17).await?;
/// tx.commit().await?;
/// # Ok(()) }
/// ```
///
/// # Errors
/// See [`StartInError`].
pub async fn start_in<I: Checkpoint, O>(
    journal: &PostgresJournal,
    transaction: &mut PgConnection,
    definition: &Definition<I, O>,
    key: &str,
    input: &I,
) -> Result<SagaId, StartInError> {
    let new = prepare_start(definition, key, input)?;
    let failed = |error: sqlx::Error| Failure::from(error).into_journal_error("starting a saga", None);
    // The connection is the host's, perhaps behind a proxy: leave no prepared statement on it.
    let query = bind_start(journal.sql().start.query(false), None, std::slice::from_ref(&new));
    let taken = query.fetch_all(transaction).await.map_err(failed)?;
    let receipt = receipts(std::slice::from_ref(&new), &taken).map_err(failed)?.pop();
    match receipt {
        Some(StartReceipt::Exists(existing)) if existing.input != new.input => {
            Err(StartError::KeyConflict { definition: existing.definition, key: existing.key, existing: existing.id }
                .into())
        }
        Some(StartReceipt::Exists(existing)) => Ok(existing.id),
        Some(StartReceipt::Created) | None => Ok(new.id),
    }
}
