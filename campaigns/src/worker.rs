//! A worker process: runs sagas until it is killed, or its standard input ends.

use std::net::SocketAddr;
use std::time::Duration;

use saga_core::engine::OpenError;
use saga_core::journal::JournalError;
use saga_core::{Engine, Limits, RetryPolicy};
use saga_postgres::PostgresBuilder;
use tokio::io::AsyncReadExt as _;

use crate::ledger::Ledger;
use crate::sagas::{Holds, Sagas, SagasError};

/// How long a gone worker's sagas stand still.
pub const LEASE_TTL: Duration = Duration::from_millis(700);

/// What a worker is told.
#[derive(clap::Args, Clone, Debug)]
pub struct Work {
    /// The journal.
    #[arg(long)]
    pub database_url: String,
    /// The ledger.
    #[arg(long)]
    pub ledger: SocketAddr,
    /// Its name.
    #[arg(long)]
    pub name: String,
    /// Which definitions it holds.
    #[arg(long, value_enum, default_value_t = Holds::All)]
    pub holds: Holds,
    /// Whether a proxy pools transactions.
    #[arg(long)]
    pub pooling: bool,
}

/// A worker cannot begin.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorkerError {
    /// The sagas cannot be built.
    #[error("the sagas cannot be built")]
    Sagas(#[from] SagasError),
    /// The journal cannot be opened.
    #[error("the journal cannot be opened")]
    Journal(#[from] JournalError),
    /// The engine cannot be opened.
    #[error("the engine cannot be opened")]
    Engine(#[from] OpenError),
}

/// Works until standard input ends.
///
/// # Errors
/// When it cannot begin for another reason than that the journal is away.
pub async fn work(work: &Work) -> Result<(), WorkerError> {
    let sagas = Sagas::new(Ledger::at(work.ledger))?;
    let parent = tokio::spawn(wait_for_parent());
    // A journal that is away comes back; the campaign sees to that.
    let engine = loop {
        match open(work, &sagas).await {
            Ok(engine) => break engine,
            Err(error) if parent.is_finished() => return Err(error),
            Err(error) => {
                tracing::warn!(%error, "not open yet");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    };
    // It ends in one way only.
    parent.await.ok();
    engine.shutdown(Duration::from_secs(5)).await;
    Ok(())
}

async fn open(work: &Work, sagas: &Sagas) -> Result<Engine, WorkerError> {
    let journal = PostgresBuilder::from_url(&work.database_url)?.transaction_pooling(work.pooling).migrate(false);
    let journal = journal.call_timeout(Duration::from_secs(2)).open().await?;
    let mut limits = Limits::default();
    // Crashes are what this is about: none of them is the steps' fault.
    limits.crashes_max = 100_000;
    limits.in_flight_max = 64;
    let engine = Engine::builder(journal).limits(limits).worker_name(&work.name).publisher(Ledger::at(work.ledger));
    let engine = engine.publish_retry(RetryPolicy::fixed(Duration::from_millis(20)).unbounded());
    let engine = engine.lease_ttl(LEASE_TTL).poll_interval(Duration::from_millis(25));
    Ok(sagas.register(engine, work.holds).open().await?)
}

/// Returns when standard input ends, or anything comes.
async fn wait_for_parent() {
    let mut byte = [0_u8; 1];
    match tokio::io::stdin().read(&mut byte).await {
        Ok(0 | 1..) | Err(_) => {}
    }
}
