//! `POST /webhooks/payment`: what the vendor says about payments.

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::HeaderMap;
use checkout_workflows::initiate::schema::{
    EventName, PaymentCollectionRequirementFailed, PaymentCollectionRequirementSuccess,
};
use checkout_workflows::initiate::service::InitiateError;
use checkout_workflows::initiate::webhook::{SIGNATURE_HEADER, WebhookError};
use saga_core::engine::Signalled;
use serde::{Deserialize, Serialize};

use super::app::{App, PAYMENT_WEBHOOK};
use super::initiate::read;
use super::problem::Problem;

/// A webhook of the vendor, as it is documented; it is read after it is proven, by the flow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct PaymentWebhook {
    /// The vendor's id of the event: the same in every delivery of it.
    pub event_id: String,
    /// `payment_collection_requirement_success` or `payment_collection_requirement_failed`.
    pub event: EventName,
    /// What became of the payment.
    pub payload: PaymentPayload,
}

/// What became of a payment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(untagged)]
pub enum PaymentPayload {
    /// It is paid.
    Success(PaymentCollectionRequirementSuccess),
    /// It is not paid, and will not be.
    Failed(PaymentCollectionRequirementFailed),
}

/// What became of a webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Receipt {
    /// What became of it.
    pub webhook: Taken,
}

/// What became of a webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Taken {
    /// Its checkout is told.
    Accepted,
    /// It came before.
    Duplicate,
    /// Its checkout is over: what was paid is paid back, unless it is what the checkout was paid with.
    Late,
    /// It is of an event that is not for us.
    Ignored,
}

/// Takes in `payment_collection_requirement_success` and `payment_collection_requirement_failed`. Answered with 2xx once it is kept for good; the vendor repeats it otherwise.
#[utoipa::path(
    post,
    path = PAYMENT_WEBHOOK,
    tag = "vendor",
    request_body = PaymentWebhook,
    params(("x-webhook-signature" = String, Header, description = "`t=<unix seconds>,v1=<hex>`: HMAC-SHA-256 of `<t>.<body>`")),
    responses(
        (status = 200, description = "It is kept", body = Receipt),
        (status = 400, description = "It is proven, and cannot be read", body = Problem, content_type = "application/problem+json"),
        (status = 401, description = "It is not proven, or too old", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "Nobody asked for this payment", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "It is too large", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "Send it again", body = Problem, content_type = "application/problem+json"),
    )
)]
pub(super) async fn payment(
    State(app): State<App>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Receipt>, Problem> {
    let body = read(body, &app)?;
    let signature = headers.get(SIGNATURE_HEADER).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let webhook = match app.service.payment_webhook(&body, signature).await {
        Ok(Signalled::Accepted) => Taken::Accepted,
        Ok(Signalled::Duplicate) => Taken::Duplicate,
        Ok(Signalled::Late { follow_up }) => {
            tracing::info!(%follow_up, "a payment came late, and is seen to");
            Taken::Late
        }
        Err(InitiateError::Webhook(WebhookError::OtherEvent { .. })) => Taken::Ignored,
        Err(error) => return Err(error.into()),
    };
    Ok(Json(Receipt { webhook }))
}
