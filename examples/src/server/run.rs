//! The server from its settings to its end.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use checkout_workflows::initiate::checkout::InitiateServices;
use checkout_workflows::initiate::flags::ConfiguredFlags;
use checkout_workflows::initiate::pii::{KeyRing, PiiError};
use checkout_workflows::initiate::repeat_program::{HttpRepeatProgram, LocalRepeatProgram, RepeatProgram};
use checkout_workflows::initiate::service::{InitiateFlow, InitiateService};
use checkout_workflows::initiate::store::{StoreError, Stores};
use checkout_workflows::initiate::vendor::{HttpVendor, PaymentVendor};
use checkout_workflows::initiate::webhook::WeakSecret;
use saga_core::engine::{EngineBuilder, OpenError};
use saga_core::journal::Journal;
use saga_core::{BuildError, Engine};
use saga_postgres::PostgresJournal;
use saga_sqlite::SqliteJournal;
use serde::de::DeserializeOwned;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::app::{self, App, Draining, Metrics, PAYMENT_WEBHOOK};
use super::auth::Authenticator;
use super::config::{Config, ConfigError};
use super::jwks::JwksError;
use super::limits::Limits;
use super::{catalogue, meter, publisher};
use crate::vendor::{self, StandIn};

/// Where the stand-in for the vendor is, when it runs in this process.
pub const STAND_IN: &str = "/stand-in-vendor";

