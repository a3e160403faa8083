//! Every number of the request that is money.

use super::{Facts, ViolationCode as Code, Violations};
use crate::initiate::schema::{Decimal, InitiateCheckoutRequest};
use crate::money::Money;

pub(super) fn check(request: &InitiateCheckoutRequest, facts: &Facts, found: &mut Violations) {
    for (nth, charge) in request.charges().iter().enumerate() {
        amount(&charge.value, &format!("/invoice/summaryComponents/charges/{nth}/value"), facts, found);
    }
    for (nth, discount) in request.discounts().iter().enumerate() {
        amount(&discount.value, &format!("/invoice/summaryComponents/discounts/{nth}/value"), facts, found);
    }
    for (nth, item) in request.line_items.updated.iter().enumerate() {
        let Some(tip) = &item.preferences.tip else { continue };
        let pointer = format!("/lineItems/updated/{nth}/preferences/tip/amount");
        if amount(&tip.amount, &pointer, facts, found).is_some_and(|tip| tip.minor() == 0) {
            found.add(Code::TipZero, pointer, "a tip is more than nothing");
        }
    }
}

fn amount(value: &Decimal, pointer: &str, facts: &Facts, found: &mut Violations) -> Option<Money> {
    match value.to_money(facts.currency) {
        Ok(money) if money.minor() < 0 => {
            found.add(Code::AmountNegative, pointer, "an amount is never negative");
            None
        }
        Ok(money) => Some(money),
        Err(error) => {
            found.add(Code::AmountInexact, pointer, error.to_string());
            None
        }
    }
}
