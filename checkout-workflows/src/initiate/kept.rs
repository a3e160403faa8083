//! What is kept of a checkout when the journal's retention is over: its row, which stands for its execution
//! context id for good, so that a late repetition never begins it again.

use super::checkout::InitiateServices;
use super::classify::ErrorCode;
use super::role::{Action, Principal};
use super::schema::{
    ExecutionContext, ExecutionContextStatus, InitiateCheckoutRequest, InitiateCheckoutResponse, ReferenceId, TaskName,
};
use super::sealed_request::open_request;
use super::service::{InitiateError, RolledBack, differences, digest, internal};
use super::store::{ExecutionContext as Row, ExecutionStatus};

/// A checkout that the journal does not know any more.
pub(super) struct Kept {
    row: Row,
    request: InitiateCheckoutRequest,
    response: Option<InitiateCheckoutResponse>,
}

impl Kept {
    /// What is kept under this id, if anything is.
    pub(super) async fn find(s: &InitiateServices, id: &str) -> Result<Option<Self>, InitiateError> {
        let Some(row) = s.stores.execution_contexts.get(id).await? else { return Ok(None) };
        let mut request: InitiateCheckoutRequest = serde_json::from_str(&row.request).map_err(internal)?;
        open_request(&mut request, id, &s.pii)?;
        let response = row.response.as_deref().map(serde_json::from_str::<Option<_>>).transpose().map_err(internal)?;
        Ok(Some(Self { row, request, response: response.flatten() }))
    }

    /// The answer to the same request, once more.
    pub(super) fn answer(self, request: &InitiateCheckoutRequest) -> Result<InitiateCheckoutResponse, InitiateError> {
        if self.row.request_digest != digest(request)? {
            let differs = differences(&self.request, request)?;
            return Err(InitiateError::Conflict { execution_context_id: self.row.execution_context_id, differs });
        }
        self.answer_again()
    }

    /// The answer, to somebody who may resume it.
    pub(super) fn resume(self, caller: &Principal) -> Result<InitiateCheckoutResponse, InitiateError> {
        caller.may(Action::Resume, &self.request.user_id)?;
        self.answer_again()
    }

    fn answer_again(self) -> Result<InitiateCheckoutResponse, InitiateError> {
        let id = self.row.execution_context_id;
        match (self.row.status, self.response) {
            (ExecutionStatus::Completed, Some(response)) => Ok(response),
            (ExecutionStatus::Completed, None) => Err(InitiateError::Gone { execution_context_id: id }),
            (ExecutionStatus::RolledBack, _) => {
                let message = "it was rolled back, and why is not kept any more".to_owned();
                let error = RolledBack { code: ErrorCode::StateConflict, message };
                Err(InitiateError::RolledBack { execution_context_id: id, error })
            }
            (ExecutionStatus::Initialized, _) => {
                Err(internal(format!("the journal has lost the checkout {id}, which is not over")))
            }
        }
    }

    /// The execution context, without the history of its steps.
    pub(super) fn context(self, caller: &Principal) -> Result<ExecutionContext, InitiateError> {
        caller.may(Action::Read, &self.request.user_id)?;
        Ok(ExecutionContext {
            execution_context_id: self.row.execution_context_id,
            task_name: TaskName::InitiateCheckout,
            request_params: Box::new(self.request),
            reference_ids: self.row.reference_ids.into_iter().map(|id| ReferenceId { id }).collect(),
            response: self.response,
            contexts: Vec::new(),
            status: match self.row.status {
                ExecutionStatus::Initialized => ExecutionContextStatus::Initialized,
                ExecutionStatus::Completed => ExecutionContextStatus::Completed,
                ExecutionStatus::RolledBack => ExecutionContextStatus::RolledBack,
            },
            retry_timestamps: Vec::new(),
        })
    }
}
