//! The journal on Postgres: each call is one statement, one round trip, one transaction.

use std::time::Duration;

use async_trait::async_trait;
use saga_core::definition::Outline;
use saga_core::journal::{
    Appended, Claim, ClaimOne, Claimed, DeadEvent, DeadLetter, History, Journal, JournalError, Lease, ListFilter,
    LockEntry, Message, NewSaga, OutboxBatch, Received, SagaHeader, SagaSummary, Sent, SettledEvent, StartReceipt,
    Turn, check_ids,
};
use saga_core::{Epoch, SagaId, Timestamp};
use sqlx::Row as _;
use sqlx::postgres::{PgArguments, PgConnectOptions, PgPool, Postgres};
use sqlx::query::Query;
use uuid::Uuid;

use crate::builder::PostgresBuilder;
use crate::connections::Lane;
use crate::listen::Listener;
use crate::schema::SchemaName;
use crate::sql::{Statement, Statements};
use crate::{migrate, rows};

pub(crate) type Bound = Query<'static, Postgres, PgArguments>;

/// The journal on Postgres. See the [crate documentation](crate).
#[derive(Debug)]
pub struct PostgresJournal {
    pub(crate) sql: Statements,
    schema: SchemaName,
    /// Starts, appends, claims, queries.
    pub(crate) traffic: Lane,
    /// Heartbeats: they must not queue behind an append.
    leases: Lane,
    listener: Option<Listener>,
    prepared: bool,
}

impl PostgresJournal {
    /// Opens the journal on the database that the URL names, with the defaults of [`PostgresBuilder`].
    ///
    /// # Errors
    /// See [`PostgresBuilder::open`].
    pub async fn connect(url: &str) -> Result<Self, JournalError> {
        PostgresBuilder::from_url(url)?.open().await
    }

    /// Opens the journal on the database of the host's pool, over connections of its own.
    ///
    /// # Errors
    /// See [`PostgresBuilder::open`].
    pub async fn from_pool(pool: &PgPool) -> Result<Self, JournalError> {
        PostgresBuilder::from_pool(pool).open().await
    }

    /// Opens the journal on the database that the options name.
    ///
    /// # Errors
    /// See [`PostgresBuilder::open`].
    pub async fn from_options(options: PgConnectOptions) -> Result<Self, JournalError> {
        PostgresBuilder::from_options(options).open().await
    }

    /// The SQL that sets up the journal in this schema of an empty database, for teams that run
    /// migrations with a tool of their own.
    ///
    /// # Errors
    /// When the schema's name cannot be used.
    pub fn migration_sql(schema: &str) -> Result<String, JournalError> {
        Ok(migrate::sql(&SchemaName::parse(schema)?))
    }

    /// The name of the schema that holds the journal.
    #[must_use]
    pub fn schema_name(&self) -> &str {
        self.schema.as_str()
    }

    /// Closes the journal's idle connections. Dropping the journal does so less politely.
    pub async fn close(&self) {
        self.traffic.close().await;
        self.leases.close().await;
    }

    pub(crate) fn new(
        sql: Statements,
        schema: SchemaName,
        traffic: Lane,
        leases: Lane,
        listener: Option<Listener>,
        prepared: bool,
    ) -> Self {
        Self { sql, schema, traffic, leases, listener, prepared }
    }

    pub(crate) fn sql(&self) -> &Statements {
        &self.sql
    }

    pub(crate) fn query(&self, statement: &Statement) -> Bound {
        statement.query(self.prepared)
    }

    pub(crate) async fn rows(
        &self,
        lane: &Lane,
        doing: &'static str,
        epoch: Option<Epoch>,
        bind: impl Fn() -> Bound + Send + Sync,
    ) -> Result<Vec<sqlx::postgres::PgRow>, JournalError> {
        lane.call(doing, epoch, |connection| {
            let query = bind();
            Box::pin(async move { query.fetch_all(connection).await })
        })
        .await
    }
}

/// A row that is not what the journal writes.
pub(crate) fn read<T>(doing: &'static str) -> impl Fn(sqlx::Error) -> Result<T, JournalError> {
    move |error| Err(rows::corrupt(format!("a row cannot be read while {doing}: {error}")))
}

fn epoch_of(lease: Option<Lease>) -> Option<Epoch> {
    lease.map(|lease| lease.epoch)
}

pub(crate) fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

