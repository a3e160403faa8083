//! The payment vendor of the marketplace: what the flow asks of it.

mod books;
mod http;
mod local;

use async_trait::async_trait;
use saga_core::{IdempotencyKey, StepError};
use serde::{Deserialize, Serialize};

pub use books::{Audit, Entry, EntryKind};
pub use http::HttpVendor;
pub(super) use http::answer;
pub use local::{Behaviour, Delivery, LocalVendor, NotPending, Operation, SignedWebhook, Timing, WebhookSink};

use super::classify::ErrorCode;
use crate::money::Money;

/// A payment that is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PaymentRequest {
    /// What the merchant calls it: the payment collection requirement's id. The vendor takes each once.
    pub merchant_reference: String,
    /// How much: nothing only when it sets up a mandate.
    pub amount: Money,
    /// The customer.
    pub customer_id: String,
    /// The vendor's token of the payment method; the customer chooses at the vendor when there is none.
    pub payment_method: Option<String>,
    /// The payment sets up a mandate for later ones.
    pub sets_up_mandate: bool,
}

/// What the vendor says to a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum PaymentAnswer {
    /// The customer must act first; a webhook tells how that ended.
    RequiresClientAction(ClientAction),
    /// It is paid.
    Succeeded(Captured),
    /// It is not paid, and will not be.
    Declined(Decline),
}

/// What the customer's app calls the vendor with.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClientAction {
    /// The vendor.
    pub vendor_code: String,
    /// The vendor's id of the transaction.
    pub vendor_transaction_id: String,
    /// What the app proves itself with. A secret: kept out of `Debug`.
    pub client_auth_token: String,
    /// The vendor's page, if there is one.
    pub redirect_url: Option<String>,
}

impl std::fmt::Debug for ClientAction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientAction")
            .field("vendor_code", &self.vendor_code)
            .field("vendor_transaction_id", &self.vendor_transaction_id)
            .finish_non_exhaustive()
    }
}

/// Money that the vendor has taken for us.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Captured {
    /// The vendor's id of the transaction.
    pub vendor_transaction_id: String,
    /// How much was taken.
    pub amount: Money,
    /// How much of it was paid back.
    pub refunded: Money,
    /// The mandate that it has set up, if it was to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mandate_id: Option<String>,
}

/// A payment that will not be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decline {
    /// Why, for programs.
    pub code: DeclineCode,
    /// Why, for people.
    pub reason: String,
}

/// Why a payment will not be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum DeclineCode {
    /// The customer's bank refused.
    PaymentDeclined,
    /// There is not enough money.
    InsufficientFunds,
    /// The merchant has cancelled it.
    Cancelled,
}

impl DeclineCode {
    /// As one of our codes.
    #[must_use]
    pub fn error_code(self) -> ErrorCode {
        match self {
            Self::PaymentDeclined => ErrorCode::PaymentDeclined,
            Self::InsufficientFunds => ErrorCode::InsufficientFunds,
            Self::Cancelled => ErrorCode::StateConflict,
        }
    }

    /// The code.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PaymentDeclined => "PAYMENT_DECLINED",
            Self::InsufficientFunds => "INSUFFICIENT_FUNDS",
            Self::Cancelled => "CANCELLED",
        }
    }
}

/// How a payment stands at the vendor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum Standing {
    /// The vendor has not seen the reference. A request may still be on its way: only a cancellation makes
    /// sure.
    Unknown,
    /// The customer has not acted yet.
    Pending(ClientAction),
    /// It is paid.
    Captured(Captured),
    /// It is not paid, and will not be.
    Declined(Decline),
}

/// What the vendor says to a cancellation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum Cancellation {
    /// It is closed: it was not paid, and never will be, even by a request that arrives later.
    Closed,
    /// Refused: it is paid already. That takes a refund.
    AlreadyCaptured(Captured),
}

/// Money that is paid back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Refund {
    /// The vendor's id of it.
    pub refund_id: String,
    /// How far it is: accepted is not succeeded.
    pub status: RefundStatus,
}

/// How far a refund is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefundStatus {
    /// Accepted, and on its way.
    Pending,
    /// The customer has the money.
    Succeeded,
}

/// What the flow asks of a payment vendor. A call under a known key is answered as the first time, whatever
/// has happened since: [`PaymentVendor::query`] says how things stand now.
///
/// Errors are [`StepError`]s: each says whether the call can have had its effect.
#[async_trait]
pub trait PaymentVendor: Send + Sync {
    /// Asks for a payment.
    async fn create(&self, key: IdempotencyKey, request: &PaymentRequest) -> Result<PaymentAnswer, StepError>;

    /// How the payment of this reference stands. Needs no answer to [`PaymentVendor::create`].
    async fn query(&self, merchant_reference: &str) -> Result<Standing, StepError>;

    /// Closes the payment of this reference, seen or not: afterwards it can never succeed. A payment that is
    /// captured stays so, and the answer says it.
    async fn cancel(&self, key: IdempotencyKey, merchant_reference: &str) -> Result<Cancellation, StepError>;

    /// Pays back. Refused when less than that was taken and not paid back yet.
    async fn refund(&self, key: IdempotencyKey, merchant_reference: &str, amount: Money) -> Result<Refund, StepError>;
}
