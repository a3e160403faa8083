//! Webhooks are proven before they are read.

use std::time::Duration;

use checkout_workflows::Money;
use checkout_workflows::initiate::webhook::{PaymentOutcome, WebhookError, WebhookEvent, WebhookSecrets, sign, write};
use checkout_workflows::money::Currency;
use proptest::prelude::*;
use saga_core::Timestamp;

const SECRET: &[u8] = b"whsec_0123456789abcdef";
const OTHER: &[u8] = b"whsec_fedcba9876543210";

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(seconds * 1_000_000)
}

const NOW: i64 = 1_700_000_000;

fn paid() -> WebhookEvent {
    WebhookEvent {
        event_id: "evt_1".to_owned(),
        requirement_id: "pcr_1".to_owned(),
        outcome: PaymentOutcome::Paid {
            vendor_transaction_id: "txn_1".to_owned(),
            amount: Money::new(150_050, Currency::INR),
        },
    }
}

fn secrets() -> WebhookSecrets {
    WebhookSecrets::new(SECRET).unwrap()
}

#[test]
fn the_signature_is_an_hmac_of_time_and_body() {
    // Computed with another implementation.
    let header = sign(b"0123456789abcdef", at(1_700_000_000), b"{}").unwrap();
    assert_eq!(header, "t=1700000000,v1=e4f8e2ecae2295b2ddb2f0b5584c8275e226c0ebe9b3b819e70156bb67122e3e");
}

#[test]
fn a_good_webhook_tells_event_requirement_and_outcome() {
    let failed = WebhookEvent {
        outcome: PaymentOutcome::Failed { code: "INSUFFICIENT_FUNDS".to_owned(), reason: "no money".to_owned() },
        ..paid()
    };
    for event in [paid(), failed] {
        let body = write(&event).unwrap();
        let signature = sign(SECRET, at(NOW), &body).unwrap();
        assert_eq!(secrets().open(&signature, &body, at(NOW)).unwrap(), event);
    }
}

#[test]
fn a_forged_webhook_is_refused() {
    let body = write(&paid()).unwrap();
    let forged = sign(OTHER, at(NOW), &body).unwrap();
    assert_eq!(secrets().open(&forged, &body, at(NOW)), Err(WebhookError::Forged));
    let good = sign(SECRET, at(NOW), &body).unwrap();
    // The time is signed too: an old webhook cannot be made young.
    let younger = good.replace(&NOW.to_string(), &(NOW + 1).to_string());
    assert_eq!(secrets().open(&younger, &body, at(NOW)), Err(WebhookError::Forged));
}

#[test]
fn a_webhook_with_changed_bytes_is_refused() {
    let body = write(&paid()).unwrap();
    let signature = sign(SECRET, at(NOW), &body).unwrap();
    let more = String::from_utf8(body.clone()).unwrap().replace("1500.5", "9500.5");
    assert_eq!(secrets().open(&signature, more.as_bytes(), at(NOW)), Err(WebhookError::Forged));
    // The same JSON in other bytes is another body.
    let mut spaced = body;
    spaced.push(b' ');
    assert_eq!(secrets().open(&signature, &spaced, at(NOW)), Err(WebhookError::Forged));
}

#[test]
fn a_stale_webhook_is_refused_to_the_second() {
    let body = write(&paid()).unwrap();
    let signature = sign(SECRET, at(NOW), &body).unwrap();
    for fine in [-300, 0, 300] {
        assert!(secrets().open(&signature, &body, at(NOW + fine)).is_ok(), "{fine}");
    }
    for stale in [-301, 301, 86_400] {
        let error = secrets().open(&signature, &body, at(NOW + stale)).unwrap_err();
        assert_eq!(error, WebhookError::Stale { seconds: stale.unsigned_abs() });
        assert_eq!(error.http_status(), 401);
    }
    let patient = secrets().tolerance(Duration::from_secs(86_400));
    assert!(patient.open(&signature, &body, at(NOW + 86_400)).is_ok());
}

#[test]
fn secrets_change_on_either_side() {
    let body = write(&paid()).unwrap();
    let both = secrets().and(OTHER).unwrap();
    let (old, new) = (sign(SECRET, at(NOW), &body).unwrap(), sign(OTHER, at(NOW), &body).unwrap());
    assert!(both.open(&old, &body, at(NOW)).is_ok());
    assert!(both.open(&new, &body, at(NOW)).is_ok());
    let twice = format!("{new},{}", old.split_once(',').unwrap().1);
    assert!(secrets().open(&twice, &body, at(NOW)).is_ok(), "the vendor signs with both");
    assert!(WebhookSecrets::new(b"short").is_err());
    assert!(!format!("{both:?}").contains("whsec"));
}

#[test]
fn a_header_of_another_form_is_refused() {
    let body = write(&paid()).unwrap();
    let good = sign(SECRET, at(NOW), &body).unwrap();
    let v1 = good.split_once(',').unwrap().1;
    let wrong = [
        String::new(),
        "nonsense".to_owned(),
        format!("t={NOW}"),
        v1.to_owned(),
        format!("t={NOW},v0=00"),
        format!("t=-5,{v1}"),
        format!("t={NOW},t={NOW},{v1}"),
        format!("t={NOW},v1=00"),
        format!("t={NOW},v1={}", "z".repeat(64)),
        format!("t={NOW},v1={}", "é".repeat(32)),
    ];
    for header in wrong {
        assert_eq!(secrets().open(&header, &body, at(NOW)), Err(WebhookError::Header), "{header}");
    }
}

#[test]
fn a_proven_webhook_that_cannot_be_read_is_told_apart() {
    let open = |body: &str| secrets().open(&sign(SECRET, at(NOW), body.as_bytes()).unwrap(), body.as_bytes(), at(NOW));
    assert!(matches!(open("{"), Err(WebhookError::Body { .. })));
    assert!(matches!(open(r#"{"eventId":"e"}"#), Err(WebhookError::Body { .. })));
    let other = open(r#"{"eventId":"evt_2","event":"mandate_created","payload":{"any":1}}"#).unwrap_err();
    assert!(matches!(&other, WebhookError::OtherEvent { event_id, .. } if event_id == "evt_2"));
    assert_eq!(other.http_status(), 200, "the vendor need not repeat it");
    let inexact = String::from_utf8(write(&paid()).unwrap()).unwrap().replace("1500.5", "1500.505");
    assert!(matches!(open(&inexact), Err(WebhookError::Amount { .. })));
    // Fields that the vendor adds later do no harm.
    let more = String::from_utf8(write(&paid()).unwrap()).unwrap().replace("{\"eventId\"", "{\"new\":1,\"eventId\"");
    assert_eq!(open(&more).unwrap(), paid());
}

proptest! {
    #[test]
    fn no_bytes_are_taken_without_a_signature(header in ".{0,120}", body in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(secrets().open(&header, &body, at(NOW)).is_err());
    }
}
