//! Entity locks: a line for each entity, and whoever is first in all of its lines has them.

use std::collections::BTreeMap;

use saga_core::journal::{LockEntry, Received, Turn, lock_grant};
use saga_core::{SagaId, StepName, Timestamp};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row as _, SqliteConnection};
use uuid::Uuid;

use crate::{rows, sql};

/// Puts the saga at the end of these lines, unless it stands in some already. Tells whether it was given
/// the locks at once.
pub(crate) async fn ask(
    connection: &mut SqliteConnection,
    saga: SagaId,
    step: &StepName,
    keys: &[String],
    now: i64,
) -> Result<bool, sqlx::Error> {
    if sqlx::query(sql::IN_LINE).bind(saga.as_uuid()).fetch_optional(&mut *connection).await?.is_some() {
        return Ok(false);
    }
    let arrival = next_number(connection).await?;
    for (query, chunk) in sql::ASK.chunks(keys) {
        let query = chunk.iter().fold(query, |query, key| query.bind(key.clone()));
        let query = query.bind(saga.as_uuid()).bind(step.to_string()).bind(arrival).bind(now);
        query.execute(&mut *connection).await?;
    }
    grant(connection, saga.as_uuid(), now).await
}

/// Takes the saga out of all its lines. Tells whether somebody else was given locks by that.
pub(crate) async fn give_up(connection: &mut SqliteConnection, saga: SagaId, now: i64) -> Result<bool, sqlx::Error> {
    let left = sqlx::query(sql::LEAVE_LINES).bind(saga.as_uuid()).fetch_all(&mut *connection).await?;
    let mut granted = false;
    for line in left {
        let first = sqlx::query(sql::FIRST_IN_LINE).bind(line.try_get::<String, _>("key")?);
        let Some(first) = first.fetch_optional(&mut *connection).await? else { continue };
        if first.try_get::<Option<i64>, _>("token")?.is_none() {
            granted |= grant(connection, first.try_get("saga_id")?, now).await?;
        }
    }
    Ok(granted)
}

/// Gives the saga its locks if nobody stands before it in any of its lines, and wakes it if it is parked.
async fn grant(connection: &mut SqliteConnection, saga: Uuid, now: i64) -> Result<bool, sqlx::Error> {
    if sqlx::query(sql::WAITS_IN_LINE).bind(saga).fetch_optional(&mut *connection).await?.is_some() {
        return Ok(false);
    }
    let token = next_number(connection).await?;
    sqlx::query(sql::GRANT).bind(token).bind(saga).execute(&mut *connection).await?;
    sqlx::query(sql::DUE_NOW).bind(now).bind(saga).execute(connection).await?;
    Ok(true)
}

async fn next_number(connection: &mut SqliteConnection) -> Result<i64, sqlx::Error> {
    sqlx::query(sql::LOCK_NUMBER).fetch_one(connection).await?.try_get("last")
}

/// Takes note that the turn has read a grant, if that is what this id means.
pub(crate) async fn read_grant(connection: &mut SqliteConnection, turn: &Turn, id: &str) -> Result<(), sqlx::Error> {
    let Some(step) = id.strip_prefix("lock:") else { return Ok(()) };
    let read = sqlx::query(sql::READ_GRANT).bind(turn.seq).bind(turn.saga.as_uuid()).bind(step.to_owned());
    read.execute(connection).await.map(drop)
}

/// The grants in these rows, one for each saga and step.
pub(crate) fn grants(rows: &[SqliteRow]) -> Result<Vec<Received>, sqlx::Error> {
    let mut grants: BTreeMap<(SagaId, String), BTreeMap<String, u64>> = BTreeMap::new();
    for row in rows {
        let saga = SagaId::from(row.try_get::<Uuid, _>("saga_id")?);
        let tokens = grants.entry((saga, row.try_get("step")?)).or_default();
        tokens.insert(row.try_get("key")?, token(row.try_get("token")?)?);
    }
    Ok(grants.into_iter().map(|((saga, step), tokens)| lock_grant(saga, &StepName::from(&*step), tokens)).collect())
}

pub(crate) fn entry(row: &SqliteRow) -> Result<LockEntry, sqlx::Error> {
    Ok(LockEntry {
        key: row.try_get("key")?,
        saga: SagaId::from(row.try_get::<Uuid, _>("saga_id")?),
        token: row.try_get::<Option<i64>, _>("token")?.map(token).transpose()?,
        asked_at: Timestamp::from_micros(row.try_get("asked_at")?),
    })
}

fn token(stored: i64) -> Result<u64, sqlx::Error> {
    u64::try_from(stored).map_err(|_| rows::decode("a fencing token is not negative"))
}
