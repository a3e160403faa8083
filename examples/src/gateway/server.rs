//! The gateway's HTTP interface.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Json, Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use checkout_workflows::payment::{Payment, PaymentState};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Mutex;

use super::faults::{Faults, Planned};
use super::ledger::{Ledger, LedgerError};

#[derive(Clone)]
struct Gateway {
    ledger: Arc<Mutex<Ledger>>,
    faults: Arc<Faults>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Authorize {
    idempotency_key: String,
    amount_minor: i64,
    currency: String,
    payment_method: String,
    reference: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Capture {
    idempotency_key: String,
    authorization_id: String,
    amount_minor: i64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Void {
    idempotency_key: String,
    authorization_id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Refund {
    idempotency_key: String,
    transaction_id: String,
    amount_minor: i64,
}

/// Serves until the process ends. Bind the listener to the loopback interface.
///
/// # Errors
/// When the listener fails.
pub async fn serve(listener: TcpListener, ledger: Ledger, faults: Faults) -> std::io::Result<()> {
    let gateway = Gateway { ledger: Arc::new(Mutex::new(ledger)), faults: Arc::new(faults) };
    let router = Router::new()
        .route("/authorize", post(authorize))
        .route("/capture", post(capture))
        .route("/void", post(void))
        .route("/refund", post(refund))
        .route("/payments/{key}", get(payment))
        .route("/operations/{key}", get(look_up))
        .route("/operations/{key}/close", post(close))
        .route("/ledger", get(ledger_rows))
        .with_state(gateway);
    axum::serve(listener, router).await
}

async fn authorize(State(gateway): State<Gateway>, Json(ask): Json<Authorize>) -> Response {
    let planned = gateway.faults.plan("authorize", &ask.idempotency_key, &ask.payment_method);
    let work = async |ledger: &mut Ledger| {
        let key = &ask.idempotency_key;
        if planned.decline {
            return ledger.decline(key, "authorize", "card declined").await.map(Value::String);
        }
        let id = ledger.authorize(key, &ask.reference, &ask.payment_method, ask.amount_minor, &ask.currency).await?;
        let capture_before = ledger.authorization(key).await?.map(|row| row.capture_before);
        Ok(json!({ "authorization_id": id, "capture_before": capture_before }))
    };
    gateway.answer(planned, work).await
}

async fn capture(State(gateway): State<Gateway>, Json(ask): Json<Capture>) -> Response {
    let planned = gateway.planned("capture", &ask.idempotency_key, &ask.authorization_id).await;
    let work = async |ledger: &mut Ledger| {
        if planned.decline {
            return ledger.decline(&ask.idempotency_key, "capture", "capture declined").await.map(Value::String);
        }
        let id = ledger.capture(&ask.idempotency_key, &ask.authorization_id, ask.amount_minor).await?;
        Ok(json!({ "transaction_id": id }))
    };
    gateway.answer(planned, work).await
}

async fn void(State(gateway): State<Gateway>, Json(ask): Json<Void>) -> Response {
    let planned = gateway.planned("void", &ask.idempotency_key, &ask.authorization_id).await;
    let work = async |ledger: &mut Ledger| {
        Ok(json!({ "id": ledger.void(&ask.idempotency_key, &ask.authorization_id).await? }))
    };
    gateway.answer(planned, work).await
}

async fn refund(State(gateway): State<Gateway>, Json(ask): Json<Refund>) -> Response {
    let planned = gateway.faults.plan("refund", &ask.idempotency_key, "");
    let work = async |ledger: &mut Ledger| {
        Ok(json!({ "id": ledger.refund(&ask.idempotency_key, &ask.transaction_id, ask.amount_minor).await? }))
    };
    gateway.answer(planned, work).await
}

async fn look_up(State(gateway): State<Gateway>, Path(key): Path<String>) -> Response {
    known(&mut *gateway.ledger.lock().await, &key).await
}

/// A hold and what became of it, by the key under which it was made.
async fn payment(State(gateway): State<Gateway>, Path(key): Path<String>) -> Response {
    let row = match gateway.ledger.lock().await.authorization(&key).await {
        Ok(Some(row)) => row,
        Ok(None) => return Json(Value::Null).into_response(),
        Err(error) => return failed(&error),
    };
    let state = PaymentState {
        authorized: row.amount,
        captured: row.captured,
        refunded: row.refunded,
        voided: row.status == "voided",
        expired: row.status == "expired",
    };
    Json(Payment { authorization_id: row.id, transaction_id: row.transaction_id, state }).into_response()
}

async fn close(State(gateway): State<Gateway>, Path(key): Path<String>) -> Response {
    let mut ledger = gateway.ledger.lock().await;
    match ledger.close(&key).await {
        Ok(()) => known(&mut ledger, &key).await,
        Err(error) => failed(&error),
    }
}

async fn ledger_rows(State(gateway): State<Gateway>) -> Response {
    match gateway.ledger.lock().await.authorizations().await {
        Ok(rows) => Json(rows).into_response(),
        Err(error) => failed(&error),
    }
}

/// What became of a key.
async fn known(ledger: &mut Ledger, key: &str) -> Response {
    let capture_before = match ledger.authorization(key).await {
        Ok(row) => row.map(|row| row.capture_before),
        Err(error) => return failed(&error),
    };
    let answer = match ledger.operation(key).await {
        Ok(Some((status, result))) if status == "done" => {
            json!({ "status": "done", "id": result, "capture_before": capture_before })
        }
        Ok(Some((status, result))) if status == "declined" => json!({ "status": "declined", "reason": result }),
        Ok(_) => json!({ "status": "unknown" }),
        Err(error) => return failed(&error),
    };
    Json(answer).into_response()
}

fn failed(error: &LedgerError) -> Response {
    let status = match error {
        LedgerError::Declined { .. } => StatusCode::PAYMENT_REQUIRED,
        LedgerError::Closed => StatusCode::GONE,
        LedgerError::Database(_) => StatusCode::INTERNAL_SERVER_ERROR,
    };
    (status, Json(json!({ "error": error.to_string() }))).into_response()
}

impl Gateway {
    async fn planned(&self, operation: &str, key: &str, authorization: &str) -> Planned {
        let token = self.ledger.lock().await.token(authorization).await.unwrap_or_default();
        self.faults.plan(operation, key, &token)
    }

    /// Does the work, or what the fault makes of it.
    async fn answer(
        &self,
        planned: Planned,
        work: impl AsyncFnOnce(&mut Ledger) -> Result<Value, LedgerError>,
    ) -> Response {
        if planned.slow {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        if planned.unavailable {
            return (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "error": "try later" }))).into_response();
        }
        let done = work(&mut *self.ledger.lock().await).await;
        if planned.lose_answer {
            // Unwinding the connection's task closes the connection without a word, which is what is
            // wanted; it runs no panic hook.
            std::panic::resume_unwind(Box::new("the answer is lost, as planned"));
        }
        match done {
            Ok(answer) => Json(answer).into_response(),
            Err(error) => failed(&error),
        }
    }
}
