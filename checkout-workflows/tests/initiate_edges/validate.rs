//! Each rule alone, and several together.

use checkout_workflows::initiate::schema::InitiateCheckoutRequest;
use checkout_workflows::initiate::validate::{CouponFacts, Facts, SlotFacts, ViolationCode as Code, validate};
use checkout_workflows::money::Currency;
use saga_core::Timestamp;
use serde_json::{Value, json};

use crate::fixture::{NEW_PLAN, RENEWAL, TIP, facts, request, rupees};

/// What is wrong with the example once it was changed so: codes and pointers.
fn wrong(text: &str, change: impl FnOnce(&mut Value, &mut Facts)) -> Vec<(Code, String)> {
    let (mut value, mut facts): (Value, Facts) = (serde_json::from_str(text).unwrap(), facts());
    change(&mut value, &mut facts);
    let request: InitiateCheckoutRequest = serde_json::from_str(&value.to_string()).unwrap();
    let Err(violations) = validate(&request, &facts) else { return Vec::new() };
    let found = violations.into_vec();
    assert!(found.iter().all(|violation| !violation.message.is_empty()));
    // Each pointer but one to what is missing leads somewhere, in the request or in its owner.
    for violation in &found {
        let owner = violation.pointer.rsplit_once('/').map_or("", |(owner, _)| owner);
        assert!(value.pointer(owner).is_some(), "{}", violation.pointer);
    }
    found.into_iter().map(|violation| (violation.code, violation.pointer)).collect()
}

#[track_caller]
fn only(text: &str, code: Code, pointer: &str, change: impl FnOnce(&mut Value, &mut Facts)) {
    assert_eq!(wrong(text, change), [(code, pointer.to_owned())]);
}

#[test]
fn the_documented_examples_pass_and_say_what_is_to_be_paid() {
    assert_eq!(validate(&request(NEW_PLAN), &facts()).unwrap(), rupees(1_500));
    assert_eq!(validate(&request(TIP), &facts()).unwrap(), rupees(200));
    assert_eq!(validate(&request(RENEWAL), &facts()).unwrap(), rupees(0));
}

#[test]
fn the_user_must_exist_be_active_and_be_what_the_request_says() {
    only(TIP, Code::UserUnknown, "/userId", |_, facts| facts.user = None);
    only(TIP, Code::UserInactive, "/userId", |_, facts| facts.user.as_mut().unwrap().active = false);
    only(TIP, Code::UserTypeMismatch, "/userType", |request, _| request["userType"] = json!("PARTNER"));
}

#[test]
fn names_that_go_into_keys_and_headers_are_short_and_plain() {
    for id in ["", " ", "a b", "a/b", "a\nb", "\u{fc}", &"x".repeat(129)] {
        let found = wrong(TIP, |request, _| request["executionContextId"] = json!(id));
        assert!(!found.is_empty() && found.iter().all(|found| found.0 == Code::NameUnusable), "{id:?}: {found:?}");
    }
    for id in ["ctx_123", "01a1fd54-50f0-77b6", "tenant:ctx.1", &"x".repeat(128)] {
        assert_eq!(wrong(TIP, |request, _| request["executionContextId"] = json!(id)), [], "{id:?}");
    }
    for key in ["", "del\nhi", &"x".repeat(129)] {
        only(TIP, Code::NameUnusable, "/dimensions/city/key", |request, _| {
            request["dimensions"]["city"]["key"] = json!(key);
        });
    }
    only(NEW_PLAN, Code::NameUnusable, "/lineItems/created/0/lineItemId", |request, _| {
        request["lineItems"]["created"][0]["lineItemId"] = json!("x".repeat(129));
    });
}

