//! The gateway's ledger: durable, and idempotent by key. It applies the rules that real gateways have:
//! no capture above the hold, none twice, no void of what was taken.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _, Executor as _, Row as _, SqliteConnection};

/// One authorization and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthorizationRow {
    /// Its id.
    pub id: String,
    /// The idempotency key under which it was made.
    pub key: String,
    /// What the merchant calls it.
    pub reference: String,
    /// `authorized`, `captured`, `voided`, `expired` or `refunded`.
    pub status: String,
    /// What was held.
    pub amount: i64,
    /// What was taken.
    pub captured: i64,
    /// What was paid back.
    pub refunded: i64,
    /// The currency.
    pub currency: String,
    /// The id of the capture, once there was one.
    pub transaction_id: Option<String>,
    /// Until when it can be captured, in microseconds since 1970.
    pub capture_before: i64,
}

/// The ledger failed or refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LedgerError {
    /// The operation is refused, now and for ever.
    #[error("{reason}")]
    Declined {
        /// Why.
        reason: String,
    },
    /// The key was closed before the operation arrived.
    #[error("the key is closed")]
    Closed,
    /// The database failed.
    #[error("the ledger's database failed")]
    Database(#[from] sqlx::Error),
}

fn declined(reason: &str) -> LedgerError {
    LedgerError::Declined { reason: reason.to_owned() }
}

/// The ledger, on a SQLite file with `synchronous=FULL`.
#[derive(Debug)]
pub struct Ledger {
    connection: SqliteConnection,
}

/// How long a hold can be captured: seven days, as with the card schemes.
const LIFETIME: i64 = 7 * 24 * 60 * 60 * 1_000_000;

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS authorizations (
        id TEXT PRIMARY KEY, key TEXT NOT NULL UNIQUE, reference TEXT NOT NULL, token TEXT NOT NULL,
        status TEXT NOT NULL, amount INTEGER NOT NULL, captured INTEGER NOT NULL DEFAULT 0,
        refunded INTEGER NOT NULL DEFAULT 0, currency TEXT NOT NULL, transaction_id TEXT UNIQUE,
        capture_before INTEGER NOT NULL,
        CHECK (captured <= amount AND refunded <= captured)
    );
    CREATE TABLE IF NOT EXISTS operations (
        key TEXT PRIMARY KEY, kind TEXT NOT NULL, status TEXT NOT NULL, result TEXT NOT NULL
    );";

