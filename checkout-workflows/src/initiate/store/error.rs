//! Why a store refuses.

use saga_core::StepError;

use crate::money::{Money, MoneyError};

/// An event that the entity's state does not allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a {entity} that is {state} cannot {event}")]
pub struct IllegalTransition {
    /// What.
    pub entity: &'static str,
    /// Where it stands.
    pub state: &'static str,
    /// What was to happen to it.
    pub event: &'static str,
}

/// Why a store refuses.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The state of the entity does not allow it.
    #[error("{id} was refused")]
    Illegal {
        /// Its id.
        id: String,
        /// What was to happen.
        #[source]
        transition: IllegalTransition,
    },
    /// There is no such entity.
    #[error("there is no {entity} {id}")]
    NotFound {
        /// What.
        entity: &'static str,
        /// Its id.
        id: String,
    },
    /// There is one already, made by another operation.
    #[error("there is a {entity} for {id} already")]
    Exists {
        /// What.
        entity: &'static str,
        /// What it was to be made for.
        id: String,
    },
    /// Such an amount cannot be collected or owed.
    #[error("a {entity} of {amount} makes no sense")]
    BadAmount {
        /// What.
        entity: &'static str,
        /// The amount.
        amount: Money,
    },
    /// It was to be refunded, and no money was taken for it.
    #[error("nothing was paid for {id}")]
    NotPaid {
        /// The requirement's id.
        id: String,
    },
    /// Another operation has written it since, and has not been taken back: restoring the version before
    /// would lose that write. A human must look.
    #[error("the {entity} {id} was changed by {written_by} since")]
    Changed {
        /// What.
        entity: &'static str,
        /// Its id.
        id: String,
        /// The key of the operation that changed it.
        written_by: String,
    },
    /// The same execution context id came with another request.
    #[error("the execution context {id} belongs to another request")]
    RequestDiffers {
        /// The id.
        id: String,
    },
    /// The operation was taken back before it arrived.
    #[error("{operation} under {key} was taken back before it arrived")]
    Undone {
        /// Which operation.
        operation: &'static str,
        /// Its idempotency key.
        key: String,
    },
    /// Two wrote at the same time, and this one came second: nothing was written, try again.
    #[error("the {entity} {id} was written by somebody else at the same time")]
    Conflict {
        /// What.
        entity: &'static str,
        /// Its id.
        id: String,
    },
    /// The amounts do not add up.
    #[error("the amounts do not add up")]
    Money(#[from] MoneyError),
    /// A stored row cannot be read.
    #[error("a stored row cannot be read: {what}")]
    Corrupt {
        /// What is wrong with it.
        what: String,
    },
    /// The database failed; nothing is known.
    #[error("the database failed")]
    Database(#[from] sqlx::Error),
}

impl StoreError {
    /// What a step makes of it: whether to try again, and whether anything can have happened.
    #[must_use]
    pub fn into_step_error(self) -> StepError {
        match self {
            Self::Database(source) => StepError::retry(format!("the database failed: {source}")),
            Self::Conflict { .. } => StepError::unsent(self),
            Self::Corrupt { .. } | Self::Changed { .. } => StepError::fatal(self),
            Self::Illegal { id, transition } => StepError::rejected(format!("{id} was refused: {transition}")),
            Self::Money(source) => StepError::rejected(format!("the amounts do not add up: {source}")),
            // Refused within a transaction that was rolled back.
            Self::NotFound { .. }
            | Self::Exists { .. }
            | Self::BadAmount { .. }
            | Self::NotPaid { .. }
            | Self::RequestDiffers { .. }
            | Self::Undone { .. } => StepError::rejected(self),
        }
    }
}

pub(super) fn corrupt(what: impl std::fmt::Display) -> StoreError {
    StoreError::Corrupt { what: what.to_string() }
}

/// Refuses an amount below the smallest that makes sense, in minor units.
pub(super) fn at_least(smallest: i64, amount: Money, entity: &'static str) -> Result<(), StoreError> {
    if amount.minor() >= smallest { Ok(()) } else { Err(StoreError::BadAmount { entity, amount }) }
}
