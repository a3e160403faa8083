//! Appends: one transaction, one check of the fence, many rows.

use std::collections::HashSet;

use saga_core::Timestamp;
use saga_core::journal::{After, Appended, JournalError, Lease, LetterChange, Turn};
use sqlx::{Row as _, SqliteConnection};
use uuid::Uuid;

use crate::error::journal_error;
use crate::{rows, sql};

const DOING: &str = "appending turns";

/// The journal's time, if the lease is valid. SQLite lets one write at a time: within a transaction
/// that has begun to write, nobody can fence.
pub(crate) async fn hold_lease(
    connection: &mut SqliteConnection,
    lease: Lease,
    doing: &'static str,
) -> Result<i64, JournalError> {
    let held = sqlx::query(sql::HOLD_LEASE).bind(lease.epoch.0).fetch_optional(connection).await;
    match held.map_err(journal_error(doing))? {
        Some(row) => row.try_get("now").map_err(journal_error(doing)),
        None => Err(JournalError::Fenced { epoch: lease.epoch }),
    }
}

pub(crate) async fn append(
    connection: &mut SqliteConnection,
    lease: Lease,
    turns: &[Turn],
) -> Result<Vec<Appended>, JournalError> {
    let now = hold_lease(connection, lease, DOING).await?;
    let written = insert(connection, lease, turns, now).await.map_err(journal_error(DOING))?;
    let mut answers = Vec::with_capacity(turns.len());
    for turn in turns {
        answers.push(if written.contains(&turn.saga.as_uuid()) {
            Appended::Written
        } else {
            existing(connection, lease, turn).await.map_err(journal_error(DOING))?
        });
    }
    let fresh: Vec<&Turn> =
        turns.iter().zip(&answers).filter(|(_, answer)| **answer == Appended::Written).map(|(turn, _)| turn).collect();
    settle(connection, &fresh, now).await.map_err(journal_error(DOING))?;
    Ok(answers)
}

/// Inserts what may be inserted, and tells which sagas that were.
async fn insert(
    connection: &mut SqliteConnection,
    lease: Lease,
    turns: &[Turn],
    now: i64,
) -> Result<HashSet<Uuid>, sqlx::Error> {
    let mut written = HashSet::with_capacity(turns.len());
    for (query, chunk) in sql::APPEND.chunks(turns) {
        let mut query = query.bind(lease.epoch.0).bind(now);
        for turn in chunk {
            query = query
                .bind(turn.saga.as_uuid())
                .bind(turn.seq)
                .bind(turn.nonce)
                .bind(match turn.after {
                    After::End(end) => Some(rows::end_code(end)),
                    After::Keep | After::Park { .. } => None,
                })
                .bind(turn.body.clone());
        }
        for row in query.fetch_all(&mut *connection).await? {
            written.insert(row.try_get("saga_id")?);
        }
    }
    Ok(written)
}

/// A turn that was not inserted: was it written by an earlier try of this very call?
async fn existing(connection: &mut SqliteConnection, lease: Lease, turn: &Turn) -> Result<Appended, sqlx::Error> {
    let taken = sqlx::query(sql::TURN).bind(turn.saga.as_uuid()).bind(turn.seq).fetch_optional(connection).await?;
    let Some(taken) = taken else { return Ok(Appended::Rival) };
    let own = taken.try_get::<i64, _>("nonce")? == turn.nonce
        && taken.try_get::<Option<i64>, _>("epoch")? == Some(lease.epoch.0);
    Ok(if own { Appended::Repeated } else { Appended::Rival })
}

/// What becomes of the sagas, and their dead letters.
async fn settle(connection: &mut SqliteConnection, turns: &[&Turn], now: i64) -> Result<(), sqlx::Error> {
    let mut ended = Vec::new();
    for turn in turns {
        for id in &turn.read {
            let read = sqlx::query(sql::READ_MESSAGE).bind(turn.seq).bind(turn.saga.as_uuid()).bind(id.clone());
            read.execute(&mut *connection).await?;
        }
        match turn.after {
            After::Keep => {}
            After::Park { wake_at, standing } => {
                let park =
                    sqlx::query(sql::PARK).bind(wake_at.map(Timestamp::as_micros)).bind(rows::standing_code(standing));
                park.bind(turn.saga.as_uuid()).execute(&mut *connection).await?;
                // A message that came while it was owned has woken nobody.
                let wake = sqlx::query(sql::WAKE).bind(now).bind(turn.saga.as_uuid());
                wake.execute(&mut *connection).await?;
            }
            After::End(_) => ended.push(turn.saga.as_uuid()),
        }
        for change in &turn.letters {
            letter(connection, turn, change, now).await?;
        }
    }
    for (query, chunk) in sql::LEAVE.chunks(&ended) {
        chunk.iter().fold(query, |query, saga| query.bind(*saga)).execute(&mut *connection).await?;
    }
    for (query, chunk) in sql::END.chunks(&ended) {
        chunk.iter().fold(query.bind(now), |query, saga| query.bind(*saga)).execute(&mut *connection).await?;
    }
    Ok(())
}

async fn letter(
    connection: &mut SqliteConnection,
    turn: &Turn,
    change: &LetterChange,
    now: i64,
) -> Result<(), sqlx::Error> {
    let query = match change {
        LetterChange::Open { step, op, reason, error, attempts } => sqlx::query(sql::OPEN_LETTER)
            .bind(turn.saga.as_uuid())
            .bind(rows::step_text(step.as_ref()))
            .bind(op.as_str())
            .bind(turn.seq)
            .bind(reason.as_str())
            .bind(error.clone())
            .bind(*attempts)
            .bind(now),
        LetterChange::Close { step, op, resolution, actor, reason } => sqlx::query(sql::CLOSE_LETTER)
            .bind(now)
            .bind(actor.clone())
            .bind(resolution.clone())
            .bind(reason.clone())
            .bind(turn.saga.as_uuid())
            .bind(rows::step_text(step.as_ref()))
            .bind(op.as_str()),
    };
    query.execute(connection).await.map(drop)
}
