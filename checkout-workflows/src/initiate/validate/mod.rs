//! What must hold of a request before anything is done for it.
//!
//! Validators are pure functions of the request and of the [`Facts`] that were looked up for it. They run
//! all, and tell all that is wrong at once.

mod amounts;
mod arrears;
mod coupon;
mod facts;
mod items;
mod names;
mod payable;
mod payments;
mod plan;
mod slots;
mod user;
mod violation;

pub use facts::{CouponFacts, Facts, LineItemFacts, PlanFacts, SlotFacts, UserFacts};
pub use payable::current_payable;
pub use violation::{Violation, ViolationCode, Violations};

use super::schema::InitiateCheckoutRequest;
use crate::money::Money;

/// The type of charges that are arrears.
pub const ARREAR_FEE: &str = "ARREAR_FEE";
/// The type of charges that are fees of slots.
pub const SURGE_SLOT_FEE: &str = "SURGE_SLOT_FEE";
/// The type of discounts that use up credits.
pub const CREDIT: &str = "CREDIT";
/// The type of discounts that a coupon gives.
pub const COUPON: &str = "COUPON";

/// Checks a request, and says how much is to be paid now.
///
/// # Errors
/// All rules that it breaks, in the order of the validators.
pub fn validate(request: &InitiateCheckoutRequest, facts: &Facts) -> Result<Money, Violations> {
    let mut found = Violations::default();
    names::check(request, &mut found);
    user::check(request, facts, &mut found);
    items::check(request, facts, &mut found);
    amounts::check(request, facts, &mut found);
    arrears::check(request, facts, &mut found);
    payments::check(request, facts, &mut found);
    plan::check(request, facts, &mut found);
    let payable = payable::check(request, facts, &mut found);
    slots::check(request, facts, &mut found);
    coupon::check(request, facts, &mut found);
    match payable {
        Some(payable) if found.is_empty() => Ok(payable),
        _ => Err(found),
    }
}