#[async_trait]
impl Journal for PostgresJournal {
    async fn register(&self, outlines: &[Outline]) -> Result<Vec<Outline>, JournalError> {
        const DOING: &str = "storing definitions";
        let names: Vec<String> = outlines.iter().map(|outline| outline.definition.clone()).collect();
        let versions: Vec<i32> = outlines.iter().map(|outline| rows::signed(outline.version)).collect();
        let unencodable = |error: serde_json::Error| rows::corrupt(format!("an outline cannot be encoded: {error}"));
        let texts = outlines.iter().map(serde_json::to_string).collect::<Result<Vec<_>, _>>().map_err(unencodable)?;
        let store =
            || self.query(&self.sql.store_outlines).bind(names.clone()).bind(versions.clone()).bind(texts.clone());
        self.rows(&self.traffic, DOING, None, store).await?;
        let load = || self.query(&self.sql.outlines).bind(names.clone()).bind(versions.clone());
        let stored = self.rows(&self.traffic, DOING, None, load).await?;
        let outline = |row: &sqlx::postgres::PgRow| {
            let text: String = row.try_get("outline").or_else(read(DOING))?;
            serde_json::from_str(&text)
                .map_err(|error| rows::corrupt(format!("a stored outline cannot be read: {error}")))
        };
        stored.iter().map(outline).collect()
    }

    async fn open_lease(&self, worker: &str, ttl: Duration) -> Result<(Lease, Timestamp), JournalError> {
        const DOING: &str = "opening a lease";
        let bind = || self.query(&self.sql.open_lease).bind(worker.replace('\0', "")).bind(micros(ttl));
        let rows = self.rows(&self.leases, DOING, None, bind).await?;
        let row = rows.first().ok_or_else(|| rows::corrupt("a lease was not returned".to_owned()))?;
        let epoch = Epoch(row.try_get("epoch").or_else(read(DOING))?);
        Ok((Lease { epoch }, Timestamp::from_micros(row.try_get("now").or_else(read(DOING))?)))
    }

    async fn renew_lease(&self, lease: Lease, ttl: Duration) -> Result<Timestamp, JournalError> {
        const DOING: &str = "renewing a lease";
        let bind = || self.query(&self.sql.renew_lease).bind(lease.epoch.0).bind(micros(ttl));
        let rows = self.rows(&self.leases, DOING, Some(lease.epoch), bind).await?;
        let row = rows.first().ok_or(JournalError::Fenced { epoch: lease.epoch })?;
        Ok(Timestamp::from_micros(row.try_get("now").or_else(read(DOING))?))
    }

    async fn close_lease(&self, lease: Lease) -> Result<u64, JournalError> {
        const DOING: &str = "closing a lease";
        let bind = || self.query(&self.sql.close_lease).bind(lease.epoch.0);
        let rows = self.rows(&self.leases, DOING, Some(lease.epoch), bind).await?;
        let released: i64 = rows.first().map_or(Ok(0), |row| row.try_get("released")).or_else(read(DOING))?;
        if released > 0 {
            self.wake().await?;
        }
        Ok(u64::try_from(released).unwrap_or(0))
    }

    async fn fence_lapsed(&self) -> Result<Vec<Epoch>, JournalError> {
        const DOING: &str = "fencing lapsed leases";
        // Not beside the heartbeats: it may wait for a lapsed worker's append that is under way.
        let rows = self.rows(&self.traffic, DOING, None, || self.query(&self.sql.fence_lapsed)).await?;
        rows.iter().map(|row| row.try_get("epoch").map(Epoch).or_else(read(DOING))).collect()
    }

    async fn start(&self, lease: Option<Lease>, sagas: &[NewSaga]) -> Result<Vec<StartReceipt>, JournalError> {
        const DOING: &str = "starting sagas";
        check_ids(sagas)?;
        let bind = || bind_start(self.query(&self.sql.start), epoch_of(lease), sagas);
        let taken = self.rows(&self.traffic, DOING, epoch_of(lease), bind).await?;
        let receipts = receipts(sagas, &taken).or_else(read(DOING))?;
        if lease.is_none() {
            self.wake().await?;
        }
        Ok(receipts)
    }

    async fn append(&self, lease: Lease, turns: &[Turn]) -> Result<Vec<Appended>, JournalError> {
        self.append_turns(lease, turns).await
    }

