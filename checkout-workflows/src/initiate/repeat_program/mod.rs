//! The customer's repeat program: another team's service, which is told of line items that are confirmed, so
//! that it offers to have them again.

mod http;
mod local;

use async_trait::async_trait;
use saga_core::{IdempotencyKey, StepError};
use serde::{Deserialize, Serialize};

pub use http::HttpRepeatProgram;
pub use local::LocalRepeatProgram;

/// Line items that a repeat program may begin for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RepeatProgramRequest {
    /// The event that led to it: the same for every delivery, for as long as the service remembers.
    pub event_key: String,
    /// The execution that confirmed the line items.
    pub execution_context_id: String,
    /// The checkout order.
    pub checkout_order_id: String,
    /// The customer.
    pub user_id: String,
    /// Whose marketplace it is.
    pub tenant: String,
    /// The city's key.
    pub city: String,
    /// What was confirmed.
    pub line_items: Vec<RepeatedLineItem>,
}

/// A line item that may be had again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RepeatedLineItem {
    /// The line item.
    pub line_item_id: String,
    /// Its plan.
    pub plan_id: String,
}

/// What the service makes of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case", rename_all_fields = "camelCase")]
pub enum RepeatProgramAnswer {
    /// A program began, or goes on.
    Initiated {
        /// The service's id of it.
        repeat_program_id: String,
    },
    /// There is none for this customer or these line items.
    NotEligible,
}

/// `CustomerRepeatProgram`. A call under a known key is answered as the first time.
///
/// Errors are [`StepError`]s: each says whether the call can have had its effect.
#[async_trait]
pub trait RepeatProgram: Send + Sync {
    /// `initiateRepeatProgram`: begins a repeat program for line items that are confirmed.
    async fn initiate_repeat_program(
        &self,
        key: IdempotencyKey,
        request: &RepeatProgramRequest,
    ) -> Result<RepeatProgramAnswer, StepError>;
}

/// Stands where a host has not said which service it is: what was to be told waits until it has.
#[derive(Clone, Copy, Debug)]
pub(super) struct NoRepeatProgram;

#[async_trait]
impl RepeatProgram for NoRepeatProgram {
    async fn initiate_repeat_program(
        &self,
        _: IdempotencyKey,
        _: &RepeatProgramRequest,
    ) -> Result<RepeatProgramAnswer, StepError> {
        Err(StepError::unsent("this host has no repeat program: set InitiateServices::repeat_program"))
    }
}
