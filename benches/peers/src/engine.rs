//! What an engine must do here.

use std::error::Error;
use std::sync::Arc;

use async_trait::async_trait;
use clap::ValueEnum;

use crate::{dbos, durare, duroxide, underway};

/// Why an engine could not.
pub type Failure = Box<dyn Error + Send + Sync>;

/// Who can be asked for.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Name {
    Dbos,
    Durare,
    DurareSqlite,
    Underway,
    DuroxidePg,
}

impl Name {
    /// Whether its journal is in a Postgres server.
    pub fn has_server(self) -> bool {
        match self {
            Self::Dbos | Self::Durare | Self::Underway | Self::DuroxidePg => true,
            Self::DurareSqlite => false,
        }
    }
}

/// An engine in its documented set-up, which runs sagas of a fixed number of steps without effect. Each step
/// leaves [`RESULT`](crate::RESULT), and that is durable before the next one starts.
#[async_trait]
pub trait Engine: Send + Sync {
    /// One saga, from start to outcome.
    async fn saga(&self, key: String) -> Result<(), Failure>;
}

/// Sets one up on a fresh database.
pub async fn open(name: Name, url: &str, steps: usize) -> Result<Arc<dyn Engine>, Failure> {
    Ok(match name {
        Name::Dbos => Arc::new(dbos::Dbos::open(url, steps).await?),
        Name::Durare => Arc::new(durare::Durare::on_postgres(url, steps).await?),
        Name::DurareSqlite => Arc::new(durare::Durare::on_sqlite(url, steps).await?),
        Name::Underway => Arc::new(underway::Underway::open(url, steps).await?),
        Name::DuroxidePg => Arc::new(duroxide::Duroxide::open(url, steps).await?),
    })
}
