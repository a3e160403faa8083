//! The tests of the workflows can fail: each bug that is built into them on purpose is found by one that passes without
//! it. The list is `reliability/seeded_bugs.md`.
//!
//! `cargo test -p checkout-workflows --features seeded-bugs --test seeded_bugs caught`

#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "../explore_confirm/main.rs"]
mod explore_confirm;
#[path = "../explore_initiate/main.rs"]
mod explore_initiate;

use std::time::Duration;

use axum::http::StatusCode;
use axum::routing::post;
use checkout_workflows::Money;
use checkout_workflows::initiate::vendor::{HttpVendor, PaymentRequest, PaymentVendor as _};
use checkout_workflows::money::Currency;
use saga_core::{Effect, IdempotencyKey, Op, SagaId, StepName};
use saga_testkit::seeded::assert_caught;

#[tokio::test]
async fn a_request_that_is_still_in_progress_may_have_its_effect() {
    let routes = axum::Router::new().route("/payments", post(async || StatusCode::CONFLICT));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, routes).await });
    let vendor = HttpVendor::new(format!("http://{address}"), Duration::from_secs(10)).unwrap();
    let request = PaymentRequest {
        merchant_reference: "pcr_1".to_owned(),
        amount: Money::new(150_000, Currency::INR),
        customer_id: "user_123".to_owned(),
        payment_method: None,
        sets_up_mandate: true,
    };
    let key = IdempotencyKey::of(SagaId::new(), &StepName::from("pay"), Op::Run, 0);
    let error = vendor.create(key, &request).await.unwrap_err();
    assert_eq!(error.fault().effect, Effect::Unknown, "409 is no decline");
}

#[test]
fn an_answer_in_progress_that_counts_as_declined_is_caught() {
    assert_caught("M16", "a_request_that_is_still_in_progress_may_have_its_effect", "409 is no decline");
}

#[test]
fn what_is_released_before_the_payment_is_closed_is_caught() {
    assert_caught(
        "M17",
        "explore_initiate::a_payment_is_closed_at_the_vendor_before_it_is_taken_back",
        "while it could be paid",
    );
}

#[test]
fn a_refund_of_what_may_not_be_captured_is_caught() {
    let scenario = "explore_confirm::naive::neither_of_the_two_defects_is_in_the_flow_that_runs";
    assert_caught("M18", scenario, "v1:");
}
