//! A call of the endpoint: a request, or no more than the id of an execution to resume.

use serde::Deserialize;

use super::request::InitiateCheckoutRequest;

/// A body of `POST /orchestration/checkout/initiate`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// A request. When it names an execution that exists, it resumes that one.
    Initiate(Box<InitiateCheckoutRequest>),
    /// Only the id of an execution: its response is told again, or it is resumed.
    Resume {
        /// The execution.
        execution_context_id: String,
    },
}

/// A body that is no call. The message names fields and places, and no values: they may be personal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the body is no request to initiate a checkout: {problem} at line {line}, column {column}")]
pub struct MalformedRequest {
    problem: String,
    line: usize,
    column: usize,
}

impl MalformedRequest {
    fn new(error: &serde_json::Error) -> Self {
        let message = error.to_string();
        let named = message.starts_with("missing field") || message.starts_with("unknown field");
        let problem = match message.rfind(" at line ") {
            Some(end) if named => message[..end].to_owned(),
            _ if error.is_data() => "a value of the wrong type".to_owned(),
            _ => "this is not JSON".to_owned(),
        };
        Self { problem, line: error.line(), column: error.column() }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Resume {
    execution_context_id: String,
}

impl Call {
    /// Reads a body.
    ///
    /// # Errors
    /// When it is no such JSON: the first thing that is wrong, and where.
    pub fn from_json(body: &[u8]) -> Result<Self, MalformedRequest> {
        // Serde would take an array for an object, in the order of the fields.
        let object = body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{');
        if object && let Ok(Resume { execution_context_id }) = serde_json::from_slice(body) {
            return Ok(Self::Resume { execution_context_id });
        }
        serde_json::from_slice(body).map(Self::Initiate).map_err(|error| MalformedRequest::new(&error))
    }

    /// The execution that it names, if it names one.
    #[must_use]
    pub fn execution_context_id(&self) -> Option<&str> {
        match self {
            Self::Initiate(request) => request.execution_context_id.as_deref(),
            Self::Resume { execution_context_id } => Some(execution_context_id),
        }
    }
}