    async fn claim(&self, lease: Lease, definitions: &[(String, u32)], limit: usize) -> Result<Claim, JournalError> {
        const DOING: &str = "claiming sagas";
        let (names, versions): (Vec<String>, Vec<i32>) =
            definitions.iter().map(|(name, version)| (name.clone(), rows::signed(*version))).unzip();
        let limit = i32::try_from(limit).unwrap_or(i32::MAX);
        let bind =
            || self.query(&self.sql.claim).bind(lease.epoch.0).bind(names.clone()).bind(versions.clone()).bind(limit);
        // A claim that was made and not answered has taken sagas which a second one does not name: the caller must
        // know, to ask what it owns.
        let claiming = self.traffic.call_telling_loss(DOING, Some(lease.epoch), |connection| {
            let query = bind();
            Box::pin(async move { query.fetch_all(connection).await })
        });
        let found = claiming.await?;
        let mut claim = Claim { sagas: Vec::new(), next_due_at: None, now: Timestamp::from_micros(0) };
        for row in &found {
            if row.try_get::<Option<Uuid>, _>("saga_id").or_else(read(DOING))?.is_some() {
                let crashed = row.try_get("crashed").or_else(read(DOING))?;
                claim.sagas.push(Claimed { header: rows::header(row).or_else(read(DOING))?, crashed });
            } else {
                let next: Option<i64> = row.try_get("next_due_at").or_else(read(DOING))?;
                claim.next_due_at = next.map(Timestamp::from_micros);
                claim.now = Timestamp::from_micros(row.try_get("told_at").or_else(read(DOING))?);
            }
        }
        Ok(claim)
    }

    async fn claim_one(&self, lease: Lease, saga: SagaId) -> Result<ClaimOne, JournalError> {
        const DOING: &str = "claiming a saga";
        let bind = || self.query(&self.sql.claim_one).bind(lease.epoch.0).bind(saga.as_uuid());
        let rows = self.rows(&self.traffic, DOING, Some(lease.epoch), bind).await?;
        let row = rows.first().ok_or_else(|| rows::corrupt("a claim was not answered".to_owned()))?;
        let answer: String = row.try_get("answer").or_else(read(DOING))?;
        let crashed = match answer.as_str() {
            "claimed" => false,
            "crashed" => true,
            "owned" => return Ok(ClaimOne::Owned(Epoch(row.try_get("owned_by").or_else(read(DOING))?))),
            "ended" => return Ok(ClaimOne::Ended),
            _ => return Ok(ClaimOne::NotFound),
        };
        let summary = self.summary(saga).await?;
        let header = summary.ok_or_else(|| rows::corrupt(format!("{saga} was claimed and is not there")))?.header;
        Ok(ClaimOne::Claimed(Claimed { header, crashed }))
    }

    async fn owned(&self, lease: Lease) -> Result<Vec<SagaHeader>, JournalError> {
        const DOING: &str = "listing owned sagas";
        let bind = || self.query(&self.sql.owned).bind(lease.epoch.0);
        let rows = self.rows(&self.traffic, DOING, Some(lease.epoch), bind).await?;
        rows.iter().map(|row| rows::header(row).or_else(read(DOING))).collect()
    }

    async fn send(&self, messages: &[Message]) -> Result<Vec<Sent>, JournalError> {
        const DOING: &str = "sending messages";
        let column = |of: fn(&Message) -> &String| messages.iter().map(|m| of(m).clone()).collect::<Vec<_>>();
        let bind = || {
            self.query(&self.sql.send)
                .bind(column(|message| &message.definition))
                .bind(column(|message| &message.key))
                .bind(column(|message| &message.id))
                .bind(column(|message| &message.body))
        };
        let rows = self.rows(&self.traffic, DOING, None, bind).await?;
        let row = rows.first().ok_or_else(|| rows::corrupt("messages were not answered".to_owned()))?;
        let answers: Vec<i16> = row.try_get("answers").or_else(read(DOING))?;
        self.wake().await?;
        let sent = |answer| match answer {
            0 => Sent::Accepted,
            1 => Sent::Duplicate,
            _ => Sent::TooLate,
        };
        Ok(answers.into_iter().map(sent).collect())
    }

    async fn inbox(&self, lease: Lease) -> Result<Vec<Received>, JournalError> {
        const DOING: &str = "reading messages";
        let bind = || self.query(&self.sql.inbox).bind(lease.epoch.0);
        let rows = self.rows(&self.traffic, DOING, Some(lease.epoch), bind).await?;
        let received = |row: &sqlx::postgres::PgRow| rows::received(row).or_else(read(DOING));
        rows.iter().map(received).collect()
    }

