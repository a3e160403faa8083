//! Messages to sagas: kept until a turn takes them in.

use saga_core::SagaId;
use saga_core::journal::{Message, Received, Sent};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row as _, SqliteConnection};
use uuid::Uuid;

use crate::sql;
use crate::start::now;

/// Within one transaction, and so beside nobody else's write.
pub(crate) async fn send(connection: &mut SqliteConnection, messages: &[Message]) -> Result<Vec<Sent>, sqlx::Error> {
    let at = now(connection).await?;
    let mut sent = Vec::with_capacity(messages.len());
    for message in messages {
        sent.push(send_one(connection, message, at).await?);
    }
    Ok(sent)
}

pub(crate) async fn send_one(
    connection: &mut SqliteConnection,
    message: &Message,
    at: i64,
) -> Result<Sent, sqlx::Error> {
    let Message { definition, key, id, body } = message.clone();
    let known = sqlx::query(sql::SENT).bind(definition.clone()).bind(key.clone()).bind(id.clone());
    if known.fetch_optional(&mut *connection).await?.is_some() {
        return Ok(Sent::Duplicate);
    }
    let saga = sqlx::query(sql::LIVES).bind(definition.clone()).bind(key.clone());
    let saga = saga.fetch_optional(&mut *connection).await?;
    if let Some(row) = &saga
        && !row.try_get::<bool, _>("lives")?
    {
        return Ok(Sent::TooLate);
    }
    let keep = sqlx::query(sql::SEND).bind(definition).bind(key).bind(id).bind(at).bind(body);
    keep.execute(&mut *connection).await?;
    if let Some(row) = saga {
        let wake = sqlx::query(sql::WAKE).bind(at).bind(row.try_get::<Uuid, _>("saga_id")?);
        wake.execute(connection).await?;
    }
    Ok(Sent::Accepted)
}

pub(crate) fn received(row: &SqliteRow) -> Result<Received, sqlx::Error> {
    Ok(Received {
        saga: SagaId::from(row.try_get::<Uuid, _>("saga_id")?),
        id: row.try_get("message_id")?,
        body: row.try_get("body")?,
    })
}
