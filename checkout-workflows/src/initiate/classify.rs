//! What errors of services mean for a checkout: try again, or turn back; and one set of codes for all.
//!
//! | error | class | then |
//! |---|---|---|
//! | `PAYMENT_VALIDATION_ERROR_TYPE` | terminal | turn back |
//! | `TRANSACTION_EXCEEDED_TIME_LIMIT_ERROR_CODE` | terminal | turn back |
//! | network time-outs | transient | try again |
//! | lock conflicts in the database | transient | try again |
//! | failures of other services | transient | try again |

use std::fmt;
use std::time::Duration;

use saga_core::{Class, Effect, Fault, StepError};
use serde::{Deserialize, Serialize};

/// The error codes of all services that a checkout talks to. They are stable: clients go by them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ErrorCode {
    /// The body is no request.
    MalformedRequest,
    /// The request breaks rules, which are told one by one.
    ValidationFailed,
    /// Nobody is signed in.
    Unauthenticated,
    /// Who is signed in may not do this.
    Forbidden,
    /// There is no such thing.
    NotFound,
    /// Something else under the same idempotency key or execution context.
    IdempotencyConflict,
    /// What was asked does not fit the state of things, such as a cancelled line item.
    StateConflict,
    /// The payment breaks rules.
    #[serde(rename = "PAYMENT_VALIDATION_ERROR_TYPE")]
    PaymentValidation,
    /// The payment was declined.
    PaymentDeclined,
    /// The payment was declined for want of money.
    InsufficientFunds,
    /// A transaction took longer than it may.
    #[serde(rename = "TRANSACTION_EXCEEDED_TIME_LIMIT_ERROR_CODE")]
    TransactionTimeLimit,
    /// No answer in time: nobody knows what happened.
    NetworkTimeout,
    /// No connection: nothing was sent.
    NetworkUnreachable,
    /// Somebody else has the lock.
    LockConflict,
    /// The service asks to slow down.
    RateLimited,
    /// The service has trouble of its own.
    ExternalFailure,
    /// An answer that makes no sense, or a defect here.
    Internal,
}

impl ErrorCode {
    /// All of them.
    pub const ALL: [Self; 17] = [
        Self::MalformedRequest,
        Self::ValidationFailed,
        Self::Unauthenticated,
        Self::Forbidden,
        Self::NotFound,
        Self::IdempotencyConflict,
        Self::StateConflict,
        Self::PaymentValidation,
        Self::PaymentDeclined,
        Self::InsufficientFunds,
        Self::TransactionTimeLimit,
        Self::NetworkTimeout,
        Self::NetworkUnreachable,
        Self::LockConflict,
        Self::RateLimited,
        Self::ExternalFailure,
        Self::Internal,
    ];

    /// The code.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MalformedRequest => "MALFORMED_REQUEST",
            Self::ValidationFailed => "VALIDATION_FAILED",
            Self::Unauthenticated => "UNAUTHENTICATED",
            Self::Forbidden => "FORBIDDEN",
            Self::NotFound => "NOT_FOUND",
            Self::IdempotencyConflict => "IDEMPOTENCY_CONFLICT",
            Self::StateConflict => "STATE_CONFLICT",
            Self::PaymentValidation => "PAYMENT_VALIDATION_ERROR_TYPE",
            Self::PaymentDeclined => "PAYMENT_DECLINED",
            Self::InsufficientFunds => "INSUFFICIENT_FUNDS",
            Self::TransactionTimeLimit => "TRANSACTION_EXCEEDED_TIME_LIMIT_ERROR_CODE",
            Self::NetworkTimeout => "NETWORK_TIMEOUT",
            Self::NetworkUnreachable => "NETWORK_UNREACHABLE",
            Self::LockConflict => "LOCK_CONFLICT",
            Self::RateLimited => "RATE_LIMITED",
            Self::ExternalFailure => "EXTERNAL_FAILURE",
            Self::Internal => "INTERNAL",
        }
    }

    /// The code with this text; none for codes that are not ours.
    #[must_use]
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.as_str() == code)
    }

    /// Whether another attempt makes sense.
    #[must_use]
    pub fn class(self) -> Class {
        match self {
            Self::NetworkTimeout
            | Self::NetworkUnreachable
            | Self::LockConflict
            | Self::RateLimited
            | Self::ExternalFailure => Class::Transient,
            Self::MalformedRequest
            | Self::ValidationFailed
            | Self::Unauthenticated
            | Self::Forbidden
            | Self::NotFound
            | Self::IdempotencyConflict
            | Self::StateConflict
            | Self::PaymentValidation
            | Self::PaymentDeclined
            | Self::InsufficientFunds
            | Self::TransactionTimeLimit
            | Self::Internal => Class::Terminal,
        }
    }

    /// Whether a call that ended so can have had its effect.
    #[must_use]
    pub fn effect(self) -> Effect {
        match self {
            Self::NetworkTimeout | Self::ExternalFailure | Self::Internal => Effect::Unknown,
            // Refusals, and transactions that the database rolled back.
            Self::MalformedRequest
            | Self::ValidationFailed
            | Self::Unauthenticated
            | Self::Forbidden
            | Self::NotFound
            | Self::IdempotencyConflict
            | Self::StateConflict
            | Self::PaymentValidation
            | Self::PaymentDeclined
            | Self::InsufficientFunds
            | Self::TransactionTimeLimit
            | Self::NetworkUnreachable
            | Self::LockConflict
            | Self::RateLimited => Effect::NotApplied,
        }
    }

    /// The HTTP status that it is answered with.
    #[must_use]
    pub fn http_status(self) -> u16 {
        match self {
            Self::MalformedRequest => 400,
            Self::Unauthenticated => 401,
            Self::PaymentDeclined | Self::InsufficientFunds => 402,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::IdempotencyConflict | Self::StateConflict | Self::LockConflict => 409,
            Self::ValidationFailed | Self::PaymentValidation => 422,
            Self::RateLimited => 429,
            Self::Internal => 500,
            Self::ExternalFailure => 502,
            Self::NetworkUnreachable => 503,
            Self::NetworkTimeout | Self::TransactionTimeLimit => 504,
        }
    }

    /// The code of a fault that was made of a [`ServiceError`]; [`ErrorCode::Internal`] for others.
    #[must_use]
    pub fn of_fault(fault: &Fault) -> Self {
        let code = fault.message.split_once(": ").map_or(fault.message.as_str(), |(code, _)| code);
        Self::from_code(code).unwrap_or(match fault.class {
            Class::Transient => Self::ExternalFailure,
            Class::Terminal => Self::Internal,
        })
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a service said instead of an answer.
///
/// Like [`StepError`], which it becomes with `?`, it is deliberately no `std::error::Error`: those become
/// "try again", whatever they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceError {
    code: ErrorCode,
    message: String,
    retry_after: Option<Duration>,
}

