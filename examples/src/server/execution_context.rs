//! `GET /orchestration/checkout/execution-contexts/{executionContextId}`.

use axum::Json;
use axum::extract::{Path, State};
use checkout_workflows::initiate::schema::ExecutionContext;

use super::app::{App, EXECUTION_CONTEXT};
use super::auth::Caller;
use super::problem::Problem;

/// How a checkout stands: its request, its steps and, once there is one, its answer.
#[utoipa::path(
    get,
    path = EXECUTION_CONTEXT,
    tag = "checkout",
    params(("executionContextId" = String, Path, description = "The execution")),
    security(("token" = [])),
    responses(
        (status = 200, description = "How it stands", body = ExecutionContext),
        (status = 401, description = "Nobody is signed in", body = Problem, content_type = "application/problem+json"),
        (status = 403, description = "It is somebody else's", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "There is none", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn execution_context(
    State(app): State<App>,
    Caller(caller): Caller,
    Path(id): Path<String>,
) -> Result<Json<ExecutionContext>, Problem> {
    Ok(Json(app.service.execution_context(&caller, &id).await?))
}
