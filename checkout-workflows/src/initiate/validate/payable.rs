//! What is to be paid now.

use super::{ARREAR_FEE, Facts, SURGE_SLOT_FEE, ViolationCode as Code, Violations};
use crate::initiate::schema::{DecimalError, InitiateCheckoutRequest, SummaryComponent};
use crate::money::{Money, MoneyError};

/// What is to be paid now: prices of new line items, the fees of their slots, tips, what is due for kept ones,
/// charges and attached arrears, less the discounts. Negative when the discounts are more than that.
///
/// # Errors
/// When a number is no amount, or the sum does not fit.
pub fn current_payable(request: &InitiateCheckoutRequest, facts: &Facts) -> Result<Money, DecimalError> {
    let mut payable = before_discounts(request, facts)?;
    for discount in request.discounts() {
        payable = payable.minus(discount.value.to_money(facts.currency)?)?;
    }
    Ok(payable)
}

/// What there is to pay before discounts. Line items and plans that do not exist cost nothing here: another
/// rule speaks of them.
pub(super) fn before_discounts(request: &InitiateCheckoutRequest, facts: &Facts) -> Result<Money, DecimalError> {
    let mut sum = Money::zero(facts.currency);
    for item in &request.line_items.created {
        if let Some(plan) = facts.plans.get(&item.plan.plan_id) {
            sum = sum.plus(plan.price)?;
        }
    }
    for item in &request.line_items.updated {
        if let Some(tip) = &item.preferences.tip {
            sum = sum.plus(tip.amount.to_money(facts.currency)?)?;
        }
    }
    for item in &request.line_items.existing {
        if let Some(known) = facts.line_items.get(&item.line_item_id) {
            sum = sum.plus(known.due)?;
        }
    }
    // Of fees and arrears: what the books say, and not what the client was shown.
    let told = |kind: &str| kind == ARREAR_FEE || kind == SURGE_SLOT_FEE;
    for charge in request.charges().iter().filter(|charge| !told(&charge.kind)) {
        sum = sum.plus(charge.value.to_money(facts.currency)?)?;
    }
    sum = sum.plus(slot_fees(request, facts)?)?;
    if request.attaches_arrears() {
        sum = sum.plus(facts.arrears)?;
    }
    Ok(sum)
}

/// What the slots of the request add. Those that do not exist cost nothing here: another rule speaks of them.
pub(super) fn slot_fees(request: &InitiateCheckoutRequest, facts: &Facts) -> Result<Money, MoneyError> {
    let booked = request.line_items.slots().filter_map(|booked| facts.slots.get(booked.line_item_id));
    booked.into_iter().try_fold(Money::zero(facts.currency), |sum, slot| sum.plus(slot.fee))
}

/// The sum of the components of one type.
pub(super) fn sum_of(components: &[SummaryComponent], kind: &str, facts: &Facts) -> Result<Money, DecimalError> {
    let mut sum = Money::zero(facts.currency);
    for component in components.iter().filter(|component| component.kind == kind) {
        sum = sum.plus(component.value.to_money(facts.currency)?)?;
    }
    Ok(sum)
}

pub(super) fn check(request: &InitiateCheckoutRequest, facts: &Facts, found: &mut Violations) -> Option<Money> {
    match current_payable(request, facts) {
        // Not the discounts' doing, and told already.
        Ok(payable) if payable.minor() < 0 && found.has(Code::AmountNegative) => None,
        Ok(payable) if payable.minor() < 0 => {
            let pointer = "/invoice/summaryComponents/discounts";
            found.add(Code::PayableNegative, pointer, "the discounts are more than there is to pay");
            None
        }
        Ok(payable) => Some(payable),
        // Numbers that are no amounts have been told one by one.
        Err(DecimalError::Exponent { .. } | DecimalError::Money(MoneyError::Text { .. })) => None,
        Err(DecimalError::Money(error)) => {
            found.add(Code::PayableOutOfRange, "/invoice", error.to_string());
            None
        }
    }
}
