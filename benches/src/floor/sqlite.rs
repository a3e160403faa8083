//! The floor in an SQLite file: each batch is one transaction of some statements, which read their rows from one JSON
//! parameter each.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use serde_json::{Value, json};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Executor as _, SqliteConnection};

use super::{Queue, Write, answer, next_batch};

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS lease (epoch INTEGER PRIMARY KEY, fenced_at INTEGER) STRICT;
    CREATE TABLE IF NOT EXISTS saga (saga_id TEXT PRIMARY KEY, definition TEXT NOT NULL, key TEXT NOT NULL,
        created_at INTEGER NOT NULL, ended INTEGER, UNIQUE (definition, key)) STRICT, WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS turn (saga_id TEXT NOT NULL, seq INTEGER NOT NULL, epoch INTEGER NOT NULL,
        nonce INTEGER NOT NULL, at INTEGER NOT NULL, body TEXT NOT NULL, PRIMARY KEY (saga_id, seq))
        STRICT, WITHOUT ROWID;
    INSERT OR IGNORE INTO lease VALUES (1, NULL)";
const HOLD: &str = "SELECT 1 FROM lease WHERE epoch = 1 AND fenced_at IS NULL";
const BEGIN: &str = "INSERT INTO saga (saga_id, definition, key, created_at)
    SELECT value ->> 0, 'noop', value ->> 1, unixepoch('subsec') * 1000 FROM json_each(?1)";
const WRITE: &str = "INSERT INTO turn (saga_id, seq, epoch, nonce, at, body)
    SELECT value ->> 0, value ->> 1, 1, value ->> 1, unixepoch('subsec') * 1000, value ->> 2 FROM json_each(?1)";
const END: &str = "UPDATE saga SET ended = 1 WHERE saga_id IN (SELECT value FROM json_each(?1))";

/// Opens the file, and creates the tables if need be.
pub(super) async fn connect(file: &Path) -> Result<SqliteConnection, sqlx::Error> {
    let options = SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .disable_statement_logging();
    let mut connection = options.connect().await?;
    connection.execute(SCHEMA).await?;
    Ok(connection)
}

/// Writes what arrives, for as long as somebody can send.
pub(super) async fn write_all(mut connection: SqliteConnection, items: Queue, trips: Arc<AtomicU64>, batch_max: usize) {
    while let Some((writes, replies)) = next_batch(&items, batch_max).await {
        match write(&mut connection, &writes).await {
            Ok(()) => answer(replies, &trips),
            Err(error) => return eprintln!("the floor: {error}"),
        }
    }
}

async fn write(connection: &mut SqliteConnection, writes: &[Write]) -> Result<(), sqlx::Error> {
    let list = |rows: Vec<Value>| Value::from(rows).to_string();
    let id = |write: &Write| write.saga.simple().to_string();
    let begun: Vec<Value> =
        writes.iter().filter_map(|write| write.begins.as_ref().map(|key| json!([id(write), key]))).collect();
    let turns = writes.iter().map(|write| json!([id(write), write.seq, &*write.body])).collect();
    let ended: Vec<Value> = writes.iter().filter(|write| write.ends).map(|write| json!(id(write))).collect();
    connection.execute("BEGIN IMMEDIATE").await?;
    sqlx::query(HOLD).fetch_one(&mut *connection).await?;
    if !begun.is_empty() {
        sqlx::query(BEGIN).bind(list(begun)).execute(&mut *connection).await?;
    }
    sqlx::query(WRITE).bind(list(turns)).execute(&mut *connection).await?;
    if !ended.is_empty() {
        sqlx::query(END).bind(list(ended)).execute(&mut *connection).await?;
    }
    connection.execute("COMMIT").await?;
    Ok(())
}
