//! The outbox: events stay here from the turn that publishes them until a broker has them.

use saga_core::journal::{DeadEvent, EventFate, Lease, NewEvent, OutboxEvent, SettledEvent, Turn};
use saga_core::{SagaId, Timestamp};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row as _, SqliteConnection};
use uuid::Uuid;

use crate::journal::micros;
use crate::sql;
use crate::start::now;

/// Stores the events of turns that were written, in their order.
pub(crate) async fn publish(
    connection: &mut SqliteConnection,
    lease: Lease,
    turns: &[&Turn],
    now: i64,
) -> Result<(), sqlx::Error> {
    let of = |turn: &&Turn| turn.events.iter().map(|event| (turn.saga, event.clone())).collect::<Vec<_>>();
    let events: Vec<(SagaId, NewEvent)> = turns.iter().flat_map(of).collect();
    for (mut query, chunk) in sql::PUBLISH.chunks(&events) {
        for (saga, event) in chunk {
            let NewEvent { id, topic, headers, payload } = event.clone();
            let headers = serde_json::to_string(&headers).map_err(|error| sqlx::Error::Encode(error.into()))?;
            query = query.bind(id).bind(saga.as_uuid()).bind(topic).bind(headers).bind(payload);
        }
        query.bind(lease.epoch.0).bind(now).execute(&mut *connection).await?;
    }
    Ok(())
}

/// The leases that have left events and are not valid any more.
pub(crate) async fn gone_owners(connection: &mut SqliteConnection) -> Result<Vec<i64>, sqlx::Error> {
    let rows = sqlx::query(sql::GONE_OWNERS).fetch_all(connection).await?;
    rows.iter().map(|row| row.try_get("owner")).collect()
}

/// Makes what they have left this lease's.
pub(crate) async fn take(connection: &mut SqliteConnection, lease: Lease) -> Result<(), sqlx::Error> {
    for gone in gone_owners(connection).await? {
        sqlx::query(sql::TAKE_EVENTS).bind(lease.epoch.0).bind(gone).execute(&mut *connection).await?;
    }
    Ok(())
}

pub(crate) async fn settle(
    connection: &mut SqliteConnection,
    lease: Lease,
    settled: &[SettledEvent],
) -> Result<(), sqlx::Error> {
    let at = now(connection).await?;
    let published = |event: &&SettledEvent| event.fate == EventFate::Published;
    let published: Vec<&SettledEvent> = settled.iter().filter(published).collect();
    for (query, chunk) in sql::PUBLISHED.chunks(&published) {
        let query = chunk.iter().fold(query, |query, event| query.bind(event.id.clone()));
        query.bind(lease.epoch.0).execute(&mut *connection).await?;
    }
    for SettledEvent { id, fate } in settled {
        let query = match fate {
            EventFate::Published => continue,
            EventFate::Retry { after, error } => {
                sqlx::query(sql::RETRY_EVENT).bind(at.saturating_add(micros(*after))).bind(error.clone())
            }
            EventFate::Dead { error } => sqlx::query(sql::EVENT_DIED).bind(at).bind(error.clone()),
        };
        query.bind(id.clone()).bind(lease.epoch.0).execute(&mut *connection).await?;
    }
    Ok(())
}

pub(crate) async fn revive(connection: &mut SqliteConnection, id: &str, again: bool) -> Result<bool, sqlx::Error> {
    let query =
        if again { sqlx::query(sql::REVIVE_EVENT).bind(now(connection).await?) } else { sqlx::query(sql::DROP_EVENT) };
    Ok(query.bind(id.to_owned()).execute(connection).await?.rows_affected() > 0)
}

pub(crate) fn event(row: &SqliteRow) -> Result<OutboxEvent, sqlx::Error> {
    let headers: String = row.try_get("headers")?;
    Ok(OutboxEvent {
        saga: SagaId::from(row.try_get::<Uuid, _>("saga_id")?),
        event: NewEvent {
            id: row.try_get("event_id")?,
            topic: row.try_get("topic")?,
            headers: serde_json::from_str(&headers).map_err(|error| sqlx::Error::Decode(error.into()))?,
            payload: row.try_get("payload")?,
        },
        attempts: row.try_get("attempts")?,
        at: Timestamp::from_micros(row.try_get("at")?),
    })
}

pub(crate) fn dead(row: &SqliteRow) -> Result<DeadEvent, sqlx::Error> {
    Ok(DeadEvent { event: event(row)?, error: row.try_get("error")? })
}
