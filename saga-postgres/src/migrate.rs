//! Migrations: embedded, forward only, in one transaction under one lock, so that any number of
//! processes may open the journal at once.

use saga_core::journal::JournalError;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, Row as _};

use crate::error::Failure;
use crate::schema::SchemaName;

/// The migrations in order; the version of each is its place, counted from one.
const MIGRATIONS: &[(&str, &str)] = &[
    ("tables", include_str!("../migrations/0001_tables.sql")),
    ("functions", include_str!("../migrations/0002_functions.sql")),
    ("effects", include_str!("../migrations/0003_effects.sql")),
    ("fast path", include_str!("../migrations/0004_fast_path.sql")),
    ("claims", include_str!("../migrations/0005_claims.sql")),
    ("plans", include_str!("../migrations/0006_plans.sql")),
    ("join order", include_str!("../migrations/0007_join_order.sql")),
];

/// The newest schema version that this library knows.
#[expect(clippy::cast_possible_wrap, reason = "a handful")]
pub(crate) const NEWEST: i64 = MIGRATIONS.len() as i64;

/// Any number will do, as long as it is always the same.
const LOCK: i64 = 0x5a6a_0001;

/// The SQL that brings an empty database to the newest version.
pub(crate) fn sql(schema: &SchemaName) -> String {
    let mut sql = preamble(schema);
    for (nth, (name, migration)) in MIGRATIONS.iter().enumerate() {
        sql.push_str(&format!("\n-- Migration {}: {name}\n{}", nth + 1, schema.render(migration)));
        sql.push_str(&format!("{};\n", record(schema, nth + 1, name)));
    }
    sql
}

fn preamble(schema: &SchemaName) -> String {
    schema.render(
        "CREATE SCHEMA IF NOT EXISTS {schema};\n\
         CREATE TABLE IF NOT EXISTS {schema}.schema_version (\n    \
             version integer PRIMARY KEY,\n    name text NOT NULL,\n    \
             migrated_at timestamptz NOT NULL DEFAULT clock_timestamp()\n);\n",
    )
}

fn record(schema: &SchemaName, version: usize, name: &str) -> String {
    schema.render(&format!("INSERT INTO {{schema}}.schema_version (version, name) VALUES ({version}, '{name}')"))
}

/// Brings the schema to the newest version.
pub(crate) async fn migrate(connection: &mut PgConnection, schema: &SchemaName) -> Result<(), JournalError> {
    // Looked at first without a lock: a role without the right to create anything can still open an
    // up-to-date journal.
    if check(connection, schema).await? == NEWEST {
        return Ok(());
    }
    run(connection, schema).await.map_err(failed)?;
    match check(connection, schema).await? {
        NEWEST => Ok(()),
        found => Err(outdated(found)),
    }
}

async fn run(connection: &mut PgConnection, schema: &SchemaName) -> Result<(), sqlx::Error> {
    let mut transaction = connection.begin().await?;
    sqlx::query("SELECT pg_advisory_xact_lock($1)").persistent(false).bind(LOCK).execute(&mut *transaction).await?;
    transaction.execute(AssertSqlSafe(preamble(schema))).await?;
    let done = current(&mut transaction, schema).await?;
    for (nth, (name, migration)) in MIGRATIONS.iter().enumerate() {
        if usize::try_from(done).is_ok_and(|done| nth >= done) {
            transaction.execute(AssertSqlSafe(schema.render(migration))).await?;
            transaction.execute(AssertSqlSafe(record(schema, nth + 1, name))).await?;
        }
    }
    transaction.commit().await
}

/// The schema's version: zero when it is not there.
///
/// # Errors
/// [`JournalError::NewerSchema`] when it is newer than this library.
pub(crate) async fn check(connection: &mut PgConnection, schema: &SchemaName) -> Result<i64, JournalError> {
    let found = current(connection, schema).await.map_err(failed)?;
    if found > NEWEST {
        return Err(JournalError::NewerSchema { found, known: NEWEST });
    }
    Ok(found)
}

async fn current(connection: &mut PgConnection, schema: &SchemaName) -> Result<i64, sqlx::Error> {
    let there = sqlx::query("SELECT to_regclass($1) IS NOT NULL AS there")
        .persistent(false)
        .bind(format!("\"{}\".schema_version", schema.as_str()))
        .fetch_one(&mut *connection)
        .await?;
    if !there.try_get::<bool, _>("there")? {
        return Ok(0);
    }
    let sql = schema.render("SELECT coalesce(max(version), 0)::bigint AS version FROM {schema}.schema_version");
    sqlx::query(AssertSqlSafe(sql)).persistent(false).fetch_one(connection).await?.try_get("version")
}

pub(crate) fn outdated(found: i64) -> JournalError {
    JournalError::Misconfigured {
        problem: format!(
            "its schema has version {found} and this library needs {NEWEST}: run the migrations \
             (PostgresJournal::migration_sql), or let the journal run them by opening it with migrate(true)"
        ),
        source: None,
    }
}

fn failed(error: sqlx::Error) -> JournalError {
    Failure::from(error).into_journal_error("migrating the schema", None)
}
