//! A worker process: opens the journal and the shop, and runs sagas until it is killed or told to stop.

use std::sync::Arc;
use std::time::Duration;

use checkout_workflows::payment::HttpGateway;
use checkout_workflows::shop::Shop;
use checkout_workflows::{ConfirmCheckout, Confirmation, Services, confirm_checkout};
use saga_core::engine::EngineBuilder;
use saga_core::journal::Journal;
use saga_core::{Definition, Engine, Jitter, Limits, RetryPolicy};
use saga_postgres::PostgresJournal;
use saga_sqlite::SqliteJournal;
use tokio::io::AsyncReadExt as _;

use super::JobError;

/// How long a killed worker's sagas stand still.
const LEASE_TTL: Duration = Duration::from_millis(1_500);
/// How long a call to the gateway may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(2);

/// Where things are.
#[derive(Clone, Debug)]
pub struct Places {
    /// The shop's database, `sqlite://…` or `postgres://…`. The journal is in the same one.
    pub database_url: String,
    /// The gateway.
    pub gateway_url: String,
}

impl Places {
    /// The journal.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub async fn journal(&self) -> Result<Arc<dyn Journal>, JobError> {
        Ok(match self.database_url.strip_prefix("sqlite://") {
            Some(path) => Arc::new(SqliteJournal::open(path).await?),
            None => Arc::new(PostgresJournal::connect(&self.database_url).await?),
        })
    }

    /// The saga's definition, with the job's policies: impatient enough for a demonstration.
    ///
    /// # Errors
    /// When the shop's database cannot be reached.
    pub async fn definition(&self) -> Result<Definition<ConfirmCheckout, Confirmation>, JobError> {
        let shop = Shop::connect(&self.database_url).await?;
        let gateway = HttpGateway::new(&self.gateway_url, CALL_TIMEOUT)?;
        let quick = |attempts| {
            let policy = RetryPolicy::exponential(Duration::from_millis(20)).cap(Duration::from_millis(500));
            policy.attempts(attempts).jitter(Jitter::Full)
        };
        let mut services = Services::new(shop, Arc::new(gateway));
        services.retry = quick(8);
        services.patience = quick(12);
        Ok(confirm_checkout(&services)?)
    }

    /// An engine's builder with the definition registered.
    ///
    /// # Errors
    /// As [`Places::journal`] and [`Places::definition`].
    pub async fn engine(&self) -> Result<(EngineBuilder, Definition<ConfirmCheckout, Confirmation>), JobError> {
        let definition = self.definition().await?;
        let mut limits = Limits::default();
        limits.in_flight_max = 24;
        let engine = Engine::builder_shared(self.journal().await?).register(&definition).limits(limits);
        Ok((engine.lease_ttl(LEASE_TTL).poll_interval(Duration::from_millis(50)), definition))
    }
}

/// Runs until standard input ends, which it does with the parent process.
///
/// # Errors
/// When the journal or the shop cannot be opened.
pub async fn run(places: &Places, name: &str) -> Result<(), JobError> {
    let (engine, _) = places.engine().await?;
    let engine = engine.worker_name(name).open().await?;
    wait_for_parent().await;
    engine.shutdown(Duration::from_secs(5)).await;
    Ok(())
}

/// Returns when standard input ends (or anything comes): time to go.
pub async fn wait_for_parent() {
    let mut byte = [0_u8; 1];
    match tokio::io::stdin().read(&mut byte).await {
        // Three ways to the same end.
        Ok(0 | 1..) | Err(_) => {}
    }
}
