//! A vendor over HTTP: each answer is taken for what it proves.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Json;
use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use checkout_workflows::correlation::{HEADER, correlated};
use checkout_workflows::initiate::repeat_program::{
    HttpRepeatProgram, RepeatProgram, RepeatProgramAnswer, RepeatProgramRequest,
};
use checkout_workflows::initiate::vendor::{
    Behaviour, Cancellation, HttpVendor, LocalVendor, PaymentAnswer, PaymentRequest, PaymentVendor, Standing,
};
use saga_core::{Class, Effect, IdempotencyKey, Op, SagaId, StepError, StepName};
use serde::Serialize;
use serde_json::{Value, json};

use crate::fixture::rupees;

/// Serves a local vendor; references that begin with `status-` are answered with that status.
async fn serve(vendor: LocalVendor) -> SocketAddr {
    let (create, query, cancel, refund) = (vendor.clone(), vendor.clone(), vendor.clone(), vendor);
    let routes = axum::Router::new()
        .route(
            "/payments",
            post(|headers: HeaderMap, Json(request): Json<PaymentRequest>| async move {
                if let Some(status) = request.merchant_reference.strip_prefix("status-") {
                    let status = StatusCode::from_bytes(status.as_bytes()).unwrap();
                    return (status, Json(json!({ "code": "PAYMENT_VALIDATION_ERROR_TYPE", "message": "no" })))
                        .into_response();
                }
                told(create.create(key(&headers), &request).await)
            }),
        )
        .route(
            "/payments/{reference}",
            get(|Path(reference): Path<String>| async move { told(query.query(&reference).await) }),
        )
        .route(
            "/payments/{reference}/cancel",
            post(|headers: HeaderMap, Path(reference): Path<String>| async move {
                told(cancel.cancel(key(&headers), &reference).await)
            }),
        )
        .route(
            "/payments/{reference}/refunds",
            post(|headers: HeaderMap, Path(reference): Path<String>, Json(body): Json<Value>| async move {
                let amount = serde_json::from_value(body["amount"].clone()).unwrap();
                told(refund.refund(key(&headers), &reference, amount).await)
            }),
        );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, routes).await });
    address
}

fn key(headers: &HeaderMap) -> IdempotencyKey {
    serde_json::from_value(json!(headers["idempotency-key"].to_str().unwrap())).unwrap()
}

fn told<T: Serialize>(answer: Result<T, StepError>) -> Response {
    match answer {
        Ok(answer) => Json(answer).into_response(),
        Err(error) if error.fault().class == Class::Terminal => {
            let (code, message) = error.fault().message.split_once(": ").unwrap();
            (StatusCode::UNPROCESSABLE_ENTITY, Json(json!({ "code": code, "message": message }))).into_response()
        }
        Err(_) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}

fn new_key() -> IdempotencyKey {
    IdempotencyKey::of(SagaId::new(), &StepName::from("pay"), Op::Run, 0)
}

fn request(reference: &str) -> PaymentRequest {
    PaymentRequest {
        merchant_reference: reference.to_owned(),
        amount: rupees(1_500),
        customer_id: "user_123".to_owned(),
        payment_method: Some("pm_123".to_owned()),
        sets_up_mandate: true,
    }
}

fn client(address: SocketAddr) -> HttpVendor {
    HttpVendor::new(format!("http://{address}"), Duration::from_secs(10)).unwrap()
}

#[tokio::test]
async fn it_says_over_http_what_the_vendor_says() {
    let local = LocalVendor::new(b"whsec_0123456789abcdef").unwrap();
    local.behave_for("pcr_wait", Behaviour::Wait);
    let http = client(serve(local.clone()).await);
    let key = new_key();
    let paid = http.create(key, &request("pcr_1")).await.unwrap();
    assert!(matches!(paid, PaymentAnswer::Succeeded(_)));
    assert_eq!(http.create(key, &request("pcr_1")).await.unwrap(), paid);
    assert_eq!(http.query("pcr_1").await.unwrap(), local.standing("pcr_1"));
    assert_eq!(http.query("pcr_none").await.unwrap(), Standing::Unknown);
    assert!(matches!(http.cancel(new_key(), "pcr_1").await.unwrap(), Cancellation::AlreadyCaptured(_)));
    http.refund(new_key(), "pcr_1", rupees(1_500)).await.unwrap();
    let waiting = http.create(new_key(), &request("pcr_wait")).await.unwrap();
    assert!(matches!(waiting, PaymentAnswer::RequiresClientAction(_)));
    assert_eq!(http.cancel(new_key(), "pcr_wait").await.unwrap(), Cancellation::Closed);
    assert!(local.audit().contradictions.is_empty());
}

#[tokio::test]
async fn each_status_is_taken_for_what_it_proves() {
    let http = client(serve(LocalVendor::new(b"whsec_0123456789abcdef").unwrap()).await);
    for (status, class, effect) in [
        (402, Class::Terminal, Effect::NotApplied),
        (422, Class::Terminal, Effect::NotApplied),
        (429, Class::Transient, Effect::NotApplied),
        (409, Class::Transient, Effect::Unknown),
        (500, Class::Transient, Effect::Unknown),
        (503, Class::Transient, Effect::Unknown),
        (418, Class::Terminal, Effect::Unknown),
    ] {
        let error = http.create(new_key(), &request(&format!("status-{status}"))).await.unwrap_err();
        assert_eq!((error.fault().class, error.fault().effect), (class, effect), "{status}");
    }
    let refused = http.refund(new_key(), "pcr_none", rupees(1)).await.unwrap_err();
    assert!(refused.to_string().starts_with("STATE_CONFLICT: "), "{refused}");
}

#[tokio::test]
async fn no_connection_is_no_request() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let error = client(address).create(new_key(), &request("pcr_1")).await.unwrap_err();
    assert_eq!((error.fault().class, error.fault().effect), (Class::Transient, Effect::NotApplied));
}

