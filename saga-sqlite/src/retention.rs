//! Retention: what has ended is deleted when its time is over.

use std::time::Duration;

use saga_core::SagaId;
use sqlx::{Row as _, SqliteConnection};

use crate::journal::micros;
use crate::sql;

/// Deletes those of the sagas that have ended, and messages that no saga came for. Tells how many sagas.
pub(crate) async fn forget(
    connection: &mut SqliteConnection,
    sagas: &[SagaId],
    retention: Duration,
) -> Result<u64, sqlx::Error> {
    let mut deleted = 0;
    sqlx::query(sql::DELETE_ORPHANS).bind(micros(retention)).execute(&mut *connection).await?;
    for saga in sagas.iter().map(|saga| saga.as_uuid()) {
        let ended = sqlx::query(sql::ENDED_AT).bind(saga).fetch_optional(&mut *connection).await?;
        let Some(ended) = ended else { continue };
        let ended: i64 = ended.try_get("at")?;
        for statement in [sql::DELETE_TURNS, sql::DELETE_LETTERS, sql::DELETE_MESSAGES, sql::DELETE_INSTANCE] {
            sqlx::query(statement).bind(saga).execute(&mut *connection).await?;
        }
        sqlx::query(sql::DELETE_ENDED).bind(ended).bind(saga).execute(&mut *connection).await?;
        deleted += 1;
    }
    Ok(deleted)
}