#[test]
fn line_items_must_exist_be_the_users_and_be_named_once() {
    only(TIP, Code::LineItemsMissing, "/lineItems", |request, _| request["lineItems"] = json!({}));
    only(RENEWAL, Code::LineItemUnknown, "/lineItems/existing/0/lineItemId", |request, facts| {
        request["invoice"] = json!({});
        facts.line_items.remove("li_renewal_789");
    });
    only(TIP, Code::LineItemForeign, "/lineItems/updated/0/lineItemId", |_, facts| {
        facts.line_items.get_mut("li_existing_123").unwrap().user_id = "user_9".to_owned();
    });
    only(TIP, Code::LineItemCancelled, "/lineItems/updated/0", |_, facts| {
        facts.line_items.get_mut("li_existing_123").unwrap().cancelled = true;
    });
    only(TIP, Code::LineItemUnchanged, "/lineItems/updated/0/preferences", |request, _| {
        request["lineItems"]["updated"][0]["preferences"] = json!({});
    });
    only(TIP, Code::LineItemRepeated, "/lineItems/existing/0/lineItemId", |request, _| {
        request["lineItems"]["existing"] = json!([{ "lineItemId": "li_existing_123" }]);
    });
    only(NEW_PLAN, Code::LineItemIdMissing, "/lineItems/created/0/lineItemId", |request, _| {
        request["lineItems"]["created"][0]["lineItemId"] = json!(" ");
    });
    only(NEW_PLAN, Code::LineItemTaken, "/lineItems/created/0/lineItemId", |request, facts| {
        request["lineItems"]["created"][0]["lineItemId"] = json!("li_renewal_789");
        facts.line_items.get_mut("li_renewal_789").unwrap().user_id = "user_9".to_owned();
    });
    // What an earlier try of the same user has made is taken up again.
    let again = wrong(NEW_PLAN, |request, _| {
        request["lineItems"]["created"][0]["lineItemId"] = json!("li_renewal_789");
    });
    assert_eq!(again, []);
}

#[test]
fn amounts_must_be_exact_and_not_negative() {
    let tip = "/lineItems/updated/0/preferences/tip/amount";
    for (amount, code) in
        [(json!(12.345), Code::AmountInexact), (json!(-1), Code::AmountNegative), (json!(0), Code::TipZero)]
    {
        let found =
            wrong(TIP, |request, _| request["lineItems"]["updated"][0]["preferences"]["tip"]["amount"] = amount);
        assert_eq!(found[0], (code, tip.to_owned()));
    }
    only(RENEWAL, Code::AmountNegative, "/invoice/summaryComponents/charges/0/value", |request, _| {
        request["invoice"]["summaryComponents"]["charges"] = json!([{ "type": "FEE", "value": -100 }]);
        request["invoice"]["summaryComponents"]["discounts"] = json!([]);
    });
}

#[test]
fn arrears_are_paid_as_the_books_say_or_not_at_all() {
    let charge = |value| json!({ "summaryComponents": { "charges": [{ "type": "ARREAR_FEE", "value": value }] } });
    only(TIP, Code::ArrearsNotAttached, "/invoice/summaryComponents/charges/0", |request, _| {
        request["invoice"] = charge(50);
    });
    only(TIP, Code::ArrearsMismatch, "/invoice/summaryComponents/charges/0/value", |request, facts| {
        request["invoice"] = charge(50);
        request["invoice"]["shouldAttachArrears"] = json!(true);
        facts.arrears = rupees(60);
    });
    only(TIP, Code::ArrearContextUnused, "/invoice/arrearContext", |request, _| {
        request["invoice"] = json!({ "arrearContext": { "id": 1 } });
    });
    let mut with = facts();
    with.arrears = rupees(50);
    let mut value: Value = serde_json::from_str(TIP).unwrap();
    value["invoice"] = charge(50);
    value["invoice"]["shouldAttachArrears"] = json!(true);
    assert_eq!(validate(&request(&value.to_string()), &with).unwrap(), rupees(250), "counted once");
}

#[test]
fn a_payment_method_is_one_and_complete() {
    let online = "/paymentPreferences/selectedOnlinePaymentInfo";
    only(NEW_PLAN, Code::PaymentMethodAmbiguous, "/paymentPreferences", |request, facts| {
        request["paymentPreferences"]["isCashPayment"] = json!(true);
        facts.cash_allowed = true;
    });
    only(TIP, Code::CashNotAllowed, "/paymentPreferences/isCashPayment", |request, _| {
        request["paymentPreferences"] = json!({ "isCashPayment": true });
    });
    only(NEW_PLAN, Code::PaymentMethodMissing, &format!("{online}/paymentMethodIdentifier"), |request, _| {
        request["paymentPreferences"]["selectedOnlinePaymentInfo"]["paymentMethodIdentifier"] = json!("");
    });
    let reference = format!("{online}/mandateInfo/preference/referenceId");
    only(NEW_PLAN, Code::MandateReferenceMissing, &reference, |request, _| {
        let info = &mut request["paymentPreferences"]["selectedOnlinePaymentInfo"]["mandateInfo"];
        info["preference"]["referenceId"] = json!("");
    });
}

