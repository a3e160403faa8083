//! The stand-in over HTTP: what `HttpVendor` asks for, and what customers and auditors do.
//!
//! Beside the vendor's own calls: `POST payments/{payment}/pay` and `…/fail` are the customer's, who knows the vendor's
//! id of the transaction; `GET books` adds the ledger up, and `GET ledger` tells it.

use axum::Router;
use axum::extract::{Json, Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use checkout_workflows::Money;
use checkout_workflows::initiate::vendor::{Entry, NotPending, PaymentRequest, PaymentVendor as _};
use saga_core::{Class, IdempotencyKey, StepError};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::net::TcpListener;

use super::stand_in::{Booked, StandIn};

/// The vendor's routes.
pub fn router(stand_in: StandIn) -> Router {
    Router::new()
        .route("/payments", post(create))
        .route("/payments/{reference}", get(query))
        .route("/payments/{reference}/cancel", post(cancel))
        .route("/payments/{reference}/refunds", post(refund))
        .route("/payments/{payment}/pay", post(pay))
        .route("/payments/{payment}/fail", post(fail))
        .route("/books", get(books))
        .route("/ledger", get(ledger))
        .with_state(stand_in)
}

/// Serves until the process ends. Bind the listener to the loopback interface.
///
/// # Errors
/// When the listener fails.
pub async fn serve(listener: TcpListener, stand_in: StandIn) -> std::io::Result<()> {
    axum::serve(listener, router(stand_in)).await
}

async fn create(State(vendor): State<StandIn>, headers: HeaderMap, Json(ask): Json<PaymentRequest>) -> Response {
    match key(&headers) {
        Some(key) => told(vendor.create(key, &ask).await),
        None => no_key(),
    }
}

async fn query(State(vendor): State<StandIn>, Path(reference): Path<String>) -> Response {
    told(vendor.query(&reference).await)
}

async fn cancel(State(vendor): State<StandIn>, headers: HeaderMap, Path(reference): Path<String>) -> Response {
    match key(&headers) {
        Some(key) => told(vendor.cancel(key, &reference).await),
        None => no_key(),
    }
}

#[derive(Deserialize)]
struct RefundAsk {
    amount: Money,
}

async fn refund(
    State(vendor): State<StandIn>,
    headers: HeaderMap,
    Path(reference): Path<String>,
    Json(ask): Json<RefundAsk>,
) -> Response {
    match key(&headers) {
        Some(key) => told(vendor.refund(key, &reference, ask.amount).await),
        None => no_key(),
    }
}

async fn pay(State(vendor): State<StandIn>, Path(payment): Path<String>) -> Response {
    acted(vendor.pay(&payment))
}

async fn fail(State(vendor): State<StandIn>, Path(payment): Path<String>) -> Response {
    acted(vendor.fail(&payment))
}

async fn books(State(vendor): State<StandIn>) -> Json<Booked> {
    Json(vendor.booked())
}

async fn ledger(State(vendor): State<StandIn>) -> Json<Vec<Entry>> {
    Json(vendor.ledger())
}

fn acted(acted: Result<(), NotPending>) -> Response {
    match acted {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(error) => refused(StatusCode::CONFLICT, "STATE_CONFLICT", &error.to_string()),
    }
}

fn key(headers: &HeaderMap) -> Option<IdempotencyKey> {
    let text = headers.get("Idempotency-Key")?.to_str().ok()?;
    serde_json::from_value(json!(text)).ok()
}

fn no_key() -> Response {
    refused(StatusCode::BAD_REQUEST, "MALFORMED_REQUEST", "the Idempotency-Key is none")
}

fn refused(status: StatusCode, code: &str, message: &str) -> Response {
    (status, Json(json!({ "code": code, "message": message }))).into_response()
}

/// The vendor's answer, as a caller over HTTP gets to know it.
fn told<T: Serialize>(answer: Result<T, StepError>) -> Response {
    let error = match answer {
        Ok(answer) => return Json(answer).into_response(),
        Err(error) => error,
    };
    let fault = error.fault();
    let (code, message) = fault.message.split_once(": ").unwrap_or(("INTERNAL", &fault.message));
    if fault.class == Class::Terminal {
        return refused(StatusCode::UNPROCESSABLE_ENTITY, code, message);
    }
    if code == "NETWORK_TIMEOUT" {
        // Unwinding the connection's task closes the connection without a word, which is what is wanted; it
        // runs no panic hook.
        std::panic::resume_unwind(Box::new("the answer is lost, as planned"));
    }
    refused(StatusCode::SERVICE_UNAVAILABLE, code, message)
}
