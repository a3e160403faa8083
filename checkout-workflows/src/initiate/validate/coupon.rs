//! The coupon, credits, and any other discount.

use std::collections::BTreeSet;

use super::payable::{before_discounts, sum_of};
use super::{COUPON, CREDIT, Facts, ViolationCode as Code, Violations};
use crate::initiate::schema::InitiateCheckoutRequest;
use crate::money::Money;

pub(super) fn check(request: &InitiateCheckoutRequest, facts: &Facts, found: &mut Violations) {
    coupon(request, facts, found);
    discounts(request, facts, found);
}

fn coupon(request: &InitiateCheckoutRequest, facts: &Facts, found: &mut Violations) {
    let Some(asked) = request.coupon() else { return };
    let pointer = "/pricing/coupon/code";
    let Some(coupon) = &facts.coupon else {
        found.add(Code::CouponUnknown, pointer, "there is no such coupon");
        return;
    };
    if coupon.valid_until <= facts.now {
        found.add(Code::CouponExpired, pointer, "the coupon has expired");
    }
    if coupon.uses_left == 0 {
        found.add(Code::CouponUsedUp, pointer, "the coupon was used up");
    }
    if coupon.locked_by.is_some() && coupon.locked_by != asked.lock_session_id {
        found.add(Code::CouponLocked, "/pricing/coupon/lockSessionId", "another session keeps the coupon");
    }
    if before_discounts(request, facts).is_ok_and(|sum| sum.minor() < coupon.minimum.minor()) {
        found.add(Code::CouponMinimum, pointer, format!("the coupon asks for at least {}", coupon.minimum));
    }
}

/// A client cannot grant itself a discount: each type has somebody who grants it, and a limit.
fn discounts(request: &InitiateCheckoutRequest, facts: &Facts, found: &mut Violations) {
    let mut told = BTreeSet::new();
    for (nth, discount) in request.discounts().iter().enumerate() {
        let kind = discount.kind.as_str();
        if !told.insert(kind) {
            continue;
        }
        let (code, limit) = match kind {
            CREDIT => (Code::CreditsInsufficient, Some(facts.credits)),
            COUPON => (Code::CouponDiscountTooHigh, Some(coupon_worth(request, facts))),
            other => (Code::DiscountNotGranted, facts.granted_discounts.get(other).copied()),
        };
        let pointer = format!("/invoice/summaryComponents/discounts/{nth}");
        let sum = sum_of(request.discounts(), kind, facts);
        match limit {
            None => found.add(code, format!("{pointer}/type"), "nobody granted such a discount"),
            Some(limit) if sum.is_ok_and(|sum| sum.minor() > limit.minor()) => {
                found.add(code, format!("{pointer}/value"), format!("it is at most {limit}"));
            }
            Some(_) => {}
        }
    }
}

fn coupon_worth(request: &InitiateCheckoutRequest, facts: &Facts) -> Money {
    let coupon = request.coupon().and(facts.coupon.as_ref());
    coupon.map_or(Money::zero(facts.currency), |coupon| coupon.worth)
}
