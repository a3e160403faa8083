//! An execution context, as clients and operators see it.

use serde::{Deserialize, Serialize};

use super::request::InitiateCheckoutRequest;
use super::response::InitiateCheckoutResponse;

/// One execution of the flow: what was asked, how far it is, and what was answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct ExecutionContext {
    /// The id.
    pub execution_context_id: String,
    /// What it executes.
    pub task_name: TaskName,
    /// What was asked.
    pub request_params: Box<InitiateCheckoutRequest>,
    /// The payment groups that it belongs to, and locks.
    pub reference_ids: Vec<ReferenceId>,
    /// What was answered, once there is an answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response: Option<InitiateCheckoutResponse>,
    /// The steps taken so far.
    pub contexts: Vec<StepContext>,
    /// How far it is.
    pub status: ExecutionContextStatus,
    /// When it was resumed, RFC 3339.
    pub retry_timestamps: Vec<String>,
}

/// What an execution context is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TaskName {
    /// This flow.
    InitiateCheckout,
}

/// Something that an execution refers to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ReferenceId {
    /// The id.
    pub id: String,
}

/// How far an execution is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum ExecutionContextStatus {
    /// Under way, or waiting for its payment.
    #[serde(rename = "INITIALIZED")]
    Initialized,
    /// Done.
    #[serde(rename = "COMPLETED")]
    Completed,
    /// Undone.
    #[serde(rename = "ROLLEDBACK")]
    RolledBack,
}

/// A step of an execution.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct StepContext {
    /// The step.
    pub step: String,
    /// How it stands.
    pub status: StepContextStatus,
    /// How often it was attempted.
    pub attempts: u32,
    /// What went wrong last, with its code in front.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// When it ended, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<String>,
}

/// How a step stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum StepContextStatus {
    /// It was begun.
    Started,
    /// It was done; a resumed execution goes on after it.
    Succeeded,
    /// It was not taken, because there was nothing for it to do: cash, nothing to pay, nothing to wait for.
    Skipped,
    /// It failed.
    Failed,
    /// It was done, and undone.
    Compensated,
}
