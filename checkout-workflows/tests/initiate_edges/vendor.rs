//! The stand-in behaves like a real vendor.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use checkout_workflows::initiate::vendor::{
    Behaviour, Cancellation, Decline, DeclineCode, Delivery, EntryKind, LocalVendor, Operation, PaymentAnswer,
    PaymentRequest, PaymentVendor, RefundStatus, SignedWebhook, Standing, Timing,
};
use checkout_workflows::initiate::webhook::{PaymentOutcome, WebhookEvent, WebhookSecrets};
use saga_core::{Class, Effect, IdempotencyKey, Op, SagaId, StepName, Timestamp};

use crate::fixture::rupees;

const SECRET: &[u8] = b"whsec_0123456789abcdef";

#[derive(Clone, Default)]
struct Inbox(Arc<Mutex<Vec<SignedWebhook>>>);

impl Inbox {
    fn vendor(&self) -> LocalVendor {
        let inbox = self.0.clone();
        LocalVendor::new(SECRET).unwrap().with_webhooks(Arc::new(move |webhook| inbox.lock().unwrap().push(webhook)))
    }

    /// What was posted, each proven.
    fn events(&self) -> Vec<WebhookEvent> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let now = Timestamp::from_micros(0).after(now);
        let secrets = WebhookSecrets::new(SECRET).unwrap();
        let posted = self.0.lock().unwrap().clone();
        posted.iter().map(|webhook| secrets.open(&webhook.signature, &webhook.body, now).unwrap()).collect()
    }

    async fn wait_for(&self, count: usize) -> Vec<WebhookEvent> {
        let arrived = async {
            while self.events().len() < count {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), arrived).await.unwrap();
        self.events()
    }
}

fn vendor() -> LocalVendor {
    LocalVendor::new(SECRET).unwrap()
}

fn key() -> IdempotencyKey {
    IdempotencyKey::of(SagaId::new(), &StepName::from("pay"), Op::Run, 0)
}

fn request(reference: &str) -> PaymentRequest {
    PaymentRequest {
        merchant_reference: reference.to_owned(),
        amount: rupees(1_500),
        customer_id: "user_123".to_owned(),
        payment_method: None,
        sets_up_mandate: false,
    }
}

#[track_caller]
fn sound(vendor: &LocalVendor, reference: &str, net: i64) {
    let audit = vendor.audit();
    assert!(audit.contradictions.is_empty(), "{audit:?}");
    assert_eq!(audit.net_minor.get(reference).copied().unwrap_or(0), net * 100);
}

#[tokio::test]
async fn a_key_pays_once_however_often_it_is_sent() {
    let (vendor, key) = (vendor(), key());
    let first = vendor.create(key, &request("pcr_1")).await.unwrap();
    assert!(matches!(first, PaymentAnswer::Succeeded(_)));
    assert_eq!(vendor.create(key, &request("pcr_1")).await.unwrap(), first);
    let other = vendor.create(key, &PaymentRequest { amount: rupees(1), ..request("pcr_1") }).await.unwrap_err();
    assert!(other.to_string().contains("IDEMPOTENCY_CONFLICT"));
    assert!(vendor.create(self::key(), &request("pcr_1")).await.is_err(), "the reference is taken");
    sound(&vendor, "pcr_1", 1_500);
}

#[tokio::test]
async fn a_payment_waits_for_its_customer() {
    let inbox = Inbox::default();
    let vendor = inbox.vendor();
    vendor.behave(Behaviour::Wait);
    for reference in ["pcr_1", "pcr_2"] {
        let answer = vendor.create(key(), &request(reference)).await.unwrap();
        assert!(matches!(answer, PaymentAnswer::RequiresClientAction(_)));
        assert!(matches!(vendor.query(reference).await.unwrap(), Standing::Pending(_)));
    }
    assert!(inbox.events().is_empty());
    vendor.pay("pcr_1").unwrap();
    vendor.fail("pcr_2", DeclineCode::InsufficientFunds).unwrap();
    assert!(vendor.pay("pcr_2").is_err() && vendor.pay("pcr_3").is_err());
    let events = inbox.events();
    assert!(matches!(&events[0].outcome, PaymentOutcome::Paid { amount, .. } if *amount == rupees(1_500)));
    assert!(matches!(&events[1].outcome, PaymentOutcome::Failed { code, .. } if code == "INSUFFICIENT_FUNDS"));
    assert_eq!(events[0].requirement_id, "pcr_1");
    sound(&vendor, "pcr_1", 1_500);
    sound(&vendor, "pcr_2", 0);
}

