//! The payment gateway: what the shop asks of it.

mod http;
mod reversal;
mod state;

use std::time::Duration;

use async_trait::async_trait;
pub use http::HttpGateway;
pub use reversal::reverse;
use saga_core::{IdempotencyKey, StepError, Timestamp};
use serde::{Deserialize, Serialize};
pub use state::{Contradiction, PaymentState, PaymentStatus};

use crate::money::Money;

/// A hold on a customer's money.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Authorization {
    /// The gateway's id for it.
    pub authorization_id: String,
    /// Until when it can be captured, if the gateway says so. Card schemes give some days.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capture_before: Option<Timestamp>,
}

/// Money that was taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capture {
    /// The gateway's id for it.
    pub transaction_id: String,
}

/// What a gateway knows of one operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum Operation {
    /// It was done, and the gateway gave it this id.
    Done {
        /// The id of the authorization or transaction.
        id: String,
        /// Until when an authorization can be captured.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        capture_before: Option<Timestamp>,
    },
    /// It was refused.
    Declined {
        /// Why.
        reason: String,
    },
    /// The gateway has not seen the key, or has closed it: nothing was and nothing will be done
    /// under a closed one.
    Unknown,
}

/// A hold and all that became of it, as the gateway tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payment {
    /// The gateway's id of the hold.
    pub authorization_id: String,
    /// The gateway's id of the capture, once there was one.
    pub transaction_id: Option<String>,
    /// What is known of it.
    pub state: PaymentState,
}

/// How a gateway treats idempotency keys. They all differ: see each one's documentation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyRules {
    /// For how long it remembers a key; none when for ever.
    pub horizon: Option<Duration>,
    /// Whether a key that has failed is answered with the same failure for ever, as Stripe does even
    /// with 500s.
    pub replays_errors: bool,
    /// Whether [`PaymentGateway::close`] leaves a tombstone: a request that arrives later is refused.
    pub closes_keys: bool,
}

impl Default for KeyRules {
    /// Keys are remembered for ever, a failed call may be repeated, and a key can be closed.
    fn default() -> Self {
        Self { horizon: None, replays_errors: false, closes_keys: true }
    }
}

/// What the shop asks of a payment gateway. Every call carries an idempotency key; a call under a
/// known key is answered as the first time, whatever has happened since.
///
/// Errors are [`StepError`]s: each call says whether it can have had its effect.
#[async_trait]
pub trait PaymentGateway: Send + Sync {
    /// How it treats idempotency keys.
    fn key_rules(&self) -> KeyRules {
        KeyRules::default()
    }

    /// Holds the amount on the payment method, a token. `reference` is what the merchant calls it.
    async fn authorize(
        &self,
        key: IdempotencyKey,
        amount: Money,
        payment_method: &str,
        reference: &str,
    ) -> Result<Authorization, StepError>;

    /// Takes the money that is held.
    async fn capture(
        &self,
        key: IdempotencyKey,
        authorization: &Authorization,
        amount: Money,
    ) -> Result<Capture, StepError>;

    /// Releases a hold of which nothing was taken. Refused when something was: that takes a refund.
    async fn void(&self, key: IdempotencyKey, authorization_id: &str) -> Result<(), StepError>;

    /// Pays back what was captured. Refused when nothing was: that takes a void.
    async fn refund(&self, key: IdempotencyKey, transaction_id: &str, amount: Money) -> Result<(), StepError>;

    /// What became of the operation under this key.
    async fn look_up(&self, key: IdempotencyKey) -> Result<Operation, StepError>;

    /// The hold that was made under this key, and all that became of it; none when there is none.
    async fn payment(&self, authorize_key: IdempotencyKey) -> Result<Option<Payment>, StepError>;

    /// What became of the operation under this key, and makes sure that nothing will any more: a
    /// request that arrives later under it is refused. A gateway that cannot do that says so in its
    /// [`KeyRules`], and answers as [`PaymentGateway::look_up`] does.
    async fn close(&self, key: IdempotencyKey) -> Result<Operation, StepError>;
}
