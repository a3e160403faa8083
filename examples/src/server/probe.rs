//! `GET /health` and `GET /ready`.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};

use super::app::{App, HEALTH, READY};
use super::problem::Problem;

/// How long the journal and the tables may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(2);

/// How the server is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Probe {
    /// `ok`.
    pub status: String,
    /// How many checkouts its worker has in hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_flight: Option<usize>,
}

/// The process lives. Restart it when this does not answer.
#[utoipa::path(get, path = HEALTH, tag = "operation", responses((status = 200, description = "It lives", body = Probe)))]
pub(super) async fn health() -> Json<Probe> {
    Json(Probe { status: "ok".to_owned(), in_flight: None })
}

/// The journal and the tables answer, and the worker runs. Send requests elsewhere when not.
#[utoipa::path(
    get,
    path = READY,
    tag = "operation",
    responses(
        (status = 200, description = "It can work", body = Probe),
        (status = 503, description = "It cannot, or is on its way out", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn ready(State(app): State<App>) -> Result<Json<Probe>, Problem> {
    if app.draining.has_begun() {
        return Err(Problem::unavailable());
    }
    let answered = tokio::time::timeout(ANSWER_MAX, app.service.ready()).await;
    answered.map_err(|_| Problem::unavailable())??;
    Ok(Json(Probe { status: "ok".to_owned(), in_flight: Some(app.service.engine().in_flight()) }))
}
