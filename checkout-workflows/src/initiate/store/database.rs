//! The database below all stores: its pool, its transactions, its schema.

use std::future::Future;
use std::pin::Pin;

use chrono::{DateTime, Utc};
use sqlx::any::{AnyPoolOptions, AnyRow};
use sqlx::pool::PoolConnection;
use sqlx::{Any, AnyConnection, AnyPool, Executor as _, Row as _, Transaction};

use super::error::{StoreError, corrupt};
use crate::money::{Currency, Money};

/// The versions of the schema, oldest first.
const MIGRATIONS: [&str; 1] = [include_str!("../../../migrations/0001_initiate.sql")];
/// The advisory lock on Postgres, for this schema alone.
const LOCK: &str = "SELECT pg_advisory_xact_lock(7281964505183347)";
/// Connections of one process: a step holds one for a few statements.
const CONNECTIONS_MAX: u32 = 8;

/// Work within a transaction.
pub(super) type Work<'t, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 't>>;

/// The database. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Database {
    pool: AnyPool,
    begin: &'static str,
    sqlite: bool,
}

impl Database {
    pub(super) async fn open(url: &str) -> Result<Self, StoreError> {
        sqlx::any::install_default_drivers();
        let sqlite = url.starts_with("sqlite:");
        let pool = AnyPoolOptions::new()
            .max_connections(CONNECTIONS_MAX)
            .after_connect(move |connection, _| {
                Box::pin(async move {
                    if sqlite {
                        let durable =
                            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA busy_timeout = 10000";
                        connection.execute(durable).await?;
                    }
                    Ok(())
                })
            })
            .connect(url)
            .await?;
        // SQLite must take its write lock at the beginning: it cannot be waited for later.
        Ok(Self { pool, begin: if sqlite { "BEGIN IMMEDIATE" } else { "BEGIN" }, sqlite })
    }

    pub(super) fn pool(&self) -> &AnyPool {
        &self.pool
    }

    /// Runs the work in one transaction, in a task of its own: a step's future may be dropped at any
    /// point, and a transaction that is cancelled while it begins would be left open in the pool.
    pub(super) async fn transaction<T: Send + 'static>(
        &self,
        work: impl for<'t> FnOnce(&'t mut AnyConnection) -> Work<'t, T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (pool, begin) = (self.pool.clone(), self.begin);
        let task = tokio::spawn(async move {
            let mut transaction: Transaction<'static, Any> = pool.begin_with(begin).await?;
            let answer = work(&mut transaction).await?;
            transaction.commit().await?;
            Ok(answer)
        });
        let stopped = |error: tokio::task::JoinError| sqlx::Error::Io(std::io::Error::other(error));
        task.await.map_err(stopped)?
    }

    pub(super) async fn migrate(&self) -> Result<(), StoreError> {
        let sqlite = self.sqlite;
        self.transaction(move |tx| {
            Box::pin(async move {
                // On SQLite the transaction holds the only write lock already.
                if !sqlite {
                    tx.execute(LOCK).await?;
                }
                tx.execute("CREATE TABLE IF NOT EXISTS initiate_schema (version BIGINT PRIMARY KEY)").await?;
                let done: (i64,) = sqlx::query_as("SELECT count(*) FROM initiate_schema").fetch_one(&mut *tx).await?;
                for (version, sql) in (1_i64..).zip(MIGRATIONS).skip(usize::try_from(done.0).unwrap_or(usize::MAX)) {
                    for statement in sql.split(";\n").filter(|statement| !statement.trim().is_empty()) {
                        tx.execute(statement).await?;
                    }
                    sqlx::query("INSERT INTO initiate_schema VALUES ($1)").bind(version).execute(&mut *tx).await?;
                }
                Ok(())
            })
        })
        .await
    }

    /// A connection to read with, outside of a transaction.
    pub(super) async fn connection(&self) -> Result<PoolConnection<Any>, StoreError> {
        Ok(self.pool.acquire().await?)
    }
}

/// The rows with this id.
pub(super) async fn rows(
    connection: &mut AnyConnection,
    select: &'static str,
    id: &str,
) -> Result<Vec<AnyRow>, StoreError> {
    Ok(sqlx::query(select).bind(id.to_owned()).fetch_all(connection).await?)
}

/// The row with this id, if there is one.
pub(super) async fn row(
    connection: &mut AnyConnection,
    select: &'static str,
    id: &str,
) -> Result<Option<AnyRow>, StoreError> {
    Ok(sqlx::query(select).bind(id.to_owned()).fetch_optional(connection).await?)
}

/// The row with this id, which must be there.
pub(super) async fn existing(
    tx: &mut AnyConnection,
    entity: &'static str,
    select: &'static str,
    id: &str,
) -> Result<AnyRow, StoreError> {
    row(tx, select, id).await?.ok_or_else(|| StoreError::NotFound { entity, id: id.to_owned() })
}

/// The amount in this column of a row that has one currency.
pub(super) fn money(row: &AnyRow, column: &'static str) -> Result<Money, StoreError> {
    let currency = Currency::from_code(&row.try_get::<String, _>("currency")?).map_err(corrupt)?;
    Ok(Money::new(row.try_get(column)?, currency))
}

/// The time in this column, stored in microseconds since 1970.
pub(super) fn time(row: &AnyRow, column: &'static str) -> Result<DateTime<Utc>, StoreError> {
    let micros: i64 = row.try_get(column)?;
    DateTime::from_timestamp_micros(micros).ok_or_else(|| corrupt(format!("{column} {micros}")))
}

/// The JSON in a column.
pub(super) fn json<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(corrupt)
}

/// As JSON for a column.
pub(super) fn to_json(value: &impl serde::Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(corrupt)
}
