//! What the bus says of line items.

use checkout_workflows::initiate::webhook::sign;
use examples::server::LINE_ITEMS_CONFIRMED;
use saga_core::Timestamp;
use serde_json::{Value, json};

use crate::fixture::{NEW_PLAN, Running, WEBHOOK_SECRET, problem, transaction, with};

const EVENTS_SECRET: &[u8] = b"insecure-dev-events-secret";

async fn posts(server: &Running, secret: &[u8], body: &str) -> reqwest::Response {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let now = Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap());
    let signature = sign(secret, now, body.as_bytes()).unwrap();
    let request = server.post(LINE_ITEMS_CONFIRMED).header("x-webhook-signature", signature);
    request.body(body.to_owned()).send().await.unwrap()
}

#[tokio::test]
async fn a_confirmed_line_item_is_taken_once_from_the_bus_and_from_nobody_else() {
    let server = Running::start(&[]).await;
    let request = with(NEW_PLAN, &[("/executionContextId", json!("ctx_1"))]);
    let answer: Value = server.initiate(request).await.json().await.unwrap();
    server.customer("pay", &transaction(&answer)).await;
    server.until("ctx_1", "COMPLETED").await;
    let event = json!({
        "event": "line_items_confirmed",
        "headers": { "tenant": "t", "city": "delhi", "requestId": "r", "idempotencyKey": "ctx_1:line_items_confirmed" },
        "payload": {
            "executionContextId": "ctx_1", "checkoutOrderId": "co_1", "userId": "user_123", "lineItemIds": ["li_456"],
        },
    })
    .to_string();
    problem(posts(&server, WEBHOOK_SECRET, &event).await, 401, "UNAUTHENTICATED").await;
    problem(server.post(LINE_ITEMS_CONFIRMED).body(event.clone()).send().await.unwrap(), 401, "UNAUTHENTICATED").await;
    for (body, expected) in [
        (event.as_str(), "accepted"),
        (event.as_str(), "duplicate"),
        ("{ no json", "dead_lettered"),
        ("{\"event\":\"line_items_updated\"}", "ignored"),
    ] {
        let answer = posts(&server, EVENTS_SECRET, body).await;
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.json::<Value>().await.unwrap(), json!({ "event": expected }));
    }
    server.stop().await;
}