impl Ledger {
    /// Opens the ledger in this file.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub async fn open(path: &Path) -> Result<Self, LedgerError> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .disable_statement_logging();
        let mut connection = options.connect().await?;
        connection.execute(SCHEMA).await?;
        Ok(Self { connection })
    }

    /// What is known of the key: kind, status (`done`, `declined`, `closed`) and the id or reason.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn operation(&mut self, key: &str) -> Result<Option<(String, String)>, LedgerError> {
        let row = sqlx::query("SELECT status, result FROM operations WHERE key = ?").bind(key.to_owned());
        let row = row.fetch_optional(&mut self.connection).await?;
        row.map(|row| Ok((row.try_get("status")?, row.try_get("result")?))).transpose()
    }

    /// Records that the operation is refused: under the same key it always will be.
    ///
    /// # Errors
    /// [`LedgerError::Declined`], once it is recorded.
    pub async fn decline(&mut self, key: &str, kind: &str, reason: &str) -> Result<String, LedgerError> {
        self.replayed(key).await?;
        record(&mut self.connection, key, kind, "declined", reason).await?;
        Err(declined(reason))
    }

    /// Holds an amount.
    ///
    /// # Errors
    /// When the key was refused or closed before.
    pub async fn authorize(
        &mut self,
        key: &str,
        reference: &str,
        token: &str,
        amount: i64,
        currency: &str,
    ) -> Result<String, LedgerError> {
        if let Some(id) = self.replayed(key).await? {
            return Ok(id);
        }
        if amount <= 0 {
            return self.decline(key, "authorize", "the amount must be positive").await;
        }
        let id = format!("auth_{key}");
        let mut tx = self.connection.begin().await?;
        let insert = "INSERT INTO authorizations (id, key, reference, token, status, amount, currency, capture_before) \
                      VALUES (?, ?, ?, ?, 'authorized', ?, ?, ?)";
        sqlx::query(insert)
            .bind(id.clone())
            .bind(key.to_owned())
            .bind(reference.to_owned())
            .bind(token.to_owned())
            .bind(amount)
            .bind(currency.to_owned())
            .bind(now().saturating_add(LIFETIME))
            .execute(&mut *tx)
            .await?;
        record(&mut tx, key, "authorize", "done", &id).await?;
        tx.commit().await?;
        Ok(id)
    }

    /// Takes what is held.
    ///
    /// # Errors
    /// When the key was refused or closed before, or there is nothing to take.
    pub async fn capture(&mut self, key: &str, authorization: &str, amount: i64) -> Result<String, LedgerError> {
        if let Some(id) = self.replayed(key).await? {
            return Ok(id);
        }
        let id = format!("txn_{key}");
        let mut tx = self.connection.begin().await?;
        let taken = sqlx::query(
            "UPDATE authorizations SET status = 'captured', captured = ?1, transaction_id = ?2 \
             WHERE id = ?3 AND status = 'authorized' AND amount >= ?1 AND capture_before > ?4",
        )
        .bind(amount)
        .bind(id.clone())
        .bind(authorization.to_owned())
        .bind(now())
        .execute(&mut *tx)
        .await?;
        if taken.rows_affected() == 0 {
            drop(tx);
            return self.decline(key, "capture", "there is no such hold, or it was used, or has expired").await;
        }
        record(&mut tx, key, "capture", "done", &id).await?;
        tx.commit().await?;
        Ok(id)
    }

    /// Releases a hold of which nothing was taken.
    ///
    /// # Errors
    /// When the key was refused or closed before, or there is nothing to release: what was taken takes a
    /// refund.
    pub async fn void(&mut self, key: &str, authorization: &str) -> Result<String, LedgerError> {
        if let Some(id) = self.replayed(key).await? {
            return Ok(id);
        }
        let id = format!("void_{key}");
        let mut tx = self.connection.begin().await?;
        let release = "UPDATE authorizations SET status = 'voided' WHERE id = ? AND status = 'authorized'";
        let released = sqlx::query(release).bind(authorization.to_owned()).execute(&mut *tx).await?;
        if released.rows_affected() == 0 {
            drop(tx);
            return self.decline(key, "void", "there is nothing to release").await;
        }
        record(&mut tx, key, "void", "done", &id).await?;
        tx.commit().await?;
        Ok(id)
    }

    /// Pays back what was captured in this transaction.
    ///
    /// # Errors
    /// When there is nothing to pay back.
    pub async fn refund(&mut self, key: &str, transaction: &str, amount: i64) -> Result<String, LedgerError> {
        if let Some(id) = self.replayed(key).await? {
            return Ok(id);
        }
        let id = format!("rfnd_{key}");
        let mut tx = self.connection.begin().await?;
        let paid = sqlx::query(
            "UPDATE authorizations SET status = 'refunded', refunded = refunded + ?1 \
             WHERE transaction_id = ?2 AND captured >= refunded + ?1",
        )
        .bind(amount)
        .bind(transaction.to_owned())
        .execute(&mut *tx)
        .await?;
        if paid.rows_affected() == 0 {
            drop(tx);
            return self.decline(key, "refund", "there is nothing to pay back").await;
        }
        record(&mut tx, key, "refund", "done", &id).await?;
        tx.commit().await?;
        Ok(id)
    }

    /// Makes sure that nothing will be done under the key that has not been done yet.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn close(&mut self, key: &str) -> Result<(), LedgerError> {
        sqlx::query("INSERT INTO operations VALUES (?, 'any', 'closed', '') ON CONFLICT DO NOTHING")
            .bind(key.to_owned())
            .execute(&mut self.connection)
            .await?;
        Ok(())
    }

    /// The token of an authorization, by its id or its key.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn token(&mut self, id_or_key: &str) -> Result<String, LedgerError> {
        let row = sqlx::query("SELECT token FROM authorizations WHERE id = ?1 OR key = ?1").bind(id_or_key.to_owned());
        let row = row.fetch_optional(&mut self.connection).await?;
        Ok(row.map(|row| row.try_get("token")).transpose()?.unwrap_or_default())
    }

    /// All authorizations.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn authorizations(&mut self) -> Result<Vec<AuthorizationRow>, LedgerError> {
        let rows = sqlx::query("SELECT * FROM authorizations ORDER BY id").fetch_all(&mut self.connection).await?;
        rows.iter().map(authorization).collect()
    }

    /// The authorization that was made under this key.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn authorization(&mut self, key: &str) -> Result<Option<AuthorizationRow>, LedgerError> {
        let row = sqlx::query("SELECT * FROM authorizations WHERE key = ?").bind(key.to_owned());
        row.fetch_optional(&mut self.connection).await?.as_ref().map(authorization).transpose()
    }

    /// The first answer under this key, if there was one.
    async fn replayed(&mut self, key: &str) -> Result<Option<String>, LedgerError> {
        match self.operation(key).await? {
            None => Ok(None),
            Some((status, result)) => match status.as_str() {
                "done" => Ok(Some(result)),
                "declined" => Err(LedgerError::Declined { reason: result }),
                _ => Err(LedgerError::Closed),
            },
        }
    }
}

