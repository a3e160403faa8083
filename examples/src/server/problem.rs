//! What is answered instead of what was asked for: RFC 9457.

use axum::Json;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use checkout_workflows::initiate::classify::ErrorCode;
use checkout_workflows::initiate::schema::MalformedRequest;
use checkout_workflows::initiate::service::InitiateError;
use checkout_workflows::initiate::validate::Violation;
use serde::{Deserialize, Serialize};

use super::auth::Denied;

/// A problem, as `application/problem+json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// The kind of problem: a name, and no address to look at.
    #[serde(rename = "type")]
    #[schema(example = "urn:checkout-initiate:VALIDATION_FAILED")]
    pub kind: String,
    /// The kind of problem, for people.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// The stable code: one of the error codes, or one of `PAYLOAD_TOO_LARGE`, `OVERLOADED`, `REQUEST_TIMEOUT`,
    /// `UNAVAILABLE`, `METHOD_NOT_ALLOWED`.
    pub code: String,
    /// What went wrong this time, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The execution, when there is one: ask for it, or send the request again with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution_context_id: Option<String>,
    /// In which fields the request differs from the one that the execution belongs to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub differs: Vec<String>,
    /// All that is wrong with the request.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub violations: Vec<Violation>,
}

impl Problem {
    /// A problem of this status and code.
    #[must_use]
    pub fn new(status: StatusCode, code: &str, title: &str) -> Self {
        Self {
            kind: format!("urn:checkout-initiate:{code}"),
            title: title.to_owned(),
            status: status.as_u16(),
            code: code.to_owned(),
            detail: None,
            execution_context_id: None,
            differs: Vec::new(),
            violations: Vec::new(),
        }
    }

    /// The same, with what went wrong this time.
    #[must_use]
    pub fn detail(mut self, detail: impl std::fmt::Display) -> Self {
        self.detail = Some(detail.to_string());
        self
    }

    fn of(code: ErrorCode, title: &str) -> Self {
        let status = StatusCode::from_u16(code.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self::new(status, code.as_str(), title)
    }

    fn execution(mut self, id: String) -> Self {
        self.execution_context_id = Some(id);
        self
    }

    /// The journal or the tables cannot be reached, or the server is on its way out.
    #[must_use]
    pub fn unavailable() -> Self {
        let title = "not available at present: send the request again, with the same executionContextId";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE", title)
    }

    /// Something that should be is not; the log says what.
    #[must_use]
    pub fn internal() -> Self {
        Self::of(ErrorCode::Internal, "the request failed")
    }

    /// The body is larger than what is read.
    #[must_use]
    pub fn too_large(max: usize) -> Self {
        let title = "the body is too large";
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "PAYLOAD_TOO_LARGE", title).detail(format!("at most {max} bytes"))
    }

    /// More requests than can be worked on.
    #[must_use]
    pub fn overloaded() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "OVERLOADED", "there is too much to do: send the request again")
    }

    /// The request took too long. What was begun goes on.
    #[must_use]
    pub fn timed_out() -> Self {
        let title = "the request took too long; what was begun goes on";
        Self::new(StatusCode::GATEWAY_TIMEOUT, "REQUEST_TIMEOUT", title)
    }

    /// Nothing is there.
    #[must_use]
    pub fn not_found() -> Self {
        Self::of(ErrorCode::NotFound, "there is no such thing")
    }

    /// Something is there, for another method.
    #[must_use]
    pub fn method_not_allowed() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED", "this address takes another method")
    }

    /// The body, or a header, cannot be read.
    #[must_use]
    pub fn malformed(detail: impl std::fmt::Display) -> Self {
        Self::of(ErrorCode::MalformedRequest, "the request cannot be read").detail(detail)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(self)).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

impl From<Box<Self>> for Problem {
    fn from(problem: Box<Self>) -> Self {
        *problem
    }
}

impl From<Denied> for Problem {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::NoToken | Denied::BadToken => {
                Self::of(ErrorCode::Unauthenticated, "who is calling is not known").detail(denied)
            }
            Denied::UnknownRole => Self::of(ErrorCode::Forbidden, "the caller may not do this").detail(denied),
        }
    }
}

impl From<MalformedRequest> for Problem {
    fn from(error: MalformedRequest) -> Self {
        Self::malformed(error)
    }
}

impl From<InitiateError> for Problem {
    fn from(error: InitiateError) -> Self {
        match error {
            InitiateError::Forbidden(why) => Self::of(ErrorCode::Forbidden, "the caller may not do this").detail(why),
            InitiateError::Invalid(violations) => {
                let mut problem = Self::of(ErrorCode::ValidationFailed, "the request breaks rules");
                problem.violations = violations.into_vec();
                problem
            }
            InitiateError::Conflict { execution_context_id, differs } => {
                let title = "the execution context belongs to another request";
                let detail = format!("the requests differ in {}", differs.join(", "));
                let problem = Self::of(ErrorCode::IdempotencyConflict, title).detail(detail);
                Self { differs, ..problem.execution(execution_context_id) }
            }
            InitiateError::NotFound { execution_context_id } => {
                Self::of(ErrorCode::NotFound, "there is no such execution context").execution(execution_context_id)
            }
            InitiateError::TooLate { execution_context_id, source } => {
                Self::of(ErrorCode::StateConflict, "the checkout cannot be turned back")
                    .detail(source)
                    .execution(execution_context_id)
            }
            InitiateError::Gone { execution_context_id } => {
                let title = "the checkout was completed, and its answer is not kept any more";
                Self::new(StatusCode::GONE, "GONE", title).execution(execution_context_id)
            }
            InitiateError::RolledBack { execution_context_id, error } => {
                Self::of(error.code, "the checkout was rolled back")
                    .detail(&error.message)
                    .execution(execution_context_id)
            }
            // Nothing of an unproven body is told again.
            InitiateError::Webhook(error) if error.http_status() == 401 => {
                Self::of(ErrorCode::Unauthenticated, "the webhook is not proven").detail(error)
            }
            InitiateError::Webhook(error) => Self::malformed(error),
            InitiateError::NotConsuming => Self::of(ErrorCode::NotFound, "this server takes no events"),
            InitiateError::UnknownPayment { .. } => Self::of(ErrorCode::NotFound, "nobody asked for this payment"),
            InitiateError::Unavailable(source) => {
                tracing::warn!(error = %chain(&*source), "the checkout is not available");
                Self::unavailable()
            }
            InitiateError::Internal(source) => {
                tracing::error!(error = %chain(&*source), "the checkout failed");
                Self::internal()
            }
            other => {
                tracing::error!(error = %other, "the checkout failed");
                Self::internal()
            }
        }
    }
}

/// An error and its causes, for the log.
pub(super) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
