//! Why a campaign could not be run; that it found something is no error.

use saga_core::engine::OpenError;
use saga_core::journal::JournalError;
use saga_testkit::postgres::ClusterError;

use crate::sagas::SagasError;

/// A campaign could not be run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CampaignError {
    /// The server is not there.
    #[error("the campaign's own server failed")]
    Cluster(#[from] ClusterError),
    /// A question to the server failed.
    #[error("the campaign's own look at the server failed")]
    Sql(#[from] sqlx::Error),
    /// The journal cannot be read.
    #[error("the journal cannot be read")]
    Journal(#[from] JournalError),
    /// An engine cannot be opened.
    #[error("a client's engine cannot be opened")]
    Engine(#[from] OpenError),
    /// The sagas cannot be built.
    #[error("the sagas cannot be built")]
    Sagas(#[from] SagasError),
    /// A file or a process failed.
    #[error("{doing} failed")]
    Io {
        /// What was tried.
        doing: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// This machine cannot do what the class needs. It is not left out in silence.
    #[error("the class {class} needs {what}")]
    NotPossibleHere {
        /// The class.
        class: &'static str,
        /// What it needs, and how to get it.
        what: String,
    },
    /// A turn cannot be read.
    #[error("a turn of the journal cannot be read")]
    Turn(#[from] serde_json::Error),
    /// A part of the campaign panicked.
    #[error("a part of the campaign panicked")]
    Panicked(#[from] tokio::task::JoinError),
}

/// Names what was tried with a file or a process.
pub(crate) fn io(doing: &'static str) -> impl FnOnce(std::io::Error) -> CampaignError {
    move |source| CampaignError::Io { doing, source }
}