fn authorization(row: &sqlx::sqlite::SqliteRow) -> Result<AuthorizationRow, LedgerError> {
    let (status, capture_before): (String, i64) = (row.try_get("status")?, row.try_get("capture_before")?);
    let expired = status == "authorized" && capture_before <= now();
    Ok(AuthorizationRow {
        id: row.try_get("id")?,
        key: row.try_get("key")?,
        reference: row.try_get("reference")?,
        status: if expired { "expired".to_owned() } else { status },
        amount: row.try_get("amount")?,
        captured: row.try_get("captured")?,
        refunded: row.try_get("refunded")?,
        currency: row.try_get("currency")?,
        transaction_id: row.try_get("transaction_id")?,
        capture_before,
    })
}

async fn record(
    connection: &mut SqliteConnection,
    key: &str,
    kind: &str,
    status: &str,
    result: &str,
) -> Result<(), LedgerError> {
    sqlx::query("INSERT INTO operations VALUES (?, ?, ?, ?)")
        .bind(key.to_owned())
        .bind(kind.to_owned())
        .bind(status.to_owned())
        .bind(result.to_owned())
        .execute(connection)
        .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn ledger() -> (Ledger, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        (Ledger::open(&dir.path().join("ledger.db")).await.unwrap(), dir)
    }

    #[tokio::test]
    async fn a_key_is_answered_as_the_first_time() {
        let (mut ledger, _dir) = ledger().await;
        let id = ledger.authorize("k", "cart", "tok", 100, "USD").await.unwrap();
        assert_eq!(ledger.authorize("k", "cart", "tok", 100, "USD").await.unwrap(), id);
        let captured = ledger.capture("c", &id, 100).await.unwrap();
        assert_eq!(ledger.capture("c", &id, 100).await.unwrap(), captured);
        assert!(matches!(ledger.capture("c2", &id, 100).await, Err(LedgerError::Declined { .. })), "not twice");
        assert_eq!(ledger.authorizations().await.unwrap()[0].captured, 100);
    }

    #[tokio::test]
    async fn a_late_authorization_under_a_closed_key_is_refused() {
        let (mut ledger, _dir) = ledger().await;
        ledger.close("k").await.unwrap();
        assert!(matches!(ledger.authorize("k", "cart", "tok", 100, "USD").await, Err(LedgerError::Closed)));
        assert_eq!(ledger.authorizations().await.unwrap(), []);
    }

    #[tokio::test]
    async fn a_hold_takes_a_void_and_what_was_taken_a_refund() {
        let (mut ledger, _dir) = ledger().await;
        let held = ledger.authorize("a", "cart", "tok", 100, "USD").await.unwrap();
        let taken = ledger.authorize("b", "cart", "tok", 70, "USD").await.unwrap();
        let transaction = ledger.capture("c", &taken, 70).await.unwrap();
        assert!(matches!(ledger.void("v1", &taken).await, Err(LedgerError::Declined { .. })), "the wrong verb");
        assert!(matches!(ledger.refund("r1", "none", 1).await, Err(LedgerError::Declined { .. })));
        ledger.void("v2", &held).await.unwrap();
        ledger.refund("r2", &transaction, 70).await.unwrap();
        assert!(matches!(ledger.refund("r3", &transaction, 1).await, Err(LedgerError::Declined { .. })), "not twice");
        let rows = ledger.authorizations().await.unwrap();
        assert_eq!((rows[0].status.as_str(), rows[1].status.as_str()), ("voided", "refunded"));
        assert_eq!(rows[1].refunded, 70);
    }
}
