//! `POST …/execution-contexts/{executionContextId}/cancel` and `…/rollback`.

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::Deserialize;

use super::app::{App, CANCEL, ROLL_BACK};
use super::auth::Caller;
use super::initiate::read;
use super::problem::Problem;

/// Why a checkout is to be turned back.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TurnBack {
    /// For the journal, beside the caller's name.
    reason: String,
}

impl TurnBack {
    fn from_json(body: &[u8]) -> Result<Self, Box<Problem>> {
        let wish: Self = serde_json::from_slice(body).map_err(Problem::malformed)?;
        if wish.reason.trim().is_empty() {
            return Err(Problem::malformed("the reason is empty").into());
        }
        Ok(wish)
    }
}

/// Gives up one's own checkout before it is paid. It turns back as soon as that is safe: its execution context
/// tells when.
#[utoipa::path(
    post,
    path = CANCEL,
    tag = "checkout",
    request_body = TurnBack,
    params(("executionContextId" = String, Path, description = "The execution")),
    security(("token" = [])),
    responses(
        (status = 202, description = "It turns back"),
        (status = 400, description = "There is no reason", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "Nobody is signed in", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "It is somebody else's", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "There is none", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "It is paid already, or turns back", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn cancel(
    State(app): State<App>,
    Caller(caller): Caller,
    Path(id): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Result<StatusCode, Problem> {
    let wish = TurnBack::from_json(&read(body, &app)?)?;
    app.service.cancel(&caller, &id, &wish.reason).await?;
    Ok(StatusCode::ACCEPTED)
}

/// Turns somebody's checkout back before it is paid: for admins.
#[utoipa::path(
    post,
    path = ROLL_BACK,
    tag = "checkout",
    request_body = TurnBack,
    params(("executionContextId" = String, Path, description = "The execution")),
    security(("token" = [])),
    responses(
        (status = 202, description = "It turns back"),
        (status = 400, description = "There is no reason", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "Nobody is signed in", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "The caller is no admin", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "There is none", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "It is paid already, or turns back", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn roll_back(
    State(app): State<App>,
    Caller(caller): Caller,
    Path(id): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Result<StatusCode, Problem> {
    let wish = TurnBack::from_json(&read(body, &app)?)?;
    app.service.roll_back(&caller, &id, &wish.reason).await?;
    Ok(StatusCode::ACCEPTED)
}
