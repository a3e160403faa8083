//! A payment collection requirement and its states.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::super::error::IllegalTransition;
use super::super::state::{illegal, stored};
use crate::money::Money;

stored! {
    /// Where a payment collection requirement stands.
    RequirementState of "payment requirement" {
        /// To be paid.
        Pending = "PENDING",
        /// Paid.
        Succeeded = "SUCCEEDED",
        /// Not paid.
        Failed = "FAILED",
        /// Taken back.
        Cancelled = "CANCELLED",
        /// Paid, in time or late, and given back.
        Refunded = "REFUNDED",
    }
}

stored! {
    /// What can happen to a payment collection requirement.
    RequirementEvent of "payment requirement" {
        /// It was paid in time.
        Succeed = "succeed",
        /// The payment failed.
        Fail = "fail",
        /// It is taken back.
        Cancel = "cancel",
        /// What was paid is given back.
        Refund = "refund",
    }
}

impl RequirementState {
    /// What the event makes of it. A failed or cancelled one can be refunded, because it can have been paid
    /// late; the store asks for the payment.
    ///
    /// # Errors
    /// When it does not allow the event.
    pub fn next(self, event: RequirementEvent) -> Result<Self, IllegalTransition> {
        use RequirementEvent::{Cancel, Fail, Refund, Succeed};
        match (self, event) {
            (Self::Pending, Succeed) => Ok(Self::Succeeded),
            (Self::Pending, Fail) => Ok(Self::Failed),
            (Self::Pending, Cancel) => Ok(Self::Cancelled),
            (Self::Succeeded | Self::Failed | Self::Cancelled, Refund) => Ok(Self::Refunded),
            (Self::Pending, Refund)
            | (Self::Succeeded | Self::Failed | Self::Cancelled, Succeed | Fail | Cancel)
            | (Self::Refunded, Succeed | Fail | Cancel | Refund) => illegal(self, event),
        }
    }
}

/// A requirement to be created.
#[derive(Clone, Debug)]
pub struct NewRequirement {
    /// The execution context.
    pub execution_context_id: String,
    /// The checkout order.
    pub checkout_order_id: String,
    /// Who pays.
    pub user_id: String,
    /// What the gateway is told to know it by; unique.
    pub merchant_reference: String,
    /// What is to be paid: more than nothing.
    pub amount: Money,
}

/// A payment collection requirement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Requirement {
    /// Its id.
    pub requirement_id: String,
    /// The execution context.
    pub execution_context_id: String,
    /// The checkout order.
    pub checkout_order_id: String,
    /// Who pays.
    pub user_id: String,
    /// What the gateway knows it by.
    pub merchant_reference: String,
    /// The gateway, once it has been asked.
    pub vendor_code: Option<String>,
    /// The gateway's transaction, once it has been asked.
    pub vendor_transaction_id: Option<String>,
    /// What is to be paid.
    pub amount: Money,
    /// Why it failed.
    pub failure: Option<String>,
    /// When it was paid, also when that was too late.
    pub paid_at: Option<DateTime<Utc>>,
    /// Where it stands.
    pub state: RequirementState,
}

/// What a payment was for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Receipt {
    /// It was waited for.
    InTime(Requirement),
    /// The requirement had failed or was cancelled: the money is to be given back.
    Late(Requirement),
    /// It had been told before, under another key.
    Repeated(Requirement),
}
