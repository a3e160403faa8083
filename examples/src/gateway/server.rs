//! The gateway's HTTP interface.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Json, Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
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
    authorize_key: String,
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
        .route("/operations/{key}", get(look_up))
        .route("/operations/{key}/close", post(close))
        .route("/ledger", get(ledger_rows))
        .with_state(gateway);
    axum::serve(listener, router).await
}

async fn authorize(State(gateway): State<Gateway>, Json(ask): Json<Authorize>) -> Response {
    let planned = gateway.faults.plan("authorize", &ask.idempotency_key, &ask.payment_method);
    let work = async |ledger: &mut Ledger| {
        if planned.decline {
            return ledger.decline(&ask.idempotency_key, "authorize", "card declined").await;
        }
        let (key, reference, token) = (&ask.idempotency_key, &ask.reference, &ask.payment_method);
        ledger.authorize(key, reference, token, ask.amount_minor, &ask.currency).await
    };
    gateway.answer(planned, "authorization_id", work).await
}

async fn capture(State(gateway): State<Gateway>, Json(ask): Json<Capture>) -> Response {
    let planned = gateway.planned("capture", &ask.idempotency_key, &ask.authorization_id).await;
    let work = async |ledger: &mut Ledger| {
        if planned.decline {
            return ledger.decline(&ask.idempotency_key, "capture", "capture declined").await;
        }
        ledger.capture(&ask.idempotency_key, &ask.authorization_id, ask.amount_minor).await
    };
    gateway.answer(planned, "transaction_id", work).await
}

async fn void(State(gateway): State<Gateway>, Json(ask): Json<Void>) -> Response {
    let planned = gateway.planned("void", &ask.idempotency_key, &ask.authorize_key).await;
    let work = async |ledger: &mut Ledger| ledger.void(&ask.idempotency_key, &ask.authorize_key).await;
    gateway.answer(planned, "id", work).await
}

async fn refund(State(gateway): State<Gateway>, Json(ask): Json<Refund>) -> Response {
    let planned = gateway.faults.plan("refund", &ask.idempotency_key, "");
    let work =
        async |ledger: &mut Ledger| ledger.refund(&ask.idempotency_key, &ask.transaction_id, ask.amount_minor).await;
    gateway.answer(planned, "id", work).await
}

async fn look_up(State(gateway): State<Gateway>, Path(key): Path<String>) -> Response {
    known(gateway.ledger.lock().await.operation(&key).await)
}

async fn close(State(gateway): State<Gateway>, Path(key): Path<String>) -> Response {
    let mut ledger = gateway.ledger.lock().await;
    match ledger.close(&key).await {
        Ok(()) => known(ledger.operation(&key).await),
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
fn known(operation: Result<Option<(String, String)>, LedgerError>) -> Response {
    let answer = match operation {
        Ok(Some((status, result))) if status == "done" => json!({ "status": "done", "id": result }),
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
        field: &str,
        work: impl AsyncFnOnce(&mut Ledger) -> Result<String, LedgerError>,
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
            Ok(id) => {
                let mut answer = serde_json::Map::new();
                answer.insert(field.to_owned(), Value::String(id));
                Json(Value::Object(answer)).into_response()
            }
            Err(error) => failed(&error),
        }
    }
}
