//! The journal in a SQLite file.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use saga_core::definition::Outline;
use saga_core::journal::{
    Appended, Claim, ClaimOne, DeadEvent, DeadLetter, History, Journal, JournalError, Lease, ListFilter, LockEntry,
    Message, NewSaga, OutboxBatch, Received, SagaHeader, SagaSummary, Sent, SettledEvent, StartReceipt, Turn,
};
use saga_core::{Epoch, SagaId, Timestamp};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteRow, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Row as _, SqliteConnection};
use tokio::sync::{Notify, oneshot};
use uuid::Uuid;

use crate::append::{append, hold_lease};
use crate::claim::{claim, claim_one};
use crate::connection::{BUSY_TIMEOUT, Slot};
use crate::error::journal_error;
use crate::line::{Job, Line};
use crate::start::{now, start};
use crate::{locks, messages, migrate, outbox, retention, rows, sql, wake};

/// The journal in a SQLite file. See the [crate documentation](crate).
#[derive(Debug)]
pub struct SqliteJournal {
    writer: Slot,
    reader: Slot,
    line: Line,
    work: Arc<Notify>,
}

impl SqliteJournal {
    /// Opens the journal in this file, which is made when it is not there.
    ///
    /// # Errors
    /// [`JournalError::Misconfigured`] when the file cannot be written or is no database,
    /// [`JournalError::NewerSchema`] when a newer version of this library made it.
    pub async fn open(path: impl AsRef<Path>) -> Result<Self, JournalError> {
        Self::from_options(SqliteConnectOptions::new().filename(path).create_if_missing(true)).await
    }

    /// Opens the journal in the file that the options name. Journal mode (WAL) and `synchronous`
    /// (FULL) are set by the journal: they are part of its promises.
    ///
    /// # Errors
    /// As [`SqliteJournal::open`].
    pub async fn from_options(options: SqliteConnectOptions) -> Result<Self, JournalError> {
        let work = wake::shared(options.get_filename());
        let options = options
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(BUSY_TIMEOUT)
            .statement_cache_capacity(sql::STATEMENTS_MAX)
            .disable_statement_logging();
        let journal =
            Self { writer: Slot::new(options.clone()), reader: Slot::new(options), line: Line::default(), work };
        let mut write = journal.writer.write(DOING).await?;
        let migrated = migrate::migrate(write.get()).await;
        write.end(migrated).await?;
        Ok(journal)
    }
}

const DOING: &str = "opening the journal";

pub(crate) fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

