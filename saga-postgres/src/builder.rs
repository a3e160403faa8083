//! Options of the journal, each with its default and the reason for it.

use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use saga_core::journal::JournalError;
use sqlx::postgres::{PgConnectOptions, PgPool};
use sqlx::{ConnectOptions as _, Connection as _, PgConnection, Row as _};

use crate::connections::{Lane, Source};
use crate::error::Failure;
use crate::journal::PostgresJournal;
use crate::listen::Listener;
use crate::migrate;
use crate::schema::SchemaName;
use crate::sql::Statements;

/// Configures a [`PostgresJournal`].
pub struct PostgresBuilder {
    source: Source,
    schema: String,
    connections: usize,
    pooling: bool,
    listen: bool,
    migrate: bool,
    allow_unsafe_durability: bool,
    call_timeout: Duration,
}

impl PostgresBuilder {
    /// A journal on the database that a URL names.
    ///
    /// # Errors
    /// When the URL is not one of Postgres. The error does not repeat it: it may hold a password.
    pub fn from_url(url: &str) -> Result<Self, JournalError> {
        let options = PgConnectOptions::from_str(url).map_err(|_| JournalError::Misconfigured {
            problem: "the database URL is not of the form postgres://user@host:port/database".to_owned(),
            source: None,
        })?;
        Ok(Self::from_options(options))
    }

    /// A journal on the database that these options name.
    #[must_use]
    pub fn from_options(options: PgConnectOptions) -> Self {
        Self::new(Arc::new(move || options.clone()))
    }

    /// A journal on the database of the host's pool. It takes the pool's options, each time it
    /// connects, and none of its connections.
    #[must_use]
    pub fn from_pool(pool: &PgPool) -> Self {
        let pool = pool.clone();
        Self::new(Arc::new(move || (*pool.connect_options()).clone()))
    }

    fn new(source: Source) -> Self {
        Self {
            source,
            schema: "saga".to_owned(),
            connections: 2,
            pooling: false,
            listen: true,
            migrate: true,
            allow_unsafe_durability: false,
            call_timeout: Duration::from_secs(10),
        }
    }

    /// The schema that holds the journal. Default `saga`. Journals in different schemas of one
    /// database know nothing of each other.
    #[must_use]
    pub fn schema(mut self, name: impl Into<String>) -> Self {
        self.schema = name.into();
        self
    }

    /// How many connections carry the journal's traffic, beside the one for leases. Default 2: one
    /// gathers while the other commits; more only make the batches smaller.
    #[must_use]
    pub fn connections(mut self, connections: usize) -> Self {
        self.connections = connections.max(1);
        self
    }

    /// Works behind a proxy that pools transactions: without prepared statements and without LISTEN,
    /// each call in a transaction of its own. Costs three more round trips a call. Default off; a
    /// proxy that keeps track of prepared statements does not need it.
    #[must_use]
    pub fn transaction_pooling(mut self, on: bool) -> Self {
        self.pooling = on;
        self
    }

    /// Wakes workers of other processes by LISTEN and NOTIFY, over one more connection. Default on;
    /// without it workers find new sagas at their poll interval.
    #[must_use]
    pub fn listen(mut self, on: bool) -> Self {
        self.listen = on;
        self
    }

    /// Whether opening the journal brings its schema to the newest version. Default on.
    #[must_use]
    pub fn migrate(mut self, on: bool) -> Self {
        self.migrate = on;
        self
    }

    /// Accepts a server that may lose what it has acknowledged (`fsync` or `synchronous_commit` off).
    /// For experiments alone: promise J1 does not hold on it.
    #[must_use]
    pub fn allow_unsafe_durability(mut self) -> Self {
        self.allow_unsafe_durability = true;
        self
    }

    /// How long a call may take before it is given up, and its connection with it. Default 10 s. The
    /// call is then repeated, so a limit that is too short costs work and no correctness.
    #[must_use]
    pub fn call_timeout(mut self, timeout: Duration) -> Self {
        self.call_timeout = timeout;
        self
    }

    /// Connects, checks the server, and migrates the schema unless told otherwise.
    ///
    /// # Errors
    /// [`JournalError::Unavailable`] when the server cannot be reached, and otherwise an error that
    /// says what to change.
    pub async fn open(self) -> Result<PostgresJournal, JournalError> {
        let schema = SchemaName::parse(&self.schema)?;
        let inner = self.source;
        let source: Source = Arc::new(move || {
            let options = inner();
            let named = options.get_application_name().is_some();
            let options = if named { options } else { options.application_name("saga-journal") };
            options.disable_statement_logging()
        });
        let refused = |error: sqlx::Error| Failure::from(error).into_journal_error("connecting", None);
        let connecting = source();
        let connected = tokio::time::timeout(self.call_timeout, connecting.connect()).await;
        let mut connection =
            connected.map_err(|_| JournalError::unavailable("connecting", "no answer in time"))?.map_err(refused)?;
        // In one transaction, so that a proxy that pools transactions keeps it on one server connection.
        let mut opening = connection.begin().await.map_err(refused)?;
        check_server(&mut opening, self.allow_unsafe_durability).await?;
        if self.migrate {
            migrate::migrate(&mut opening, &schema).await?;
        } else {
            match migrate::check(&mut opening, &schema).await? {
                migrate::NEWEST => {}
                found => return Err(migrate::outdated(found)),
            }
        }
        opening.commit().await.map_err(refused)?;
        drop(connection);
        let lane = |connections| Lane::new(source.clone(), connections, self.pooling, self.call_timeout);
        let listener = (self.listen && !self.pooling).then(|| Listener::spawn(source.clone(), schema.channel()));
        Ok(PostgresJournal::new(
            Statements::render(&schema),
            schema,
            lane(self.connections),
            lane(1),
            listener,
            !self.pooling,
        ))
    }
}

impl std::fmt::Debug for PostgresBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PostgresBuilder").field("schema", &self.schema).finish_non_exhaustive()
    }
}

/// Refuses a server on which the promises cannot be kept.
async fn check_server(connection: &mut PgConnection, allow_unsafe: bool) -> Result<(), JournalError> {
    let row = sqlx::query(
        "SELECT current_setting('server_version_num')::int AS version, current_setting('fsync') AS fsync, \
         current_setting('synchronous_commit') AS synchronous_commit, current_setting('server_encoding') AS encoding, \
         pg_is_in_recovery() AS standby",
    )
    .persistent(false)
    .fetch_one(connection)
    .await
    .map_err(|error| Failure::from(error).into_journal_error("checking the server", None))?;
    let read = |error: sqlx::Error| Failure::from(error).into_journal_error("checking the server", None);
    let text = |column| row.try_get::<String, _>(column).map_err(read);
    let problem = if row.try_get::<i32, _>("version").map_err(read)? < 140_000 {
        "the server is older than Postgres 14: upgrade it"
    } else if row.try_get::<bool, _>("standby").map_err(read)? {
        "the server is a standby: connect to the primary"
    } else if text("encoding")? != "UTF8" {
        "the database does not have the encoding UTF8: create one that has"
    } else if !allow_unsafe && text("fsync")? != "on" {
        "the server runs with fsync off and can lose what it acknowledged: switch it on, \
         or call allow_unsafe_durability if sagas may be lost"
    } else if !allow_unsafe && text("synchronous_commit")? == "off" {
        "synchronous_commit is off and the server can lose what it acknowledged: switch it on for this role \
         or database, or call allow_unsafe_durability if sagas may be lost"
    } else {
        return Ok(());
    };
    Err(JournalError::Misconfigured { problem: problem.to_owned(), source: None })
}