#[tokio::test]
async fn a_refusal_says_why() {
    let vendor = vendor();
    for (behaviour, code) in [
        (Behaviour::Decline, DeclineCode::PaymentDeclined),
        (Behaviour::InsufficientFunds, DeclineCode::InsufficientFunds),
    ] {
        let reference = format!("pcr_{}", code.as_str());
        vendor.behave_for(&reference, behaviour);
        let answer = vendor.create(key(), &request(&reference)).await.unwrap();
        assert!(matches!(answer, PaymentAnswer::Declined(Decline { code: told, .. }) if told == code));
        assert_eq!(code.error_code().as_str(), code.as_str());
        sound(&vendor, &reference, 0);
    }
}

#[tokio::test]
async fn after_a_time_out_nobody_knows_until_the_vendor_is_asked() {
    let vendor = vendor();
    for (reference, behaviour, happened) in [
        ("pcr_with", Behaviour::TimeOutWithEffect { calls: 2 }, true),
        ("pcr_without", Behaviour::TimeOutWithoutEffect { calls: 2 }, false),
    ] {
        let key = key();
        vendor.behave_for(reference, behaviour);
        for _ in 0..2 {
            let lost = vendor.create(key, &request(reference)).await.unwrap_err();
            assert_eq!((lost.fault().class, lost.fault().effect), (Class::Transient, Effect::Unknown));
            let standing = vendor.query(reference).await.unwrap();
            assert_eq!(matches!(standing, Standing::Captured(_)), happened, "{standing:?}");
        }
        assert!(matches!(vendor.create(key, &request(reference)).await.unwrap(), PaymentAnswer::Succeeded(_)));
        assert_eq!(vendor.calls(reference), 3);
        sound(&vendor, reference, 1_500);
    }
}

#[tokio::test]
async fn a_payment_succeeds_late_unless_it_was_cancelled() {
    let inbox = Inbox::default();
    let vendor = inbox.vendor();
    vendor.behave(Behaviour::SucceedLate { after: Duration::from_millis(5) });
    assert!(vendor.create(key(), &request("pcr_1")).await.is_err());
    assert!(matches!(vendor.query("pcr_1").await.unwrap(), Standing::Pending(_)));
    assert_eq!(inbox.wait_for(1).await[0].requirement_id, "pcr_1");
    sound(&vendor, "pcr_1", 1_500);

    assert!(vendor.create(key(), &request("pcr_2")).await.is_err());
    assert_eq!(vendor.cancel(key(), "pcr_2").await.unwrap(), Cancellation::Closed);
    // One that was asked for after it tells that its time is over.
    assert!(vendor.create(key(), &request("pcr_3")).await.is_err());
    assert_eq!(inbox.wait_for(2).await[1].requirement_id, "pcr_3");
    sound(&vendor, "pcr_2", 0);
}

#[tokio::test]
async fn what_is_cancelled_is_never_paid_even_when_the_request_comes_after() {
    let vendor = vendor();
    vendor.behave(Behaviour::Wait);
    vendor.create(key(), &request("pcr_1")).await.unwrap();
    let cancel = key();
    for _ in 0..2 {
        assert_eq!(vendor.cancel(cancel, "pcr_1").await.unwrap(), Cancellation::Closed);
    }
    assert!(vendor.pay("pcr_1").is_err());
    vendor.behave(Behaviour::Succeed);
    assert_eq!(vendor.cancel(key(), "pcr_2").await.unwrap(), Cancellation::Closed, "not seen yet");
    let late = vendor.create(key(), &request("pcr_2")).await.unwrap();
    assert!(matches!(late, PaymentAnswer::Declined(Decline { code: DeclineCode::Cancelled, .. })));
    sound(&vendor, "pcr_1", 0);
    sound(&vendor, "pcr_2", 0);
}

#[tokio::test]
async fn what_is_paid_is_not_cancelled_but_refunded_and_never_more_than_that() {
    let vendor = vendor();
    vendor.create(key(), &request("pcr_1")).await.unwrap();
    assert!(matches!(vendor.cancel(key(), "pcr_1").await.unwrap(), Cancellation::AlreadyCaptured(_)));
    let refund = key();
    let first = vendor.refund(refund, "pcr_1", rupees(1_000)).await.unwrap();
    assert_eq!(first.status, RefundStatus::Succeeded);
    assert_eq!(vendor.refund(refund, "pcr_1", rupees(1_000)).await.unwrap(), first);
    sound(&vendor, "pcr_1", 500);
    for wrong in [rupees(501), rupees(0), rupees(-1)] {
        let refused = vendor.refund(key(), "pcr_1", wrong).await.unwrap_err();
        assert_eq!(refused.fault().class, Class::Terminal);
    }
    vendor.refund(key(), "pcr_1", rupees(500)).await.unwrap();
    sound(&vendor, "pcr_1", 0);
    vendor.behave(Behaviour::Wait);
    vendor.create(key(), &request("pcr_2")).await.unwrap();
    assert!(vendor.refund(key(), "pcr_2", rupees(1)).await.is_err(), "nothing was taken");
    let kinds: Vec<EntryKind> = vendor.ledger().into_iter().map(|entry| entry.kind).collect();
    assert_eq!(
        kinds,
        [EntryKind::Requested, EntryKind::Captured, EntryKind::Refunded, EntryKind::Refunded, EntryKind::Requested,]
    );
}

