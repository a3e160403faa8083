//! Appends: one transaction, one check of the fence, many rows.

use std::collections::HashSet;

use saga_core::journal::{After, Appended, JournalError, Lease, LetterChange, LockChange, NewSaga, Turn};
use saga_core::{SagaId, Timestamp};
use sqlx::{Row as _, SqliteConnection};
use uuid::Uuid;

use crate::error::journal_error;
use crate::sql::Bound;
use crate::{locks, messages, outbox, rows, sql, start};

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

/// The answers, and whether there is work now for a worker who waits for some.
pub(crate) async fn append(
    connection: &mut SqliteConnection,
    lease: Lease,
    turns: &[Turn],
) -> Result<(Vec<Appended>, bool), JournalError> {
    let now = hold_lease(connection, lease, DOING).await?;
    write(connection, lease, turns, now).await.map_err(journal_error(DOING))
}

async fn write(
    connection: &mut SqliteConnection,
    lease: Lease,
    turns: &[Turn],
    now: i64,
) -> Result<(Vec<Appended>, bool), sqlx::Error> {
    let ending = Ending::look(connection, turns).await?;
    let written = if ending.unread.is_empty() {
        insert(connection, lease, turns, now).await?
    } else {
        let may_end: Vec<Turn> = turns.iter().filter(|turn| !ending.unread.contains(&turn.saga)).cloned().collect();
        insert(connection, lease, &may_end, now).await?
    };
    let mut answers = Vec::with_capacity(turns.len());
    for turn in turns {
        answers.push(if written.contains(&turn.saga.as_uuid()) {
            Appended::Written
        } else {
            existing(connection, lease, turn, ending.unread.contains(&turn.saga)).await?
        });
    }
    let fresh: Vec<&Turn> =
        turns.iter().zip(&answers).filter(|(_, answer)| **answer == Appended::Written).map(|(turn, _)| turn).collect();
    let granted = settle(connection, &fresh, &ending, now).await?;
    outbox::publish(connection, lease, &fresh, now).await?;
    let sent = pass_on(connection, &fresh, now).await?;
    Ok((answers, granted || sent))
}

/// What is there of the sagas that are to end: hardly ever anything.
struct Ending {
    /// Those with a message that the turn does not name.
    unread: HashSet<SagaId>,
    /// Those that stand in a line for an entity lock.
    in_line: HashSet<SagaId>,
}

impl Ending {
    async fn look(connection: &mut SqliteConnection, turns: &[Turn]) -> Result<Self, sqlx::Error> {
        let ends = |turn: &&Turn| matches!(turn.after, After::End(_));
        let ending: Vec<&Turn> = turns.iter().filter(ends).collect();
        let (mut unread, mut in_line) = (HashSet::new(), HashSet::new());
        for (query, chunk) in sql::ENDING.chunks(&ending) {
            let query = chunk.iter().fold(query, |query, turn| query.bind(turn.saga.as_uuid()));
            for row in query.fetch_all(&mut *connection).await? {
                let saga = SagaId::from(row.try_get::<Uuid, _>("saga_id")?);
                match row.try_get::<Option<String>, _>("message_id")? {
                    None => drop(in_line.insert(saga)),
                    Some(id) if chunk.iter().any(|turn| turn.saga == saga && !turn.read.contains(&id)) => {
                        unread.insert(saga);
                    }
                    Some(_) => {}
                }
            }
        }
        Ok(Self { unread, in_line })
    }
}

/// Inserts what may be inserted, and tells which sagas that were. First as if that were all, which it nearly always is:
/// sqlx hands each row of an answer from SQLite's thread to ours, which costs more than it tells.
async fn insert(
    connection: &mut SqliteConnection,
    lease: Lease,
    turns: &[Turn],
    now: i64,
) -> Result<HashSet<Uuid>, sqlx::Error> {
    let mut written = HashSet::with_capacity(turns.len());
    for (query, chunk) in sql::APPEND_ALL.chunks(turns) {
        match bind(query, chunk, lease, now).execute(&mut *connection).await {
            Ok(_) => written.extend(chunk.iter().map(|turn| turn.saga.as_uuid())),
            Err(error) if sql::is_violation(&error) => {
                for (query, chunk) in sql::APPEND.chunks(chunk) {
                    for row in bind(query, chunk, lease, now).fetch_all(&mut *connection).await? {
                        written.insert(row.try_get("saga_id")?);
                    }
                }
            }
            Err(error) => return Err(error),
        }
    }
    Ok(written)
}

