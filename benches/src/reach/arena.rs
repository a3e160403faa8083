//! Engines on a private Postgres.

use std::time::Duration;

use saga_core::engine::EngineBuilder;
use saga_core::{Definition, Engine, Limits};
use saga_postgres::PostgresJournal;
use saga_testkit::postgres::Cluster;

use super::Outcome;
use crate::run_saga;

/// How long sagas may take to end after a measurement.
pub(super) const GRACE: Duration = Duration::from_secs(10);

/// The private server. It goes when this is dropped.
pub(super) struct Arena {
    cluster: Cluster,
}

impl Arena {
    /// A server with its default durability.
    pub(super) async fn start() -> Outcome<Self> {
        Ok(Self { cluster: crate::start_server().await? })
    }

    /// The address of a new, empty database.
    pub(super) async fn database(&self) -> Outcome<String> {
        Ok(self.cluster.database().await?.url().to_owned())
    }
}

/// An engine that has room for so many sagas in flight, to be opened.
pub(super) async fn engine(url: &str, in_flight: usize) -> Outcome<EngineBuilder> {
    let mut limits = Limits::default();
    limits.in_flight_max = in_flight.max(limits.in_flight_max);
    Ok(Engine::builder(PostgresJournal::connect(url).await?).limits(limits))
}

/// One saga from start to outcome, as the measuring loops want it.
pub(super) fn saga(
    engine: &Engine,
    definition: &Definition<String, String>,
) -> impl Fn(String) -> SagaFuture + Clone + Send + 'static {
    let (engine, definition) = (engine.clone(), definition.clone());
    move |key| {
        let (engine, definition) = (engine.clone(), definition.clone());
        Box::pin(async move { run_saga(&engine, &definition, &key).await })
    }
}

type SagaFuture = std::pin::Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;
