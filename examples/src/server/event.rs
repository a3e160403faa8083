//! `POST /events/line_items_confirmed`: what the bus says of line items.

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::HeaderMap;
use checkout_workflows::initiate::consumed::Consumed;
use checkout_workflows::initiate::schema::{Envelope, LineItemsConfirmed};
use checkout_workflows::initiate::webhook::SIGNATURE_HEADER;
use serde::{Deserialize, Serialize};

use super::app::{App, LINE_ITEMS_CONFIRMED};
use super::initiate::read;
use super::problem::Problem;

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct EventReceipt {
    /// What became of it.
    pub event: TakenEvent,
}

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TakenEvent {
    /// It is kept, and seen to.
    Accepted,
    /// It came before, under the same `idempotencyKey`.
    Duplicate,
    /// It cannot be made sense of: it is kept for a human, and need not come again.
    DeadLettered,
    /// It is of an event that is not for us.
    Ignored,
}

/// Takes in `line_items_confirmed`, in any order, once for each `idempotencyKey`: the customer's repeat program is told of what is confirmed. Answered with 2xx once it is kept for good; the bus repeats it otherwise.
#[utoipa::path(
    post,
    path = LINE_ITEMS_CONFIRMED,
    tag = "bus",
    request_body = Envelope<LineItemsConfirmed>,
    params(("x-webhook-signature" = String, Header, description = "`t=<unix seconds>,v1=<hex>`: HMAC-SHA-256 of `<t>.<body>`, by the bus's own secret")),
    responses(
        (status = 200, description = "It is kept", body = EventReceipt),
        (status = 401, description = "It is not proven, or too old", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "This server takes no events", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "It is too large", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "Send it again", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn line_items_confirmed(
    State(app): State<App>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<EventReceipt>, Problem> {
    let body = read(body, &app)?;
    let signature = headers.get(SIGNATURE_HEADER).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let event = match app.service.line_items_confirmed(&body, signature).await? {
        Consumed::Accepted => TakenEvent::Accepted,
        Consumed::Duplicate => TakenEvent::Duplicate,
        Consumed::DeadLettered => {
            tracing::error!("an event makes no sense, and waits for a human as a dead letter");
            TakenEvent::DeadLettered
        }
        Consumed::Ignored => TakenEvent::Ignored,
    };
    Ok(Json(EventReceipt { event }))
}
