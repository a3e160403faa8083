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
    Underway,
    DuroxidePg,
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
        Name::Durare => Arc::new(durare::Durare::open(url, steps).await?),
        Name::Underway => Arc::new(underway::Underway::open(url, steps).await?),
        Name::DuroxidePg => Arc::new(duroxide::Duroxide::open(url, steps).await?),
    })
}
