//! Migrations: embedded, forward only, under the write lock, so that any number of processes may open
//! the journal at once.

use saga_core::journal::JournalError;
use sqlx::{Executor as _, Row as _, SqliteConnection};

use crate::error::journal_error;

/// The migrations in order; the version of each is its place, counted from one.
const MIGRATIONS: &[&str] = &[include_str!("../migrations/0001_tables.sql")];
const DOING: &str = "migrating the schema";

/// Brings the schema to the newest version. Runs within a transaction of the caller.
pub(crate) async fn migrate(connection: &mut SqliteConnection) -> Result<(), JournalError> {
    let failed = journal_error(DOING);
    connection
        .execute(
            "CREATE TABLE IF NOT EXISTS saga_schema_version (version INTEGER PRIMARY KEY, migrated_at TEXT NOT NULL \
             DEFAULT CURRENT_TIMESTAMP)",
        )
        .await
        .map_err(&failed)?;
    let found = version(connection).await?;
    for (nth, migration) in MIGRATIONS.iter().enumerate() {
        let version = as_version(nth + 1);
        if version > found {
            connection.execute(*migration).await.map_err(&failed)?;
            sqlx::query("INSERT INTO saga_schema_version (version) VALUES (?)")
                .bind(version)
                .execute(&mut *connection)
                .await
                .map_err(&failed)?;
        }
    }
    // No lease has this epoch. The write is for its refusal: a file that cannot be written is found out
    // now, and not with the first saga.
    connection.execute("DELETE FROM saga_lease WHERE epoch = 0").await.map(drop).map_err(failed)
}

/// The version that is there.
///
/// # Errors
/// [`JournalError::NewerSchema`] when it is newer than this library.
async fn version(connection: &mut SqliteConnection) -> Result<i64, JournalError> {
    let failed = journal_error(DOING);
    let there = "SELECT count(*) AS there FROM sqlite_master WHERE name = 'saga_schema_version'";
    let row = sqlx::query(there).fetch_one(&mut *connection).await.map_err(&failed)?;
    if row.try_get::<i64, _>("there").map_err(&failed)? == 0 {
        return Ok(0);
    }
    let newest = "SELECT coalesce(max(version), 0) AS version FROM saga_schema_version";
    let row = sqlx::query(newest).fetch_one(connection).await.map_err(&failed)?;
    let (found, known) = (row.try_get("version").map_err(&failed)?, as_version(MIGRATIONS.len()));
    if found > known {
        return Err(JournalError::NewerSchema { found, known });
    }
    Ok(found)
}

fn as_version(nth: usize) -> i64 {
    i64::try_from(nth).unwrap_or(i64::MAX)
}