/// Why the server does not run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// The settings are not good.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A key for personal data cannot be used.
    #[error("a key for personal data cannot be used")]
    Pii(#[from] PiiError),
    /// The keys of tokens cannot be read.
    #[error("the keys of tokens cannot be read")]
    Jwks(#[from] JwksError),
    /// The address, or a file, cannot be used.
    #[error("the address or a file cannot be used")]
    Io(#[from] std::io::Error),
    /// A file is not what it should be.
    #[error("a file is no such JSON")]
    Json(#[from] serde_json::Error),
    /// The tables cannot be used.
    #[error("the tables cannot be used")]
    Stores(#[from] StoreError),
    /// The journal cannot be used.
    #[error("the journal cannot be used")]
    Journal(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The flow breaks a rule.
    #[error("the flow breaks a rule of sagas")]
    Definition(#[from] BuildError),
    /// The engine does not open.
    #[error("the engine does not open")]
    Engine(#[from] OpenError),
    /// The HTTP client cannot be made.
    #[error("the HTTP client cannot be made")]
    Client(#[from] reqwest::Error),
    /// The stand-in's secret is too short.
    #[error("the stand-in cannot sign its webhooks")]
    StandIn(#[from] WeakSecret),
    /// NATS cannot be reached.
    #[error("NATS cannot be reached")]
    Nats(#[from] async_nats::ConnectError),
    /// The stream cannot be used.
    #[error("the stream of events cannot be used")]
    Stream(#[from] saga_publish::nats::OpenError),
    /// The address of events cannot be used.
    #[error("the address of events cannot be used")]
    Events(#[from] saga_publish::http::BuildError),
    /// What is counted cannot be recorded.
    #[error("what is counted cannot be recorded")]
    Metrics(#[from] metrics_exporter_prometheus::BuildError),
}

/// A server that is bound to its address, and whose worker runs.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    router: Router,
    app: App,
    stand_in: Option<StandIn>,
    drain: Duration,
}

impl Server {
    /// Opens the journal and the tables, starts the worker, and binds the address.
    ///
    /// # Errors
    /// See [`ServerError`].
    pub async fn bind(config: &Config) -> Result<Self, ServerError> {
        config.check()?;
        let authenticator = Arc::new(Authenticator::open(config.tokens()?).await?);
        let listener = TcpListener::bind(config.listen).await?;
        let address = listener.local_addr()?;
        let (stores, journal) = databases(config).await?;
        let (vendor, stand_in) = vendor(config, address)?;
        let mut services = InitiateServices::new(stores, vendor, config.pii()?);
        if let Some(repeats) = repeat_program(config)? {
            services.repeat_program = repeats;
        }
        services.payment_wait = config.payment_wait();
        services.policies = json(config.policies.as_deref()).await?;
        let flow = InitiateFlow::new(services)?;
        let metrics = Metrics(meter::recorder()?);
        let engine = flow.register(Engine::builder_shared(journal));
        let mut engine = engine.lease_ttl(Duration::from_millis(config.lease_ttl_ms));
        if let Some(name) = &config.worker_name {
            engine = engine.worker_name(name);
        }
        let engine = publisher::publishing(engine, config).await?.open().await?;
        let flags: ConfiguredFlags = json(config.flags.as_deref()).await?;
        let mut service = InitiateService::new(flow, engine, flags, config.webhook_secrets()?)
            .answer_within(Duration::from_millis(config.answer_within_ms));
        if let Some(secrets) = config.event_secrets()? {
            service = service.consumes_events(secrets);
        }
        let limits = Limits {
            body_bytes_max: config.body_bytes_max,
            requests_max: config.requests_max,
            request_timeout: Duration::from_millis(config.request_timeout_ms),
        };
        let tenant = config.tenant.as_str().into();
        let app = App { service, authenticator, tenant, metrics, draining: Draining::default(), limits };
        let mut router = app::router(app.clone());
        if let Some(stand_in) = &stand_in {
            router = router.nest(STAND_IN, vendor::router(stand_in.clone()));
        }
        Ok(Self { listener, address, router, app, stand_in, drain: config.drain() })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What its handlers share.
    #[must_use]
    pub fn app(&self) -> &App {
        &self.app
    }

    /// The stand-in for the vendor, when it runs in this process.
    #[must_use]
    pub fn stand_in(&self) -> Option<&StandIn> {
        self.stand_in.as_ref()
    }

    /// Serves until `stop` is ready. Then nothing more is accepted, what is under way gets its time, and
    /// checkouts are handed back to the journal for other workers.
    ///
    /// # Errors
    /// When the listener fails.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Result<(), ServerError> {
        let Self { listener, router, app, drain, .. } = self;
        let stopping = CancellationToken::new();
        let served = axum::serve(listener, router).with_graceful_shutdown(stopping.clone().cancelled_owned());
        let served = served.into_future();
        let upkeep = meter::keep_up(app.metrics.0.clone());
        tokio::pin!(served, stop, upkeep);
        let ended = tokio::select! {
            ended = &mut served => Some(ended),
            () = &mut upkeep => None,
            () = &mut stop => None,
        };
        tracing::info!("stopping: what is under way gets its time");
        app.draining.begin();
        stopping.cancel();
        let ended = match ended {
            Some(ended) => ended,
            None => tokio::time::timeout(drain, served).await.unwrap_or_else(|_| {
                tracing::warn!("requests were under way for too long, and are cut off");
                Ok(())
            }),
        };
        app.service.engine().shutdown(drain).await;
        Ok(ended?)
    }
}

/// The engine's builder with the flow, for whoever decides about its checkouts and runs none.
///
/// # Errors
/// When the database cannot be reached.
pub async fn for_operators(engine: EngineBuilder, database_url: &str) -> Result<EngineBuilder, ServerError> {
    let stores = Stores::open(database_url).await?;
    // Nothing is asked of it, and nothing is sealed.
    let vendor = HttpVendor::new("http://127.0.0.1:9", Duration::from_secs(1))?;
    let services = InitiateServices::new(stores, Arc::new(vendor), KeyRing::new("none", &[0; 32])?);
    Ok(InitiateFlow::new(services)?.register(engine))
}

/// The tables and the journal, in the same database.
async fn databases(config: &Config) -> Result<(Stores, Arc<dyn Journal>), ServerError> {
    let url = config.database_url.expose();
    let journal: Arc<dyn Journal> = match url.strip_prefix("sqlite://") {
        Some(path) => {
            let path = path.split_once('?').map_or(path, |(path, _)| path);
            create(Path::new(path)).await?;
            let journal = SqliteJournal::open(path).await;
            Arc::new(journal.map_err(|error| ServerError::Journal(error.into()))?)
        }
        None => {
            let journal = PostgresJournal::connect(url).await;
            Arc::new(journal.map_err(|error| ServerError::Journal(error.into()))?)
        }
    };
    let stores = Stores::open(url).await?;
    stores.migrate().await?;
    if let Some(path) = &config.catalogue {
        catalogue::from_file(&stores, path).await?;
    }
    if config.insecure_dev {
        catalogue::of_examples(&stores).await?;
    }
    Ok((stores, journal))
}

/// The file, empty, when it is not there.
async fn create(path: &Path) -> Result<(), std::io::Error> {
    let mut file = tokio::fs::OpenOptions::new();
    file.create(true).append(true).open(path).await.map(drop)
}

/// The vendor, and the stand-in when that is what it is.
fn vendor(config: &Config, address: SocketAddr) -> Result<(Arc<dyn PaymentVendor>, Option<StandIn>), ServerError> {
    let timeout = Duration::from_millis(config.vendor_timeout_ms);
    if let Some(url) = &config.vendor_url {
        return Ok((Arc::new(HttpVendor::new(url.expose().trim_end_matches('/'), timeout)?), None));
    }
    let webhooks = format!("http://{address}{PAYMENT_WEBHOOK}");
    let stand_in = StandIn::new(config.webhook_secret()?.expose().as_bytes(), Some(webhooks))?;
    Ok((Arc::new(stand_in.clone()), Some(stand_in)))
}

/// The repeat program; for a look on one's own machine one in this process, which forgets everything with it.
fn repeat_program(config: &Config) -> Result<Option<Arc<dyn RepeatProgram>>, ServerError> {
    let timeout = Duration::from_millis(config.vendor_timeout_ms);
    Ok(match &config.repeat_program_url {
        Some(url) => Some(Arc::new(HttpRepeatProgram::new(url.expose().trim_end_matches('/'), timeout)?)),
        None if config.insecure_dev => Some(Arc::new(LocalRepeatProgram::new())),
        None => None,
    })
}

/// What the file says, or else what is documented.
async fn json<T: DeserializeOwned + Default>(file: Option<&Path>) -> Result<T, ServerError> {
    match file {
        Some(path) => Ok(serde_json::from_slice(&tokio::fs::read(path).await?)?),
        None => Ok(T::default()),
    }
}
