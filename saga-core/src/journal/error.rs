//! What can go wrong with a journal, by what the caller can do about it.

use super::NewSaga;
use crate::id::Epoch;

/// A journal call failed. The variants are the caller's next moves.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// The storage cannot be reached, or an answer was lost. Send the same call again: that is
    /// always safe, and the only way to learn whether it had gone through.
    #[error("the journal is unavailable while {doing}: send the same call again")]
    Unavailable {
        /// What was tried.
        doing: &'static str,
        /// What the storage said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The lease is no longer valid: another worker has taken over, or it was closed. Drop what was
    /// held under it and open a new one.
    #[error("the lease with epoch {epoch} is fenced: its sagas belong to other workers now")]
    Fenced {
        /// The lease's epoch.
        epoch: Epoch,
    },
    /// The storage was made by a newer version of this library. Deploy that version or a later one.
    #[error(
        "the journal's schema has version {found}, and this library knows versions up to {known}: deploy a newer one"
    )]
    NewerSchema {
        /// The version in the storage.
        found: i64,
        /// The newest that this library knows.
        known: i64,
    },
    /// The storage is set up in a way that the promises cannot be kept, or cannot be used at all.
    /// The message says what to change.
    #[error("the journal cannot be used: {problem}")]
    Misconfigured {
        /// What is wrong, and what to change.
        problem: String,
        /// What the storage said, if it said anything.
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
    /// The storage holds something that no journal writes. A human must look.
    #[error("the journal is corrupt: {problem}")]
    Corrupt {
        /// What was found, and where.
        problem: String,
    },
}

impl JournalError {
    /// An [`JournalError::Unavailable`] from any cause.
    pub fn unavailable(doing: &'static str, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Unavailable { doing, source: source.into() }
    }

    /// The refusal of a start whose saga id another saga has: ids are made once and never shared.
    #[must_use]
    pub fn id_taken(saga: &NewSaga) -> Self {
        let NewSaga { id, definition, key, .. } = saga;
        Self::Misconfigured {
            problem: format!("the id {id} of the new saga {definition}/{key} belongs to another saga: make a new id"),
            source: None,
        }
    }

    /// Whether sending the same call again can succeed.
    #[must_use]
    pub fn is_unavailable(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }

    /// Whether the lease is lost.
    #[must_use]
    pub fn is_fenced(&self) -> bool {
        matches!(self, Self::Fenced { .. })
    }
}
