//! Sealed columns open in their place, with their key, unchanged; and never tell what is in them.

use checkout_workflows::initiate::flags::FlagSet;
use checkout_workflows::initiate::pii::{KeyRing, PiiError, RowIdentity};
use checkout_workflows::initiate::sealed_request::{open_request, seal_request};
use proptest::prelude::*;

use crate::fixture::{NEW_PLAN, RENEWAL, TIP, request};

const ADDRESS: &str = r#"{"address":"123 Main St"}"#;

fn row(row: &str) -> RowIdentity<'_> {
    RowIdentity { table: "line_items", column: "location", row }
}

fn ring() -> KeyRing {
    KeyRing::new("k1", &[1; 32]).unwrap()
}

#[test]
fn a_value_opens_in_its_own_place_only() {
    let stored = ring().seal(ADDRESS, &row("li_1")).unwrap();
    assert!(!stored.contains("Main"));
    assert_eq!(ring().open(&stored, &row("li_1")).unwrap(), ADDRESS);
    let elsewhere = [
        row("li_2"),
        RowIdentity { column: "payment", ..row("li_1") },
        RowIdentity { table: "preferences", ..row("li_1") },
        // The same letters, cut elsewhere.
        RowIdentity { table: "line_itemsl", column: "ocation", row: "li_1" },
    ];
    for place in elsewhere {
        assert_eq!(ring().open(&stored, &place), Err(PiiError::NotAuthentic { key_id: "k1".to_owned() }));
    }
}

#[test]
fn the_same_value_is_never_sealed_the_same_twice() {
    let seal = || ring().seal(ADDRESS, &row("li_1")).unwrap();
    assert_ne!(seal(), seal());
}

#[test]
fn keys_change_while_old_values_go_on_to_open() {
    let old = ring().seal(ADDRESS, &row("li_1")).unwrap();
    let new = KeyRing::new("k2", &[2; 32]).unwrap().with_old("k1", &[1; 32]).unwrap();
    assert!(new.is_outdated(&old));
    let sealed = new.reseal(&old, &row("li_1")).unwrap();
    assert!(!new.is_outdated(&sealed));
    let later = KeyRing::new("k2", &[2; 32]).unwrap();
    assert_eq!(later.open(&sealed, &row("li_1")).unwrap(), ADDRESS);
    assert_eq!(later.open(&old, &row("li_1")), Err(PiiError::KeyUnknown { key_id: "k1".to_owned() }));
}

#[test]
fn values_from_before_the_flag_was_on_are_read_and_sealed_when_written_anew() {
    let plain = ring().store(ADDRESS, &row("li_1"), false).unwrap();
    assert_eq!(ring().open(&plain, &row("li_1")).unwrap(), ADDRESS);
    assert!(ring().is_outdated(&plain));
    let sealed = ring().reseal(&plain, &row("li_1")).unwrap();
    assert!(!sealed.contains("Main") && !ring().is_outdated(&sealed));
    assert!(!ring().is_outdated(&ring().store(ADDRESS, &row("li_1"), true).unwrap()));
}

#[test]
fn another_key_under_the_same_id_does_not_open() {
    let stored = ring().seal(ADDRESS, &row("li_1")).unwrap();
    let other = KeyRing::new("k1", &[9; 32]).unwrap();
    assert!(matches!(other.open(&stored, &row("li_1")), Err(PiiError::NotAuthentic { .. })));
}

#[test]
fn key_ids_are_checked_and_keys_not_shown() {
    for wrong in ["", "a.b", "a b"] {
        assert!(matches!(KeyRing::new(wrong, &[1; 32]), Err(PiiError::KeyId { .. })), "{wrong:?}");
    }
    assert!(matches!(ring().with_old("k1", &[2; 32]), Err(PiiError::KeyTwice { .. })));
    assert_eq!(format!("{:?}", ring()), r#"KeyRing { current: "k1", keys: ["k1"] }"#);
}

#[test]
fn a_request_at_rest_holds_no_address_and_no_payment_method() {
    let on = FlagSet { line_item_pii_data_encryption: true, execution_context_persistence: true };
    for text in [NEW_PLAN, TIP, RENEWAL] {
        let (given, mut sealed) = (request(text), request(text));
        for _ in 0..2 {
            seal_request(&mut sealed, "ctx_1", &ring(), on).unwrap();
        }
        let stored = serde_json::to_string(&sealed).unwrap();
        for secret in ["Main St", "Oak Ave", "pm_123"] {
            assert!(!stored.contains(secret), "{secret}");
        }
        let mut opened = request(&stored);
        open_request(&mut opened, "ctx_1", &ring()).unwrap();
        assert_eq!(opened, given);
        if text != RENEWAL {
            assert!(open_request(&mut request(&stored), "ctx_2", &ring()).is_err(), "of another execution");
        }
    }
    let mut plain = request(NEW_PLAN);
    seal_request(&mut plain, "ctx_1", &ring(), FlagSet { line_item_pii_data_encryption: false, ..on }).unwrap();
    assert_eq!(plain, request(NEW_PLAN));
    open_request(&mut plain, "ctx_1", &ring()).unwrap();
    assert_eq!(plain, request(NEW_PLAN));
}

proptest! {
    #[test]
    fn any_changed_byte_is_noticed_and_no_error_tells_the_value(text in "[a-z]{8,40}", nth in any::<prop::sample::Index>()) {
        let stored = ring().seal(&text, &row("li_1")).unwrap();
        prop_assert_eq!(ring().open(&stored, &row("li_1")).unwrap(), text.as_str());
        let mut bytes = stored.into_bytes();
        let nth = nth.index(bytes.len());
        bytes[nth] = if bytes[nth] == b'A' { b'B' } else { b'A' };
        let error = ring().open(&String::from_utf8(bytes).unwrap(), &row("li_1")).unwrap_err();
        let told = format!("{error} {error:?}");
        prop_assert!(!told.contains(&text));
    }
}
