//! The shop's tables, made once, however many processes start at the same time.

use sqlx::Executor as _;

use super::{Shop, ShopError};

/// The versions of the schema, oldest first.
const MIGRATIONS: [&str; 1] = [include_str!("../../migrations/0001_shop.sql")];
/// The advisory lock on Postgres, for this schema alone.
const LOCK: &str = "SELECT pg_advisory_xact_lock(7281964505183346)";

impl Shop {
    /// Brings the tables to the present version.
    ///
    /// # Errors
    /// When the database refuses.
    pub async fn migrate(&self) -> Result<(), ShopError> {
        let sqlite = self.sqlite;
        self.transaction(move |tx| {
            Box::pin(async move {
                // On SQLite the transaction holds the only write lock already.
                if !sqlite {
                    tx.execute(LOCK).await?;
                }
                tx.execute("CREATE TABLE IF NOT EXISTS shop_schema (version BIGINT PRIMARY KEY)").await?;
                let done: (i64,) = sqlx::query_as("SELECT count(*) FROM shop_schema").fetch_one(&mut *tx).await?;
                for (version, sql) in (1_i64..).zip(MIGRATIONS).skip(usize::try_from(done.0).unwrap_or(usize::MAX)) {
                    for statement in sql.split(";\n").filter(|statement| !statement.trim().is_empty()) {
                        tx.execute(statement).await?;
                    }
                    sqlx::query("INSERT INTO shop_schema VALUES ($1)").bind(version).execute(&mut *tx).await?;
                }
                Ok(())
            })
        })
        .await
    }
}
