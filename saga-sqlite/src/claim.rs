//! Claims: who becomes the owner of what.

use saga_core::journal::{Claim, ClaimOne, Claimed, JournalError, Lease, SagaHeader};
use saga_core::{Epoch, SagaId, Timestamp};
use sqlx::{Row as _, SqliteConnection};
use uuid::Uuid;

use crate::append::hold_lease;
use crate::error::journal_error;
use crate::journal::many;
use crate::{rows, sql};

pub(crate) async fn claim(
    connection: &mut SqliteConnection,
    lease: Lease,
    definitions: &[(String, u32)],
    limit: usize,
) -> Result<Claim, JournalError> {
    const DOING: &str = "claiming sagas";
    let at = hold_lease(connection, lease, DOING).await?;
    let mut sagas = Vec::new();
    for (saga, crashed) in due(connection, definitions, limit, at).await.map_err(journal_error(DOING))? {
        let header = own(connection, lease, saga).await.map_err(journal_error(DOING))?;
        sagas.push(Claimed { header, crashed });
    }
    let next_due_at = next_due_at(connection, definitions).await.map_err(journal_error(DOING))?;
    Ok(Claim { sagas, next_due_at, now: Timestamp::from_micros(at) })
}

/// What can be claimed: first what fenced leases have left, then the longest due.
async fn due(
    connection: &mut SqliteConnection,
    definitions: &[(String, u32)],
    limit: usize,
    at: i64,
) -> Result<Vec<(Uuid, bool)>, sqlx::Error> {
    let mut found: Vec<(bool, i64, Uuid)> = Vec::new();
    for (name, version) in definitions {
        let crashed = sqlx::query(sql::CRASHED).bind(name.clone()).bind(*version).bind(many(limit));
        for row in crashed.fetch_all(&mut *connection).await? {
            found.push((true, 0, row.try_get("saga_id")?));
        }
        let due = sqlx::query(sql::DUE).bind(name.clone()).bind(*version).bind(at).bind(many(limit));
        for row in due.fetch_all(&mut *connection).await? {
            found.push((false, row.try_get("due_at")?, row.try_get("saga_id")?));
        }
    }
    found.sort_by_key(|(crashed, due, _)| (!crashed, *due));
    found.truncate(limit);
    Ok(found.into_iter().map(|(crashed, _, saga)| (saga, crashed)).collect())
}

async fn next_due_at(
    connection: &mut SqliteConnection,
    definitions: &[(String, u32)],
) -> Result<Option<Timestamp>, sqlx::Error> {
    let mut next: Option<i64> = None;
    for (name, version) in definitions {
        let query = sqlx::query(sql::NEXT_DUE).bind(name.clone()).bind(*version);
        if let Some(row) = query.fetch_optional(&mut *connection).await? {
            let due: i64 = row.try_get("due_at")?;
            next = Some(next.map_or(due, |earliest| earliest.min(due)));
        }
    }
    Ok(next.map(Timestamp::from_micros))
}

async fn own(connection: &mut SqliteConnection, lease: Lease, saga: Uuid) -> Result<SagaHeader, sqlx::Error> {
    sqlx::query(sql::OWN).bind(lease.epoch.0).bind(saga).execute(&mut *connection).await?;
    rows::header(&sqlx::query(sql::HEADER).bind(saga).fetch_one(connection).await?)
}

pub(crate) async fn claim_one(
    connection: &mut SqliteConnection,
    lease: Lease,
    saga: SagaId,
) -> Result<ClaimOne, JournalError> {
    const DOING: &str = "claiming a saga";
    hold_lease(connection, lease, DOING).await?;
    take_one(connection, lease, saga.as_uuid()).await.map_err(journal_error(DOING))
}

async fn take_one(connection: &mut SqliteConnection, lease: Lease, saga: Uuid) -> Result<ClaimOne, sqlx::Error> {
    let Some(live) = sqlx::query(sql::OWNER).bind(saga).fetch_optional(&mut *connection).await? else {
        let known = sqlx::query(sql::HEADER).bind(saga).fetch_optional(connection).await?;
        return Ok(if known.is_some() { ClaimOne::Ended } else { ClaimOne::NotFound });
    };
    let owner: Option<i64> = live.try_get("owner")?;
    let other = owner.filter(|owner| *owner != lease.epoch.0);
    if let Some(owner) = other
        && live.try_get("held")?
    {
        return Ok(ClaimOne::Owned(Epoch(owner)));
    }
    Ok(ClaimOne::Claimed(Claimed { header: own(connection, lease, saga).await?, crashed: other.is_some() }))
}