    async fn load(&self, sagas: &[SagaId]) -> Result<Vec<History>, JournalError> {
        const DOING: &str = "loading histories";
        let ids: Vec<Uuid> = sagas.iter().map(|saga| saga.as_uuid()).collect();
        let rows = self.rows(&self.traffic, DOING, None, || self.query(&self.sql.load).bind(ids.clone())).await?;
        let mut histories: Vec<History> = Vec::with_capacity(sagas.len());
        for row in &rows {
            let id = SagaId::from(row.try_get::<Uuid, _>("saga_id").or_else(read(DOING))?);
            if histories.last().is_none_or(|history| history.header.id != id) {
                histories.push(History { header: rows::header(row).or_else(read(DOING))?, turns: Vec::new() });
            }
            let Some(history) = histories.last_mut() else { continue };
            let seq: i32 = row.try_get("seq").or_else(read(DOING))?;
            if usize::try_from(seq) != Ok(history.turns.len()) {
                return Err(rows::corrupt(format!("the history of {id} has a gap before turn {seq}")));
            }
            history.turns.push(rows::stored(row).or_else(read(DOING))?);
        }
        Ok(histories)
    }

    async fn find(&self, definition: &str, key: &str) -> Result<Option<SagaSummary>, JournalError> {
        const DOING: &str = "finding a saga";
        if rows::is_no_text(definition) || rows::is_no_text(key) {
            return Ok(None);
        }
        let bind = || self.query(&self.sql.find).bind(definition.to_owned()).bind(key.to_owned());
        let rows = self.rows(&self.traffic, DOING, None, bind).await?;
        rows.first().map(|row| rows::summary(row).or_else(read(DOING))).transpose()
    }

    async fn summary(&self, saga: SagaId) -> Result<Option<SagaSummary>, JournalError> {
        const DOING: &str = "looking up a saga";
        let bind = || self.query(&self.sql.summary).bind(saga.as_uuid());
        let rows = self.rows(&self.traffic, DOING, None, bind).await?;
        rows.first().map(|row| rows::summary(row).or_else(read(DOING))).transpose()
    }

    async fn list(&self, filter: &ListFilter, limit: usize) -> Result<Vec<SagaSummary>, JournalError> {
        const DOING: &str = "listing sagas";
        let named = [filter.definition.as_deref(), filter.key_prefix.as_deref()];
        if named.into_iter().flatten().any(rows::is_no_text) {
            return Ok(Vec::new());
        }
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let bind = || {
            self.query(&self.sql.list)
                .bind(filter.before.map(SagaId::as_uuid))
                .bind(filter.definition.clone())
                .bind(filter.key_prefix.clone())
                .bind(filter.status.map(rows::status_name))
                .bind(limit)
                .bind(filter.created_after.map(Timestamp::as_micros))
                .bind(filter.created_before.map(Timestamp::as_micros))
                .bind(filter.needle())
        };
        let rows = self.rows(&self.traffic, DOING, None, bind).await?;
        rows.iter().map(|row| rows::summary(row).or_else(read(DOING))).collect()
    }

    async fn dead_letters(&self, saga: Option<SagaId>, limit: usize) -> Result<Vec<DeadLetter>, JournalError> {
        const DOING: &str = "listing dead letters";
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let bind = || self.query(&self.sql.dead_letters).bind(saga.map(SagaId::as_uuid)).bind(limit);
        let rows = self.rows(&self.traffic, DOING, None, bind).await?;
        rows.iter().map(|row| rows::letter(row).or_else(read(DOING))).collect()
    }

    async fn unalerted(&self, limit: usize) -> Result<Vec<DeadLetter>, JournalError> {
        const DOING: &str = "listing alerts";
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = self.rows(&self.traffic, DOING, None, || self.query(&self.sql.unalerted).bind(limit)).await?;
        rows.iter().map(|row| rows::letter(row).or_else(read(DOING))).collect()
    }

    async fn mark_alerted(&self, letters: &[DeadLetter]) -> Result<(), JournalError> {
        let sagas: Vec<Uuid> = letters.iter().map(|letter| letter.saga.as_uuid()).collect();
        let steps: Vec<String> = letters.iter().map(|letter| step_text(letter.step.as_ref())).collect();
        let ops: Vec<&'static str> = letters.iter().map(|letter| rows::op_name(letter.op)).collect();
        let seqs: Vec<i32> = letters.iter().map(|letter| rows::signed(letter.seq)).collect();
        let bind = || {
            let query = self.query(&self.sql.mark_alerted).bind(sagas.clone()).bind(steps.clone());
            query.bind(ops.clone()).bind(seqs.clone())
        };
        self.rows(&self.traffic, "acknowledging alerts", None, bind).await.map(drop)
    }

