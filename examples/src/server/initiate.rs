//! `POST /orchestration/checkout/initiate`.

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::header::LOCATION;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use checkout_workflows::initiate::schema::{
    Call, InitiateCheckoutAccepted, InitiateCheckoutRequest, InitiateCheckoutResponse,
};
use checkout_workflows::initiate::service::{CallHeaders, Initiated};

use super::app::{App, EXECUTION_CONTEXT, INITIATE};
use super::auth::Caller;
use super::limits::REQUEST_ID;
use super::problem::Problem;

/// Longer ones are no tenants.
const TENANT_BYTES_MAX: usize = 64;

/// Begins a checkout. The same request under the same `executionContextId` is answered as before; a body with
/// nothing but an `executionContextId` takes that one up again.
#[utoipa::path(
    post,
    path = INITIATE,
    tag = "checkout",
    request_body = InitiateCheckoutRequest,
    params(
        ("tenant" = Option<String>, Header, description = "Whose marketplace it is"),
        ("x-request-id" = Option<String>, Header, description = "The client's id of its request"),
    ),
    security(("token" = [])),
    responses(
        (status = 200, description = "As far as it has come: complete, or waiting for its payment", body = InitiateCheckoutResponse),
        (status = 202, description = "It goes on in the background: look at its execution context", body = InitiateCheckoutAccepted),
        (status = 400, description = "The body is no request", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "Nobody is signed in", body = Problem, content_type = "application/problem+json"),
        (status = 402, description = "The payment was declined", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "Who is signed in may not do this", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "Another request under this execution context", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "The body is too large", body = Problem, content_type = "application/problem+json"),
        (status = 422, description = "The request breaks rules: all of them are told", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "Overloaded, or not available: send it again", body = Problem, content_type = "application/problem+json"),
        (status = 504, description = "It took too long, or was not paid in time", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn initiate(
    State(app): State<App>,
    Caller(caller): Caller,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let call = Call::from_json(&read(body, &app)?)?;
    let headers = CallHeaders { tenant: tenant(&headers, &app)?, request_id: request_id(&headers) };
    Ok(match app.service.initiate(&caller, call, headers).await? {
        Initiated::Answered(response) => Json(response).into_response(),
        Initiated::Accepted(accepted) => {
            let at = EXECUTION_CONTEXT.replace("{executionContextId}", &accepted.execution_context_id);
            (StatusCode::ACCEPTED, [(LOCATION, at)], Json(accepted)).into_response()
        }
    })
}

/// The body, or why there is none.
pub(super) fn read(body: Result<Bytes, BytesRejection>, app: &App) -> Result<Bytes, Box<Problem>> {
    body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Problem::too_large(app.limits.body_bytes_max).into(),
        _ => Problem::malformed("the body was cut off").into(),
    })
}

/// It goes into the headers of events, so it is a name.
fn tenant(headers: &HeaderMap, app: &App) -> Result<String, Box<Problem>> {
    let Some(tenant) = headers.get("tenant") else { return Ok(app.tenant.as_ref().to_owned()) };
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let text = tenant.to_str().unwrap_or_default();
    if text.is_empty() || text.len() > TENANT_BYTES_MAX || !text.bytes().all(fits) {
        let problem = Problem::malformed("the header tenant is no name of letters, digits, '-', '_' and '.'");
        return Err(problem.into());
    }
    Ok(text.to_owned())
}

/// Every request has one by now.
fn request_id(headers: &HeaderMap) -> String {
    headers.get(REQUEST_ID).and_then(|id| id.to_str().ok()).unwrap_or_default().to_owned()
}