#[test]
fn a_plan_must_be_sold_here_and_payable_as_wanted() {
    let plan = "/lineItems/created/0/plan/planId";
    only(NEW_PLAN, Code::PlanUnknown, plan, |_, facts| facts.plans.clear());
    only(NEW_PLAN, Code::PlanInactive, plan, |_, facts| facts.plans.get_mut("plan_789").unwrap().active = false);
    only(NEW_PLAN, Code::PlanNotInCity, plan, |request, _| request["dimensions"]["city"]["key"] = json!("mumbai"));
    only(NEW_PLAN, Code::PlanOfOtherCategory, plan, |request, _| {
        request["dimensions"]["category"]["key"] = json!("plumbing");
    });
    only(NEW_PLAN, Code::PayLaterNotAllowed, "/payments/userPaymentIntent", |request, _| {
        request["payments"]["userPaymentIntent"] = json!("PAY_LATER");
    });
}

#[test]
fn what_is_to_be_paid_is_never_negative_and_fits() {
    only(RENEWAL, Code::PayableNegative, "/invoice/summaryComponents/discounts", |_, facts| {
        facts.line_items.get_mut("li_renewal_789").unwrap().due = rupees(999);
    });
    only(RENEWAL, Code::PayableOutOfRange, "/invoice", |request, _| {
        let fee = json!({ "type": "FEE", "value": 92_233_720_368_547_000_i64 });
        request["invoice"]["summaryComponents"]["charges"] = json!([fee, fee]);
    });
}

const SLOT: &str = "/lineItems/created/0/initialPostSellingPreferences/slot/slotId";

/// The first example, with a slot.
fn books(request: &mut Value) {
    request["lineItems"]["created"][0]["initialPostSellingPreferences"]["slot"] = json!({ "slotId": "slot_1" });
}

/// What the client was shown as the fees of slots.
fn shows_fee(request: &mut Value, fee: Value) {
    request["invoice"]["summaryComponents"]["charges"] = json!([{ "type": "SURGE_SLOT_FEE", "value": fee }]);
}

#[test]
fn a_slot_must_be_offered_here_free_and_still_to_come() {
    let with = |change: fn(&mut SlotFacts, Timestamp)| {
        move |request: &mut Value, facts: &mut Facts| {
            books(request);
            change(facts.slots.get_mut("li_456").unwrap(), facts.now);
        }
    };
    assert_eq!(wrong(NEW_PLAN, with(|_, _| {})), []);
    only(NEW_PLAN, Code::SlotTaken, SLOT, with(|slot, _| slot.available = false));
    only(NEW_PLAN, Code::SlotPast, SLOT, with(|slot, now| slot.begins = now));
    only(NEW_PLAN, Code::SlotNotOffered, SLOT, with(|slot, _| slot.city = "mumbai".to_owned()));
    only(NEW_PLAN, Code::SlotNotOffered, SLOT, with(|slot, _| slot.category = "plumbing".to_owned()));
    only(NEW_PLAN, Code::SlotUnknown, SLOT, |request, facts| {
        books(request);
        facts.slots.clear();
    });
    let updated = "/lineItems/updated/0/preferences/slot/slotId";
    only(TIP, Code::SlotUnknown, updated, |request, _| {
        request["lineItems"]["updated"][0]["preferences"] = json!({ "slot": { "slotId": "slot_1" } });
    });
}

#[test]
fn the_fee_of_a_slot_is_what_the_catalogue_says_once() {
    let payable = |change: fn(&mut Value)| {
        let mut value: Value = serde_json::from_str(NEW_PLAN).unwrap();
        change(&mut value);
        validate(&serde_json::from_value(value).unwrap(), &facts()).unwrap()
    };
    assert_eq!(payable(|_| {}), rupees(1_500), "who books no slot pays for none");
    assert_eq!(payable(books), rupees(1_599));
    let shown = |request: &mut Value| {
        books(request);
        shows_fee(request, json!(99));
    };
    assert_eq!(payable(shown), rupees(1_599), "shown, and not charged twice");
    let value = "/invoice/summaryComponents/charges/0/value";
    only(NEW_PLAN, Code::SlotFeeMismatch, value, |request, _| {
        books(request);
        shows_fee(request, json!(98.99));
    });
    only(NEW_PLAN, Code::SlotFeeMismatch, value, |request, _| shows_fee(request, json!(99)));
}