#[tokio::test]
async fn webhooks_come_early_late_doubled_and_out_of_order() {
    let inbox = Inbox::default();
    let vendor = inbox.vendor();
    vendor.deliver(Delivery { timing: Timing::Early, copies: 2 });
    vendor.behave_for("pcr_1", Behaviour::TimeOutWithEffect { calls: 1 });
    assert!(vendor.create(key(), &request("pcr_1")).await.is_err());
    let events = inbox.events();
    assert_eq!(events.len(), 2, "before any answer");
    assert_eq!(events[0], events[1], "the same event twice");

    vendor.deliver(Delivery { timing: Timing::Held, copies: 1 });
    vendor.create(key(), &request("pcr_2")).await.unwrap();
    vendor.create(key(), &request("pcr_3")).await.unwrap();
    assert_eq!(inbox.events().len(), 2);
    vendor.release_webhooks();
    let late: Vec<String> = inbox.events().into_iter().skip(2).map(|event| event.requirement_id).collect();
    assert_eq!(late, ["pcr_3", "pcr_2"]);

    vendor.deliver(Delivery::default());
    vendor.create(key(), &request("pcr_4")).await.unwrap();
    assert_eq!(inbox.wait_for(5).await[4].requirement_id, "pcr_4");
}

#[tokio::test]
async fn an_outage_is_unknown_and_over_after_a_while() {
    let vendor = vendor();
    for operation in [Operation::Create, Operation::Query, Operation::Cancel, Operation::Refund] {
        vendor.outage(operation, 1);
    }
    let key = key();
    assert!(vendor.create(key, &request("pcr_1")).await.is_err());
    assert!(vendor.query("pcr_1").await.is_err());
    assert!(vendor.cancel(self::key(), "pcr_1").await.is_err());
    assert!(vendor.refund(self::key(), "pcr_1", rupees(1)).await.is_err());
    assert!(vendor.ledger().is_empty());
    assert!(matches!(vendor.create(key, &request("pcr_1")).await.unwrap(), PaymentAnswer::Succeeded(_)));
}

#[tokio::test]
async fn a_payment_of_nothing_is_never_asked_for() {
    let nothing = PaymentRequest { amount: rupees(0), ..request("pcr_1") };
    let refused = vendor().create(key(), &nothing).await.unwrap_err();
    assert!(refused.to_string().starts_with("PAYMENT_VALIDATION_ERROR_TYPE"));
    assert_eq!((refused.fault().class, refused.fault().effect), (Class::Terminal, Effect::NotApplied));
}

#[tokio::test]
async fn a_mandate_is_set_up_by_a_payment_of_nothing_too_and_once() {
    let (vendor, key) = (vendor(), key());
    let mandate = PaymentRequest { amount: rupees(0), sets_up_mandate: true, ..request("pcr_1") };
    for _ in 0..2 {
        let answer = vendor.create(key, &mandate).await.unwrap();
        assert!(matches!(answer, PaymentAnswer::Succeeded(captured) if captured.mandate_id.is_some()));
    }
    let mandates = vendor.ledger().into_iter().filter(|entry| entry.kind == EntryKind::MandateSetUp);
    assert_eq!(mandates.count(), 1);
    sound(&vendor, "pcr_1", 0);
}

#[tokio::test]
async fn a_known_key_is_answered_as_the_first_time_and_a_query_tells_the_news() {
    let (vendor, key) = (vendor(), key());
    vendor.behave(Behaviour::Wait);
    let first = vendor.create(key, &request("pcr_1")).await.unwrap();
    vendor.pay("pcr_1").unwrap();
    assert_eq!(vendor.create(key, &request("pcr_1")).await.unwrap(), first);
    assert!(matches!(vendor.query("pcr_1").await.unwrap(), Standing::Captured(_)));
}
