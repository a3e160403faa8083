//! Gathers what the checker looks at.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use saga_core::engine::HistoryTurn;
use saga_core::journal::{Journal as _, ListFilter, SagaSummary};
use saga_core::machine::decode_turn;
use saga_core::{Engine, SagaId};
use saga_postgres::PostgresBuilder;
use sqlx::{PgConnection, Row as _};

use crate::checker::{Facts, LeaseFacts, MessageFacts, SagaFacts, ServerFacts};
use crate::error::{CampaignError, io};
use crate::ledger::{Book, Ledger};
use crate::notes::Notes;
use crate::sagas::{Holds, Sagas};
use crate::traffic::connect;

/// How many sagas are read together.
const PAGE: usize = 500;
/// How long connections of workers that have ended may be seen.
const CLOSING_MAX: Duration = Duration::from_secs(10);

/// Reads everything, once the workers are gone.
///
/// # Errors
/// When something cannot be read.
pub(crate) async fn gather(
    direct: &str,
    ledger: Ledger,
    book: Book,
    (notes, leases): (Notes, BTreeMap<i64, LeaseFacts>),
    logs: &Path,
    secret: &str,
) -> Result<Facts, CampaignError> {
    let mut connection = connect(direct).await?;
    let server = server(&mut connection).await?;
    let mut facts = Facts { book, notes, leases, server, ..Facts::default() };
    facts.messages = messages(&mut connection).await?;
    facts.leaks = leaks(&mut connection, logs, secret).await?;
    let sagas = Sagas::new(ledger)?;
    let journal = PostgresBuilder::from_url(direct)?.listen(false).open().await?;
    facts.sagas = read(&journal).await?;
    let engine = sagas.register(Engine::builder(journal).client_only(), Holds::Both).open().await?;
    let report = engine.verify(None).await?;
    facts.journal = report.violations;
    Ok(facts)
}

/// The server, once the connections of workers that have ended are closed.
async fn server(connection: &mut PgConnection) -> Result<ServerFacts, CampaignError> {
    const QUESTION: &str = "SELECT \
        (SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%' AND datname = current_database()) AS idle, \
        (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory') AS advisory, \
        (SELECT count(*) FROM pg_stat_activity WHERE application_name = 'saga-journal' AND datname = current_database()) AS open, \
        (SELECT count(*) FROM saga.outbox WHERE NOT dead) AS unpublished";
    let until = tokio::time::Instant::now() + CLOSING_MAX;
    loop {
        let row = sqlx::query(QUESTION).fetch_one(&mut *connection).await?;
        let facts = ServerFacts {
            idle_in_transaction: row.try_get("idle")?,
            advisory_locks: row.try_get("advisory")?,
            connections: row.try_get("open")?,
            unpublished: row.try_get("unpublished")?,
        };
        let is_clean = facts.idle_in_transaction + facts.advisory_locks + facts.connections == 0;
        if is_clean || tokio::time::Instant::now() > until {
            return Ok(facts);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn messages(connection: &mut PgConnection) -> Result<Vec<MessageFacts>, CampaignError> {
    let rows = sqlx::query("SELECT definition, key, message_id, read_seq IS NOT NULL AS read FROM saga.message");
    let mut messages = Vec::new();
    for row in rows.fetch_all(connection).await? {
        messages.push(MessageFacts {
            definition: row.try_get("definition")?,
            key: row.try_get("key")?,
            id: row.try_get("message_id")?,
            read: row.try_get("read")?,
        });
    }
    Ok(messages)
}

/// Looks for the secret wherever it must not be.
async fn leaks(connection: &mut PgConnection, logs: &Path, secret: &str) -> Result<Vec<String>, CampaignError> {
    const PLACES: [(&str, &str); 5] = [
        ("the journal", "SELECT count(*) FROM saga.turn WHERE body LIKE $1"),
        ("the messages", "SELECT count(*) FROM saga.message WHERE body LIKE $1"),
        ("the outbox", "SELECT count(*) FROM saga.outbox WHERE payload LIKE $1 OR headers LIKE $1"),
        ("the dead letters", "SELECT count(*) FROM saga.dead_letter WHERE error LIKE $1"),
        ("the start keys", "SELECT count(*) FROM saga.saga WHERE key LIKE $1"),
    ];
    let mut found = Vec::new();
    for (place, question) in PLACES {
        let count: i64 = sqlx::query_scalar(question).bind(format!("%{secret}%")).fetch_one(&mut *connection).await?;
        if count > 0 {
            found.push(format!("{place}, {count} times"));
        }
    }
    for entry in fs::read_dir(logs).map_err(io("reading the workers' logs"))? {
        let path = entry.map_err(io("reading the workers' logs"))?.path();
        let text = fs::read(&path).map_err(io("reading a worker's log"))?;
        if String::from_utf8_lossy(&text).contains(secret) {
            found.push(path.display().to_string());
        }
    }
    Ok(found)
}

async fn read(journal: &saga_postgres::PostgresJournal) -> Result<Vec<SagaFacts>, CampaignError> {
    let mut letters: BTreeMap<SagaId, usize> = BTreeMap::new();
    for letter in journal.dead_letters(None, usize::MAX >> 1).await? {
        *letters.entry(letter.saga).or_default() += 1;
    }
    let (mut sagas, mut filter) = (Vec::new(), ListFilter::default());
    loop {
        let page = journal.list(&filter, PAGE).await?;
        let Some(last) = page.last() else { return Ok(sagas) };
        filter.before = Some(last.header.id);
        let status: BTreeMap<SagaId, SagaSummary> =
            page.into_iter().map(|summary| (summary.header.id, summary)).collect();
        let ids: Vec<SagaId> = status.keys().copied().collect();
        for history in journal.load(&ids).await? {
            let Some(summary) = status.get(&history.header.id) else { continue };
            let turns = history
                .turns
                .iter()
                .map(|turn| Ok(HistoryTurn { at: turn.at, epoch: turn.epoch, records: decode_turn(&turn.body)? }));
            sagas.push(SagaFacts {
                id: history.header.id,
                definition: summary.header.definition.clone(),
                version: summary.header.version,
                key: summary.header.key.clone(),
                status: summary.status,
                turns: turns.collect::<Result<_, serde_json::Error>>()?,
                letters: letters.get(&history.header.id).copied().unwrap_or(0),
            });
        }
    }
}