fn coupon() -> CouponFacts {
    CouponFacts {
        valid_until: Timestamp::from_micros(i64::MAX),
        uses_left: 1,
        locked_by: Some("lock_1".to_owned()),
        minimum: rupees(1_000),
        worth: rupees(150),
    }
}

#[test]
fn a_coupon_must_be_usable_now_by_this_session_for_this_purchase() {
    let with = |change: fn(&mut CouponFacts)| {
        move |request: &mut Value, facts: &mut Facts| {
            request["pricing"] = json!({ "coupon": { "code": "SAVE", "lockSessionId": "lock_1" } });
            request["invoice"] = json!({ "summaryComponents": { "discounts": [{ "type": "COUPON", "value": 150 }] } });
            let coupon = facts.coupon.insert(coupon());
            change(coupon);
        }
    };
    let code = "/pricing/coupon/code";
    assert_eq!(wrong(NEW_PLAN, with(|_| {})), []);
    only(NEW_PLAN, Code::CouponExpired, code, with(|coupon| coupon.valid_until = Timestamp::from_micros(0)));
    only(NEW_PLAN, Code::CouponUsedUp, code, with(|coupon| coupon.uses_left = 0));
    only(NEW_PLAN, Code::CouponMinimum, code, with(|coupon| coupon.minimum = rupees(1_501)));
    let session = "/pricing/coupon/lockSessionId";
    only(NEW_PLAN, Code::CouponLocked, session, with(|coupon| coupon.locked_by = Some("lock_2".to_owned())));
    let value = "/invoice/summaryComponents/discounts/0/value";
    only(NEW_PLAN, Code::CouponDiscountTooHigh, value, with(|coupon| coupon.worth = rupees(149)));
    only(NEW_PLAN, Code::CouponUnknown, code, |request, _| {
        request["pricing"] = json!({ "coupon": { "code": "NONE" } });
    });
}

#[test]
fn nobody_takes_more_credits_than_he_has_and_no_discount_that_nobody_granted() {
    let discount = "/invoice/summaryComponents/discounts/0";
    only(RENEWAL, Code::CreditsInsufficient, &format!("{discount}/value"), |_, facts| facts.credits = rupees(999));
    only(RENEWAL, Code::DiscountNotGranted, &format!("{discount}/type"), |request, _| {
        request["invoice"]["summaryComponents"]["discounts"][0]["type"] = json!("BECAUSE");
    });
    // Two halves are no way around the limit.
    only(RENEWAL, Code::CreditsInsufficient, &format!("{discount}/value"), |request, facts| {
        let half = json!({ "type": "CREDIT", "value": 500 });
        request["invoice"]["summaryComponents"]["discounts"] = json!([half, half]);
        facts.credits = rupees(999);
    });
}

#[test]
fn all_that_is_wrong_is_told_together() {
    let found = wrong(NEW_PLAN, |request, facts| {
        facts.user = None;
        facts.plans.get_mut("plan_789").unwrap().active = false;
        books(request);
        facts.slots.get_mut("li_456").unwrap().available = false;
        request["payments"]["userPaymentIntent"] = json!("PAY_LATER");
        request["pricing"] = json!({ "coupon": { "code": "NONE" } });
        request["lineItems"]["existing"] = json!([{ "lineItemId": "li_gone" }]);
    });
    let codes: Vec<Code> = found.into_iter().map(|(code, _)| code).collect();
    assert_eq!(
        codes,
        [
            Code::UserUnknown,
            Code::LineItemUnknown,
            Code::PlanInactive,
            Code::PayLaterNotAllowed,
            Code::SlotTaken,
            Code::CouponUnknown,
        ]
    );
}

#[test]
fn codes_are_stable_and_each_is_its_own() {
    let mut names: Vec<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
    for code in Code::ALL {
        assert_eq!(serde_json::to_value(code).unwrap(), code.as_str());
    }
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), Code::ALL.len());
    assert!(names.iter().all(|name| name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_')));
    let nobody = Facts::none(Timestamp::from_micros(0), Currency::INR);
    let told = validate(&request(TIP), &nobody).unwrap_err().to_string();
    assert!(told.contains("USER_UNKNOWN at /userId"), "{told}");
}
