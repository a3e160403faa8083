//! The floor on Postgres: each batch is one statement.
//!
//! Rows: a saga inserted, a row for each turn with the engine's own body, the saga finished by an update, and
//! the lease's row held in each batch. The plan is pinned to the primary keys.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, Executor as _, PgConnection};
use uuid::Uuid;

use super::{Queue, answer, next_batch};

const SCHEMA: &str = "
    CREATE SCHEMA floor;
    CREATE TABLE floor.lease (epoch bigint PRIMARY KEY, fenced_at timestamptz);
    CREATE TABLE floor.saga (saga_id uuid PRIMARY KEY, definition text NOT NULL, key text NOT NULL,
        created_at timestamptz NOT NULL, ended smallint, UNIQUE (definition, key)) WITH (fillfactor = 80);
    CREATE TABLE floor.turn (saga_id uuid NOT NULL, seq integer NOT NULL, epoch bigint NOT NULL,
        nonce bigint NOT NULL, at timestamptz NOT NULL, body text NOT NULL, PRIMARY KEY (saga_id, seq));
    INSERT INTO floor.lease VALUES (1)";

const WRITE: &str = "
    WITH held AS (SELECT 1 FROM floor.lease WHERE epoch = 1 AND fenced_at IS NULL FOR KEY SHARE),
    begun AS (INSERT INTO floor.saga (saga_id, definition, key, created_at)
        SELECT unnest($1::uuid[]), 'noop', unnest($2::text[]), clock_timestamp()),
    written AS (INSERT INTO floor.turn (saga_id, seq, epoch, nonce, at, body)
        SELECT unnest($3::uuid[]), unnest($4::integer[]), 1, unnest($5::bigint[]), clock_timestamp(), unnest($6::text[])),
    ended AS (UPDATE floor.saga s SET ended = 1 WHERE s.saga_id = ANY ($7::uuid[]))
    SELECT count(*) FROM held";

/// Creates the tables if need be, and connects so many times.
pub(super) async fn connect(url: &str, writers: usize) -> Result<Vec<PgConnection>, Box<dyn std::error::Error>> {
    let mut connection = PgConnection::connect(url).await?;
    let there: bool =
        sqlx::query_scalar("SELECT to_regnamespace('floor') IS NOT NULL").fetch_one(&mut connection).await?;
    if !there {
        connection.execute(SCHEMA).await?;
    }
    let pinned = [
        ("enable_seqscan", "off"),
        ("enable_hashjoin", "off"),
        ("enable_mergejoin", "off"),
        // Otherwise each small batch would be planned anew, for its very arrays.
        ("plan_cache_mode", "force_generic_plan"),
    ];
    let options = url.parse::<PgConnectOptions>()?.options(pinned).disable_statement_logging();
    let mut connections = Vec::with_capacity(writers);
    for _ in 0..writers {
        connections.push(PgConnection::connect_with(&options).await?);
    }
    Ok(connections)
}

/// Writes what arrives, for as long as somebody can send.
pub(super) async fn write_all(mut connection: PgConnection, items: Queue, trips: Arc<AtomicU64>, batch_max: usize) {
    while let Some((writes, replies)) = next_batch(&items, batch_max).await {
        let begun: (Vec<Uuid>, Vec<String>) =
            writes.iter().filter_map(|write| Some((write.saga, write.begins.clone()?))).unzip();
        let query = sqlx::query(WRITE)
            .bind(begun.0)
            .bind(begun.1)
            .bind(writes.iter().map(|write| write.saga).collect::<Vec<_>>())
            .bind(writes.iter().map(|write| write.seq).collect::<Vec<_>>())
            .bind(writes.iter().map(|write| i64::from(write.seq)).collect::<Vec<_>>())
            .bind(writes.iter().map(|write| &*write.body).collect::<Vec<_>>())
            .bind(writes.iter().filter(|write| write.ends).map(|write| write.saga).collect::<Vec<_>>());
        match query.execute(&mut connection).await {
            Ok(_) => answer(replies, &trips),
            Err(error) => eprintln!("the floor: {error}"),
        }
    }
}
