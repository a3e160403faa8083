//! Retries and breakers are as documented, and as configured.

use checkout_workflows::initiate::policy::{Policies, Service};
use saga_core::Backoff;
use saga_core::Jitter;

#[test]
fn the_documented_table_is_the_default() {
    let table = [
        (Service::PaymentGroup, 3, Backoff::Exponential, true),
        (Service::Invoice, 3, Backoff::Linear, true),
        (Service::LineItems, 3, Backoff::Exponential, true),
        (Service::PaymentRequirement, 3, Backoff::Exponential, true),
        (Service::Events, 2, Backoff::Linear, false),
        (Service::Other, 3, Backoff::Exponential, true),
    ];
    let policies = Policies::default();
    for (service, attempts, backoff, breaker) in table {
        let policy = policies.of(service);
        let retry = policy.retry();
        assert_eq!(retry.attempts_max(), Some(attempts), "{service:?}");
        assert_eq!(policy.backoff, backoff, "{service:?}");
        assert_eq!(policy.dependency().breaker.is_some(), breaker, "{service:?}");
        let third = if backoff == Backoff::Linear { 600 } else { 800 };
        assert_eq!(retry.jitter(Jitter::None).delay(3, 0.0).as_millis(), third, "{service:?}");
    }
}

#[test]
fn configuration_changes_what_it_names_and_nothing_else() {
    let configured: Policies = serde_json::from_str(
        r#"{
            "invoice": { "attempts": 7, "backoff": "fixed" },
            "line_items": { "breaker": false, "timeout_ms": 500 },
            "events": { "breaker": { "failures": 2 } }
        }"#,
    )
    .unwrap();
    let (invoice, documented) = (configured.of(Service::Invoice), Policies::default());
    assert_eq!((invoice.attempts, invoice.backoff), (7, Backoff::Fixed));
    assert_eq!(invoice.breaker, documented.of(Service::Invoice).breaker);
    assert_eq!(configured.of(Service::LineItems).breaker, None);
    assert_eq!(configured.of(Service::LineItems).timeout().as_millis(), 500);
    assert_eq!(configured.of(Service::Events).breaker.unwrap().failures, 2);
    assert_eq!(configured.of(Service::PaymentGroup), documented.of(Service::PaymentGroup));
    assert_eq!(serde_json::from_str::<Policies>("{}").unwrap(), documented);
    let written = serde_json::to_string(&configured).unwrap();
    assert_eq!(serde_json::from_str::<Policies>(&written).unwrap(), configured);
}

#[test]
fn a_misspelt_setting_is_refused() {
    for wrong in [r#"{"invoices":{}}"#, r#"{"invoice":{"attempt":1}}"#, r#"{"events":{"breaker":"yes"}}"#] {
        assert!(serde_json::from_str::<Policies>(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn every_service_is_a_dependency_of_its_own() {
    let policies = Policies::default();
    let names: std::collections::BTreeSet<&str> = policies.dependencies().map(|(name, _)| name).collect();
    assert_eq!(names.len(), Service::ALL.len());
}
