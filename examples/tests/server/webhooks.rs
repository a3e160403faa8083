//! What the vendor says about payments.

use checkout_workflows::Money;
use checkout_workflows::initiate::webhook::{PaymentOutcome, WebhookEvent, sign, write};
use checkout_workflows::money::Currency;
use saga_core::Timestamp;
use serde_json::{Value, json};

use crate::fixture::{NEW_PLAN, Running, WEBHOOK_SECRET, transaction, with};

fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap())
}

/// A body, signed this many seconds from now.
fn signed(event: &WebhookEvent, secret: &[u8], seconds: i64) -> (String, Vec<u8>) {
    let body = write(event).unwrap();
    let at = Timestamp::from_micros(now().as_micros() + seconds * 1_000_000);
    (sign(secret, at, &body).unwrap(), body)
}

fn paid(requirement_id: &str, event_id: &str) -> WebhookEvent {
    let amount = Money::new(150_000, Currency::INR);
    let outcome = PaymentOutcome::Paid { vendor_transaction_id: "txn_1".to_owned(), amount };
    WebhookEvent { event_id: event_id.to_owned(), requirement_id: requirement_id.to_owned(), outcome }
}

/// The payment of the only checkout, as the vendor knows it.
async fn requirement(server: &Running) -> String {
    let books = server.books().await;
    books["netMinor"].as_object().unwrap().keys().next().unwrap().clone()
}

#[tokio::test]
async fn only_what_the_vendor_has_signed_just_now_is_taken_and_only_once() {
    let server = Running::start(&[]).await;
    let method = "/paymentPreferences/selectedOnlinePaymentInfo/paymentMethodIdentifier";
    let request =
        with(NEW_PLAN, &[(method, json!("pm+wait+webhook_missing")), ("/executionContextId", json!("ctx_1"))]);
    let answer: Value = server.initiate(request).await.json().await.unwrap();
    let id = requirement(&server).await;

    let (signature, body) = signed(&paid(&id, "evt_forged"), b"a secret of somebody else", 0);
    assert_eq!(server.webhook(&signature, &body).await.0, 401, "forged");
    let (signature, mut body) = signed(&paid(&id, "evt_changed"), WEBHOOK_SECRET, 0);
    body.push(b' ');
    assert_eq!(server.webhook(&signature, &body).await.0, 401, "changed on its way");
    for seconds in [-301, 302] {
        let (signature, body) = signed(&paid(&id, "evt_old"), WEBHOOK_SECRET, seconds);
        assert_eq!(server.webhook(&signature, &body).await.0, 401, "{seconds} seconds from now");
    }
    assert_eq!(server.webhook("", b"{}").await.0, 401, "not signed");
    let garbage = sign(WEBHOOK_SECRET, now(), b"garbage").unwrap();
    assert_eq!(server.webhook(&garbage, b"garbage").await.0, 400, "proven, and no webhook");
    let (signature, body) = signed(&paid(&id, ""), WEBHOOK_SECRET, 0);
    assert_eq!(server.webhook(&signature, &body).await.0, 400, "proven, and an event that cannot be told apart");
    let (signature, body) = signed(&paid("pcr_unknown", "evt_unknown"), WEBHOOK_SECRET, 0);
    assert_eq!(server.webhook(&signature, &body).await.0, 404, "a payment that nobody asked for");
    assert_eq!(server.context("ctx_1").await["status"], "INITIALIZED", "nothing of that was believed");

    server.customer("pay", &transaction(&answer)).await;
    let (signature, body) = signed(&paid(&id, "evt_1"), WEBHOOK_SECRET, 0);
    assert_eq!(server.webhook(&signature, &body).await, (200, json!({ "webhook": "accepted" })));
    let doubled = server.webhook(&signature, &body).await;
    assert!(doubled == (200, json!({ "webhook": "duplicate" })), "{doubled:?}");
    server.until("ctx_1", "COMPLETED").await;
    let other = json!({ "eventId": "evt_other", "event": "payout_sent", "payload": {} }).to_string();
    let signature = sign(WEBHOOK_SECRET, now(), other.as_bytes()).unwrap();
    assert_eq!(server.webhook(&signature, other.as_bytes()).await, (200, json!({ "webhook": "ignored" })));
    server.stop().await;
}

#[tokio::test]
async fn a_webhook_that_comes_before_the_answer_is_not_lost() {
    let server = Running::start(&[]).await;
    let method = "/paymentPreferences/selectedOnlinePaymentInfo/paymentMethodIdentifier";
    let early = json!("pm+pays_0+webhook_early+webhook_twice");
    let request = with(NEW_PLAN, &[(method, early), ("/executionContextId", json!("ctx_early"))]);
    assert_eq!(server.initiate(request).await.status(), 200);
    server.until("ctx_early", "COMPLETED").await;
    server.stop().await;
}

#[tokio::test]
async fn a_payment_that_comes_too_late_is_never_kept() {
    let server = Running::start(&["--payment-wait-ms", "300"]).await;
    let method = "/paymentPreferences/selectedOnlinePaymentInfo/paymentMethodIdentifier";
    let request = with(NEW_PLAN, &[(method, json!("pm+wait")), ("/executionContextId", json!("ctx_late"))]);
    let answer: Value = server.initiate(request).await.json().await.unwrap();
    server.until("ctx_late", "ROLLEDBACK").await;
    assert_eq!(server.customer("pay", &transaction(&answer)).await, 409, "it is closed at the vendor");
    let id = requirement(&server).await;
    let (signature, body) = signed(&paid(&id, "evt_late"), WEBHOOK_SECRET, 0);
    assert_eq!(server.webhook(&signature, &body).await, (200, json!({ "webhook": "late" })));
    assert_eq!(server.books().await["netMinor"][&id], 0);
    assert_eq!(server.context("ctx_late").await["status"], "ROLLEDBACK");
    server.stop().await;
}