impl ServiceError {
    /// An error of this code. The message is for people, and goes into the journal: no personal data.
    #[must_use]
    pub fn new(code: ErrorCode, message: impl fmt::Display) -> Self {
        Self { code, message: message.to_string(), retry_after: None }
    }

    /// An error that a service told with a code. A code that nobody knows is a failure of that service, and
    /// transient.
    #[must_use]
    pub fn told(code: &str, message: impl fmt::Display) -> Self {
        match ErrorCode::from_code(code) {
            Some(code) => Self::new(code, message),
            None => Self::new(ErrorCode::ExternalFailure, format_args!("{code}: {message}")),
        }
    }

    /// The service asks to wait this long.
    #[must_use]
    pub fn after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// The code.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        self.code
    }

    /// What went wrong, for people.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What a failed call over HTTP means.
    #[must_use]
    pub fn from_http(error: &reqwest::Error) -> Self {
        // No connection, no request.
        let code = if error.is_connect() { ErrorCode::NetworkUnreachable } else { ErrorCode::NetworkTimeout };
        Self::new(code, error)
    }

    /// What a failed statement in a database means.
    #[must_use]
    pub fn from_sql(error: &sqlx::Error) -> Self {
        match error {
            sqlx::Error::Database(told) => Self::new(of_sqlstate(told.code().as_deref()), told),
            sqlx::Error::PoolTimedOut => Self::new(ErrorCode::NetworkUnreachable, error),
            sqlx::Error::Io(_) => Self::new(ErrorCode::NetworkTimeout, error),
            _ => Self::new(ErrorCode::ExternalFailure, error),
        }
    }
}

/// The codes of PostgreSQL, and SQLite's numbers for busy and locked.
fn of_sqlstate(code: Option<&str>) -> ErrorCode {
    match code {
        // Serialization failure, deadlock, lock not available; busy and locked with their extended codes.
        Some("40001" | "40P01" | "55P03" | "5" | "6" | "261" | "262" | "517") => ErrorCode::LockConflict,
        // Statement or transaction time limit.
        Some("57014" | "25P03" | "25P04") => ErrorCode::TransactionTimeLimit,
        // Constraints: the same statement meets them again.
        Some("275" | "787" | "1299" | "1555" | "2067") => ErrorCode::StateConflict,
        Some(state) if state.len() == 5 && state.starts_with("23") => ErrorCode::StateConflict,
        _ => ErrorCode::ExternalFailure,
    }
}

impl fmt::Display for ServiceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl From<ServiceError> for StepError {
    fn from(error: ServiceError) -> Self {
        let step = match (error.code.class(), error.code.effect()) {
            (Class::Transient, Effect::Unknown) => Self::retry(&error),
            (Class::Transient, Effect::NotApplied) => Self::unsent(&error),
            (Class::Terminal, Effect::NotApplied) => Self::rejected(&error),
            (Class::Terminal, Effect::Unknown) => Self::fatal(&error),
        };
        match error.retry_after {
            Some(wait) => step.after(wait),
            None => step,
        }
    }
}