    async fn outbox(&self, lease: Lease, limit: usize) -> Result<OutboxBatch, JournalError> {
        self.relay(lease, limit).await
    }

    async fn settle_events(&self, lease: Lease, settled: &[SettledEvent]) -> Result<(), JournalError> {
        self.settle(lease, settled).await
    }

    async fn dead_events(&self, limit: usize) -> Result<Vec<DeadEvent>, JournalError> {
        self.dead(limit).await
    }

    async fn revive_event(&self, id: &str, again: bool) -> Result<bool, JournalError> {
        self.revive(id, again).await
    }

    async fn locks(&self, limit: usize) -> Result<Vec<LockEntry>, JournalError> {
        self.lines(limit).await
    }

    async fn expired(&self, retention: Duration, limit: usize) -> Result<Vec<SagaId>, JournalError> {
        const DOING: &str = "listing ended sagas";
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let bind = || self.query(&self.sql.expired).bind(micros(retention)).bind(limit);
        let rows = self.rows(&self.traffic, DOING, None, bind).await?;
        rows.iter().map(|row| row.try_get::<Uuid, _>("saga_id").map(SagaId::from).or_else(read(DOING))).collect()
    }

    async fn forget(&self, sagas: &[SagaId], retention: Duration) -> Result<u64, JournalError> {
        const DOING: &str = "deleting ended sagas";
        let ids: Vec<Uuid> = sagas.iter().map(|saga| saga.as_uuid()).collect();
        let bind = || self.query(&self.sql.forget).bind(ids.clone()).bind(micros(retention));
        let rows = self.rows(&self.traffic, DOING, None, bind).await?;
        let deleted: i64 = rows.first().map_or(Ok(0), |row| row.try_get("deleted")).or_else(read(DOING))?;
        Ok(u64::try_from(deleted).unwrap_or(0))
    }

    async fn wait_for_work(&self, timeout: Duration) {
        match &self.listener {
            // The time-out is one of the two ways to return.
            Some(listener) => drop(tokio::time::timeout(timeout, listener.notified()).await),
            None => tokio::time::sleep(timeout).await,
        }
    }
}

impl PostgresJournal {
    /// Wakes workers that listen; once for each call, because notifications queue up at commit.
    pub(crate) async fn wake(&self) -> Result<(), JournalError> {
        if self.listener.is_none() {
            return Ok(());
        }
        let bind = || self.query(&self.sql.wake).bind(self.schema.channel());
        self.rows(&self.traffic, "waking workers", None, bind).await.map(drop)
    }
}

/// Binds the arguments of a start.
pub(crate) fn bind_start(query: Bound, epoch: Option<Epoch>, sagas: &[NewSaga]) -> Bound {
    query
        .bind(epoch.map(|epoch| epoch.0))
        .bind(sagas.iter().map(|saga| saga.id.as_uuid()).collect::<Vec<_>>())
        .bind(sagas.iter().map(|saga| saga.definition.as_str()).collect::<Vec<_>>())
        .bind(sagas.iter().map(|saga| rows::signed(saga.version)).collect::<Vec<_>>())
        .bind(sagas.iter().map(|saga| saga.key.as_str()).collect::<Vec<_>>())
        .bind(sagas.iter().map(|saga| saga.input.as_bytes().as_slice()).collect::<Vec<_>>())
        .bind(sagas.iter().map(|saga| saga.nonce).collect::<Vec<_>>())
        .bind(sagas.iter().map(|saga| saga.body.as_str()).collect::<Vec<_>>())
}

/// The answer to a start: its rows are the places of those that were not created.
pub(crate) fn receipts(sagas: &[NewSaga], taken: &[sqlx::postgres::PgRow]) -> Result<Vec<StartReceipt>, sqlx::Error> {
    let mut receipts = vec![StartReceipt::Created; sagas.len()];
    for row in taken {
        let place =
            usize::try_from(row.try_get::<i64, _>("place")?).map_err(|error| sqlx::Error::Decode(error.into()))?;
        let existing = rows::header(row)?;
        if let Some((saga, receipt)) = place.checked_sub(1).and_then(|at| Some((sagas.get(at)?, receipts.get_mut(at)?)))
            && saga.id != existing.id
        {
            *receipt = StartReceipt::Exists(existing);
        }
    }
    Ok(receipts)
}

/// The step as stored: empty for the saga as a whole.
pub(crate) fn step_text(step: Option<&saga_core::StepName>) -> String {
    step.map_or_else(String::new, ToString::to_string)
}