pub(crate) fn many(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

#[async_trait]
impl Journal for SqliteJournal {
    async fn register(&self, outlines: &[Outline]) -> Result<Vec<Outline>, JournalError> {
        let mut write = self.writer.write("storing definitions").await?;
        let stored = register(write.get(), outlines).await;
        write.end(stored).await
    }

    async fn open_lease(&self, worker: &str, ttl: Duration) -> Result<(Lease, Timestamp), JournalError> {
        const DOING: &str = "opening a lease";
        let mut write = self.writer.write(DOING).await?;
        let opened = open_lease(write.get(), worker, ttl).await.map_err(journal_error(DOING));
        write.end(opened).await
    }

    async fn renew_lease(&self, lease: Lease, ttl: Duration) -> Result<Timestamp, JournalError> {
        let mut write = self.writer.write("renewing a lease").await?;
        let renewed = renew_lease(write.get(), lease, ttl).await;
        write.end(renewed).await
    }

    async fn close_lease(&self, lease: Lease) -> Result<u64, JournalError> {
        let mut write = self.writer.write("closing a lease").await?;
        let released = close_lease(write.get(), lease).await;
        let released = write.end(released).await?;
        self.work.notify_waiters();
        Ok(released)
    }

    async fn fence_lapsed(&self) -> Result<Vec<Epoch>, JournalError> {
        const DOING: &str = "fencing lapsed leases";
        // Looked at first without the write lock: there is hardly ever anything to do.
        let mut read = self.reader.read(DOING).await?;
        let found = lapsed(read.get()).await.map_err(journal_error(DOING));
        if read.put_back(found)?.0.is_empty() {
            return Ok(Vec::new());
        }
        let mut write = self.writer.write(DOING).await?;
        let fenced = fence(write.get()).await.map_err(journal_error(DOING));
        let fenced = write.end(fenced).await?;
        self.work.notify_waiters();
        Ok(fenced)
    }

    async fn start(&self, lease: Option<Lease>, sagas: &[NewSaga]) -> Result<Vec<StartReceipt>, JournalError> {
        const DOING: &str = "starting sagas";
        let job = |reply| Job::Start { lease, sagas: sagas.to_vec(), reply };
        let receipts = match self.share(DOING, job).await? {
            Some(receipts) => receipts,
            None => {
                let mut write = self.writer.write(DOING).await?;
                let receipts = start(write.get(), lease, sagas).await;
                write.end(receipts).await?
            }
        };
        if lease.is_none() {
            self.work.notify_waiters();
        }
        Ok(receipts)
    }

    async fn append(&self, lease: Lease, turns: &[Turn]) -> Result<Vec<Appended>, JournalError> {
        const DOING: &str = "appending turns";
        let job = |reply| Job::Append { lease, turns: turns.to_vec(), reply };
        let (answers, work) = match self.share(DOING, job).await? {
            Some(answers) => answers,
            None => {
                let mut write = self.writer.write(DOING).await?;
                let answers = append(write.get(), lease, turns).await;
                write.end(answers).await?
            }
        };
        if work {
            self.work.notify_waiters();
        }
        Ok(answers)
    }

    async fn claim(&self, lease: Lease, definitions: &[(String, u32)], limit: usize) -> Result<Claim, JournalError> {
        let mut write = self.writer.write("claiming sagas").await?;
        let claimed = claim(write.get(), lease, definitions, limit).await;
        write.end(claimed).await
    }

    async fn claim_one(&self, lease: Lease, saga: SagaId) -> Result<ClaimOne, JournalError> {
        let mut write = self.writer.write("claiming a saga").await?;
        let claimed = claim_one(write.get(), lease, saga).await;
        write.end(claimed).await
    }

    async fn owned(&self, lease: Lease) -> Result<Vec<SagaHeader>, JournalError> {
        let rows = self.rows("listing owned sagas", sqlx::query(sql::OWNED).bind(lease.epoch.0)).await?;
        rows.iter().map(|row| rows::header(row).map_err(journal_error("listing owned sagas"))).collect()
    }

    async fn send(&self, mail: &[Message]) -> Result<Vec<Sent>, JournalError> {
        const DOING: &str = "sending messages";
        let mut write = self.writer.write(DOING).await?;
        let sent = messages::send(write.get(), mail).await.map_err(journal_error(DOING));
        let sent = write.end(sent).await?;
        self.work.notify_waiters();
        Ok(sent)
    }

    async fn inbox(&self, lease: Lease) -> Result<Vec<Received>, JournalError> {
        const DOING: &str = "reading messages";
        let failed = journal_error(DOING);
        let rows = self.rows(DOING, sqlx::query(sql::INBOX).bind(lease.epoch.0)).await?;
        let mut received: Vec<Received> =
            rows.iter().map(messages::received).collect::<Result<_, _>>().map_err(&failed)?;
        let granted = self.rows(DOING, sqlx::query(sql::GRANTED).bind(lease.epoch.0)).await?;
        received.extend(locks::grants(&granted).map_err(&failed)?);
        Ok(received)
    }

    async fn load(&self, sagas: &[SagaId]) -> Result<Vec<History>, JournalError> {
        const DOING: &str = "loading histories";
        let mut found = Vec::new();
        for (query, chunk) in sql::LOAD.chunks(sagas) {
            let query = chunk.iter().fold(query, |query, saga| query.bind(saga.as_uuid()));
            for row in self.rows(DOING, query).await? {
                take_turn(&mut found, &row)?;
            }
        }
        let place = |history: &History| sagas.iter().position(|saga| *saga == history.header.id);
        found.sort_by_key(place);
        Ok(found)
    }

    async fn find(&self, definition: &str, key: &str) -> Result<Option<SagaSummary>, JournalError> {
        const DOING: &str = "finding a saga";
        let query = sqlx::query(sql::FIND).bind(definition.to_owned()).bind(key.to_owned());
        self.rows(DOING, query).await?.first().map(rows::summary).transpose().map_err(journal_error(DOING))
    }

    async fn summary(&self, saga: SagaId) -> Result<Option<SagaSummary>, JournalError> {
        const DOING: &str = "looking up a saga";
        let query = sqlx::query(sql::SUMMARY).bind(saga.as_uuid());
        self.rows(DOING, query).await?.first().map(rows::summary).transpose().map_err(journal_error(DOING))
    }

    async fn list(&self, filter: &ListFilter, limit: usize) -> Result<Vec<SagaSummary>, JournalError> {
        const DOING: &str = "listing sagas";
        let query = sqlx::query(sql::LIST)
            .bind(filter.before.map(SagaId::as_uuid))
            .bind(filter.definition.clone())
            .bind(filter.key_prefix.clone())
            .bind(filter.status.map(rows::status_name))
            .bind(many(limit))
            .bind(filter.created_after.map(Timestamp::as_micros))
            .bind(filter.created_before.map(Timestamp::as_micros))
            .bind(filter.needle());
        let rows = self.rows(DOING, query).await?;
        rows.iter().map(|row| rows::summary(row).map_err(journal_error(DOING))).collect()
    }

    async fn dead_letters(&self, saga: Option<SagaId>, limit: usize) -> Result<Vec<DeadLetter>, JournalError> {
        let query = match saga {
            Some(saga) => sqlx::query(sql::LETTERS_OF).bind(saga.as_uuid()).bind(many(limit)),
            None => sqlx::query(sql::LETTERS).bind(many(limit)),
        };
        self.letters("listing dead letters", query).await
    }

    async fn unalerted(&self, limit: usize) -> Result<Vec<DeadLetter>, JournalError> {
        self.letters("listing alerts", sqlx::query(sql::UNALERTED).bind(many(limit))).await
    }

    async fn mark_alerted(&self, letters: &[DeadLetter]) -> Result<(), JournalError> {
        const DOING: &str = "acknowledging alerts";
        let mut write = self.writer.write(DOING).await?;
        let marked = mark_alerted(write.get(), letters).await.map_err(journal_error(DOING));
        write.end(marked).await
    }

    async fn outbox(&self, lease: Lease, limit: usize) -> Result<OutboxBatch, JournalError> {
        const DOING: &str = "reading the outbox";
        let failed = journal_error(DOING);
        let mut read = self.reader.read(DOING).await?;
        let gone = outbox::gone_owners(read.get()).await.map_err(&failed);
        if !read.put_back(gone)?.is_empty() {
            let mut write = self.writer.write(DOING).await?;
            let taken = take_events(write.get(), lease).await;
            write.end(taken).await?;
        }
        let mut read = self.reader.read(DOING).await?;
        let held = hold_lease(read.get(), lease, DOING).await;
        let now = read.put_back(held)?;
        let query = sqlx::query(sql::OUTBOX).bind(lease.epoch.0).bind(now).bind(many(limit));
        let rows = self.rows(DOING, query).await?;
        let events = rows.iter().map(outbox::event).collect::<Result<_, _>>().map_err(&failed)?;
        let next = self.rows(DOING, sqlx::query(sql::NEXT_EVENT).bind(lease.epoch.0).bind(now)).await?;
        let next = next.first().map(|row| row.try_get::<Option<i64>, _>("due_at")).transpose().map_err(&failed)?;
        Ok(OutboxBatch { events, next_due_at: next.flatten().map(Timestamp::from_micros) })
    }

    async fn settle_events(&self, lease: Lease, settled: &[SettledEvent]) -> Result<(), JournalError> {
        const DOING: &str = "settling events";
        let mut write = self.writer.write(DOING).await?;
        let done = outbox::settle(write.get(), lease, settled).await.map_err(journal_error(DOING));
        write.end(done).await
    }

    async fn dead_events(&self, limit: usize) -> Result<Vec<DeadEvent>, JournalError> {
        const DOING: &str = "listing dead events";
        let rows = self.rows(DOING, sqlx::query(sql::DEAD_EVENTS).bind(many(limit))).await?;
        rows.iter().map(|row| outbox::dead(row).map_err(journal_error(DOING))).collect()
    }

    async fn revive_event(&self, id: &str, again: bool) -> Result<bool, JournalError> {
        const DOING: &str = "deciding on a dead event";
        let mut write = self.writer.write(DOING).await?;
        let revived = outbox::revive(write.get(), id, again).await.map_err(journal_error(DOING));
        write.end(revived).await
    }

    async fn locks(&self, limit: usize) -> Result<Vec<LockEntry>, JournalError> {
        const DOING: &str = "listing locks";
        let rows = self.rows(DOING, sqlx::query(sql::LOCKS).bind(many(limit))).await?;
        rows.iter().map(|row| locks::entry(row).map_err(journal_error(DOING))).collect()
    }

    async fn expired(&self, retention: Duration, limit: usize) -> Result<Vec<SagaId>, JournalError> {
        const DOING: &str = "listing expired sagas";
        let rows = self.rows(DOING, sqlx::query(sql::OLD).bind(micros(retention)).bind(many(limit))).await?;
        let saga = |row: &SqliteRow| row.try_get::<Uuid, _>("saga_id").map(SagaId::from);
        rows.iter().map(|row| saga(row).map_err(journal_error(DOING))).collect()
    }

    async fn forget(&self, sagas: &[SagaId], retention: Duration) -> Result<u64, JournalError> {
        const DOING: &str = "deleting ended sagas";
        // Looked at first without the write lock.
        let orphans = self.rows(DOING, sqlx::query(sql::ORPHANS).bind(micros(retention))).await?;
        if sagas.is_empty() && orphans.is_empty() {
            return Ok(0);
        }
        let mut write = self.writer.write(DOING).await?;
        let deleted = retention::forget(write.get(), sagas, retention).await.map_err(journal_error(DOING));
        write.end(deleted).await
    }

    async fn wait_for_work(&self, timeout: Duration) {
        // The time-out is one of the two ways to return.
        tokio::time::timeout(timeout, self.work.notified()).await.ok();
    }
}

impl SqliteJournal {
    /// Writes together with others who wait; none when the caller has to write by itself, as it does when nobody
    /// else writes.
    async fn share<T>(
        &self,
        doing: &'static str,
        job: impl FnOnce(oneshot::Sender<T>) -> Job,
    ) -> Result<Option<T>, JournalError> {
        if self.writer.is_free() {
            return Ok(None);
        }
        self.line.share(&self.writer, doing, job).await
    }

    async fn rows(&self, doing: &'static str, query: sql::Bound) -> Result<Vec<SqliteRow>, JournalError> {
        let mut read = self.reader.read(doing).await?;
        let rows = query.fetch_all(read.get()).await.map_err(journal_error(doing));
        read.put_back(rows)
    }

    async fn letters(&self, doing: &'static str, query: sql::Bound) -> Result<Vec<DeadLetter>, JournalError> {
        let rows = self.rows(doing, query).await?;
        rows.iter().map(|row| rows::letter(row).map_err(journal_error(doing))).collect()
    }
}

async fn register(connection: &mut SqliteConnection, outlines: &[Outline]) -> Result<Vec<Outline>, JournalError> {
    const DOING: &str = "storing definitions";
    let failed = journal_error(DOING);
    let unreadable = |error: serde_json::Error| rows::corrupt(format!("an outline cannot be read: {error}"));
    let mut stored = Vec::with_capacity(outlines.len());
    for outline in outlines {
        let text = serde_json::to_string(outline).map_err(unreadable)?;
        let (name, version) = (outline.definition.clone(), outline.version);
        let store = sqlx::query(sql::STORE_OUTLINE).bind(name.clone()).bind(version).bind(text);
        store.execute(&mut *connection).await.map_err(&failed)?;
        let row = sqlx::query(sql::OUTLINE).bind(name).bind(version).fetch_one(&mut *connection).await;
        let text: String = row.and_then(|row| row.try_get("outline")).map_err(&failed)?;
        stored.push(serde_json::from_str(&text).map_err(unreadable)?);
    }
    Ok(stored)
}

async fn open_lease(
    connection: &mut SqliteConnection,
    worker: &str,
    ttl: Duration,
) -> Result<(Lease, Timestamp), sqlx::Error> {
    let at = now(connection).await?;
    let query = sqlx::query(sql::OPEN_LEASE).bind(worker.to_owned()).bind(at.saturating_add(micros(ttl))).bind(at);
    let epoch = Epoch(query.fetch_one(connection).await?.try_get("epoch")?);
    Ok((Lease { epoch }, Timestamp::from_micros(at)))
}

async fn renew_lease(
    connection: &mut SqliteConnection,
    lease: Lease,
    ttl: Duration,
) -> Result<Timestamp, JournalError> {
    const DOING: &str = "renewing a lease";
    let at = hold_lease(connection, lease, DOING).await?;
    let query = sqlx::query(sql::RENEW_LEASE).bind(at.saturating_add(micros(ttl))).bind(lease.epoch.0);
    query.execute(connection).await.map_err(journal_error(DOING))?;
    Ok(Timestamp::from_micros(at))
}

async fn close_lease(connection: &mut SqliteConnection, lease: Lease) -> Result<u64, JournalError> {
    const DOING: &str = "closing a lease";
    let at = match hold_lease(connection, lease, DOING).await {
        Ok(at) => at,
        Err(JournalError::Fenced { .. }) => return Ok(0),
        Err(error) => return Err(error),
    };
    let released = sqlx::query(sql::HAND_BACK).bind(at).bind(lease.epoch.0).execute(&mut *connection).await;
    let released = released.map_err(journal_error(DOING))?.rows_affected();
    let dropped = sqlx::query(sql::DROP_LEASE).bind(lease.epoch.0).execute(connection).await;
    dropped.map_err(journal_error(DOING))?;
    Ok(released)
}

/// Takes over what gone leases have left, if this one is valid.
async fn take_events(connection: &mut SqliteConnection, lease: Lease) -> Result<(), JournalError> {
    const DOING: &str = "taking over events";
    hold_lease(connection, lease, DOING).await?;
    outbox::take(connection, lease).await.map_err(journal_error(DOING))
}

async fn mark_alerted(connection: &mut SqliteConnection, letters: &[DeadLetter]) -> Result<(), sqlx::Error> {
    for letter in letters {
        let query = sqlx::query(sql::MARK_ALERTED)
            .bind(letter.saga.as_uuid())
            .bind(rows::step_text(letter.step.as_ref()))
            .bind(letter.op.as_str())
            .bind(letter.seq);
        query.execute(&mut *connection).await?;
    }
    Ok(())
}

/// The epochs that have lapsed, and the time.
async fn lapsed(connection: &mut SqliteConnection) -> Result<(Vec<i64>, i64), sqlx::Error> {
    let at = now(connection).await?;
    let rows = sqlx::query(sql::LAPSED).bind(at).fetch_all(connection).await?;
    Ok((rows.iter().map(|row| row.try_get("epoch")).collect::<Result<_, _>>()?, at))
}

async fn fence(connection: &mut SqliteConnection) -> Result<Vec<Epoch>, sqlx::Error> {
    let (epochs, at) = lapsed(connection).await?;
    for epoch in &epochs {
        sqlx::query(sql::FENCE).bind(at).bind(*epoch).execute(&mut *connection).await?;
    }
    sqlx::query(sql::FORGET_LEASES).bind(at).execute(connection).await?;
    Ok(epochs.into_iter().map(Epoch).collect())
}

/// Adds a row to the history that it belongs to; rows of one history come together and in order.
fn take_turn(found: &mut Vec<History>, row: &SqliteRow) -> Result<(), JournalError> {
    let failed = journal_error("loading histories");
    let id = SagaId::from(row.try_get::<Uuid, _>("saga_id").map_err(&failed)?);
    if found.last().is_none_or(|history| history.header.id != id) {
        found.push(History { header: rows::header(row).map_err(&failed)?, turns: Vec::new() });
    }
    let Some(history) = found.last_mut() else { return Ok(()) };
    let seq: i64 = row.try_get("seq").map_err(&failed)?;
    if usize::try_from(seq) != Ok(history.turns.len()) {
        return Err(rows::corrupt(format!("the history of {id} has a gap before turn {seq}")));
    }
    history.turns.push(rows::stored(row).map_err(&failed)?);
    Ok(())
}