fn bind(query: Bound, turns: &[Turn], lease: Lease, now: i64) -> Bound {
    let bound = turns.iter().fold(query, |query, turn| {
        let ends = match turn.after {
            After::End(end) => Some(rows::end_code(end)),
            After::Keep | After::Park { .. } => None,
        };
        query.bind(turn.saga.as_uuid()).bind(turn.seq).bind(turn.nonce).bind(ends).bind(turn.body.clone())
    });
    bound.bind(lease.epoch.0).bind(now)
}

/// A turn that was not inserted: was it written by an earlier try of this very call, or has it to wait
/// until a message is read?
async fn existing(
    connection: &mut SqliteConnection,
    lease: Lease,
    turn: &Turn,
    unread: bool,
) -> Result<Appended, sqlx::Error> {
    let taken = sqlx::query(sql::TURN).bind(turn.saga.as_uuid()).bind(turn.seq);
    if let Some(taken) = taken.fetch_optional(&mut *connection).await? {
        let own = taken.try_get::<i64, _>("nonce")? == turn.nonce
            && taken.try_get::<Option<i64>, _>("epoch")? == Some(lease.epoch.0);
        return Ok(if own { Appended::Repeated } else { Appended::Rival });
    }
    if unread {
        let next = sqlx::query(sql::NEXT_TURN).bind(lease.epoch.0).bind(turn.saga.as_uuid()).bind(turn.seq);
        if next.fetch_optional(connection).await?.is_some() {
            return Ok(Appended::Unread);
        }
    }
    Ok(Appended::Rival)
}

/// What becomes of the sagas, their dead letters and their locks. Tells whether somebody was given locks.
async fn settle(
    connection: &mut SqliteConnection,
    turns: &[&Turn],
    ending: &Ending,
    now: i64,
) -> Result<bool, sqlx::Error> {
    let mut granted = false;
    let mut ended = Vec::new();
    for turn in turns {
        for id in &turn.read {
            let read = sqlx::query(sql::READ_MESSAGE).bind(turn.seq).bind(turn.saga.as_uuid()).bind(id.clone());
            read.execute(&mut *connection).await?;
            locks::read_grant(connection, turn, id).await?;
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
        let ends = matches!(turn.after, After::End(_));
        granted |= match &turn.locks {
            _ if ends && ending.in_line.contains(&turn.saga) => locks::give_up(connection, turn.saga, now).await?,
            Some(LockChange::GiveUp) => locks::give_up(connection, turn.saga, now).await?,
            Some(LockChange::Ask { step, keys }) if !ends => locks::ask(connection, turn.saga, step, keys, now).await?,
            Some(LockChange::Ask { .. }) | None => false,
        };
    }
    for (query, chunk) in sql::LEAVE.chunks(&ended) {
        chunk.iter().fold(query, |query, saga| query.bind(*saga)).execute(&mut *connection).await?;
    }
    for (query, chunk) in sql::END.chunks(&ended) {
        chunk.iter().fold(query, |query, saga| query.bind(*saga)).bind(now).execute(&mut *connection).await?;
    }
    Ok(granted)
}

/// The sagas that the turns start, and then the messages that they send: to a saga that has ended in this
/// very call nothing is sent any more. Tells whether there was anything.
async fn pass_on(connection: &mut SqliteConnection, turns: &[&Turn], now: i64) -> Result<bool, sqlx::Error> {
    let starts: Vec<NewSaga> = turns.iter().flat_map(|turn| turn.starts.iter().cloned()).collect();
    if !starts.is_empty() {
        start::insert(connection, None, &starts, now).await?;
    }
    let mut sent = !starts.is_empty();
    for message in turns.iter().flat_map(|turn| &turn.sends) {
        messages::send_one(connection, message, now).await?;
        sent = true;
    }
    Ok(sent)
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