#[tokio::test]
async fn a_reference_never_leads_to_another_address() {
    let http = client("127.0.0.1:9".parse().unwrap());
    for wrong in ["../payouts", "a/b", "a?b", "..", "", "a%2f"] {
        let error = http.query(wrong).await.unwrap_err();
        assert_eq!(error.fault().class, Class::Terminal, "{wrong}");
    }
}

/// Answers every call with the headers that came with it, as the error of a refusal.
async fn echo() -> SocketAddr {
    let routes = axum::Router::new().fallback(async |headers: HeaderMap| {
        let text = |name: &str| headers.get(name).map_or("none", |value| value.to_str().unwrap()).to_owned();
        let message = format!("{} {}", text("idempotency-key"), text(HEADER));
        (StatusCode::UNPROCESSABLE_ENTITY, Json(json!({ "code": "ECHO", "message": message })))
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, routes).await });
    address
}

fn repeat() -> RepeatProgramRequest {
    RepeatProgramRequest {
        event_key: "ctx_1:line_items_confirmed".to_owned(),
        execution_context_id: "ctx_1".to_owned(),
        checkout_order_id: "co_1".to_owned(),
        user_id: "user_123".to_owned(),
        tenant: "marketplace".to_owned(),
        city: "delhi".to_owned(),
        line_items: Vec::new(),
    }
}

#[tokio::test]
async fn every_call_tells_its_key_and_what_it_belongs_to() {
    let address = echo().await;
    let (vendor, key) = (client(address), new_key());
    let repeats = HttpRepeatProgram::new(format!("http://{address}"), Duration::from_secs(10)).unwrap();
    let told = correlated("ctx_1", async {
        [
            vendor.create(key, &request("pcr_1")).await.map(drop),
            vendor.cancel(key, "pcr_1").await.map(drop),
            vendor.refund(key, "pcr_1", rupees(1)).await.map(drop),
            repeats.initiate_repeat_program(key, &repeat()).await.map(drop),
        ]
    });
    for echoed in told.await {
        assert_eq!(echoed.unwrap_err().to_string(), format!("ECHO: {key} ctx_1"));
    }
    let queried = correlated("ctx_1", vendor.query("pcr_1")).await.unwrap_err();
    assert_eq!(queried.to_string(), "ECHO: none ctx_1", "a question has no key");
    let alone = vendor.query("pcr_1").await.unwrap_err();
    assert_eq!(alone.to_string(), "ECHO: none none");
    let odd = correlated("no\nheader", vendor.query("pcr_1")).await.unwrap_err();
    assert_eq!(odd.to_string(), "ECHO: none none", "what no header can hold is left out");
}

#[tokio::test]
async fn a_repeat_program_is_taken_at_its_word() {
    let routes = axum::Router::new().route(
        "/repeat-programs",
        post(async |Json(asked): Json<RepeatProgramRequest>| match asked.user_id.as_str() {
            "user_123" => Json(json!({ "status": "initiated", "repeatProgramId": "rp_1" })).into_response(),
            "nobody" => Json(json!({ "status": "not_eligible" })).into_response(),
            _ => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        }),
    );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, routes).await });
    let http = HttpRepeatProgram::new(format!("http://{address}"), Duration::from_secs(10)).unwrap();
    let ask = async |user: &str| {
        let request = RepeatProgramRequest { user_id: user.to_owned(), ..repeat() };
        http.initiate_repeat_program(new_key(), &request).await
    };
    let began = RepeatProgramAnswer::Initiated { repeat_program_id: "rp_1".to_owned() };
    assert_eq!(ask("user_123").await.unwrap(), began);
    assert_eq!(ask("nobody").await.unwrap(), RepeatProgramAnswer::NotEligible);
    let unknown = ask("out of order").await.unwrap_err();
    assert_eq!((unknown.fault().class, unknown.fault().effect), (Class::Transient, Effect::Unknown));
    assert!(unknown.to_string().contains("the repeat program"), "{unknown}");
}
