//! The documented examples, and facts that suit them.

use checkout_workflows::Money;
use checkout_workflows::initiate::schema::{InitiateCheckoutRequest, UserType};
use checkout_workflows::initiate::validate::{Facts, LineItemFacts, PlanFacts, SlotFacts, UserFacts};
use checkout_workflows::money::Currency;
use saga_core::Timestamp;

pub(crate) const NEW_PLAN: &str = include_str!("../fixtures/initiate/new_plan_purchase.request.json");
pub(crate) const NEW_PLAN_RESPONSE: &str = include_str!("../fixtures/initiate/new_plan_purchase.response.json");
pub(crate) const TIP: &str = include_str!("../fixtures/initiate/tip_update.request.json");
pub(crate) const RENEWAL: &str = include_str!("../fixtures/initiate/renewal_payable_zero.request.json");

pub(crate) fn request(text: &str) -> InitiateCheckoutRequest {
    serde_json::from_str(text).unwrap()
}

pub(crate) fn rupees(amount: i64) -> Money {
    Money::new(amount * 100, Currency::INR)
}

/// Facts with which each documented example is fine.
pub(crate) fn facts() -> Facts {
    let now = Timestamp::from_micros(1_700_000_000_000_000);
    let item = |due| LineItemFacts { user_id: "user_123".to_owned(), cancelled: false, due: rupees(due) };
    let plan = PlanFacts {
        active: true,
        cities: vec!["delhi".to_owned()],
        category: "cleaning".to_owned(),
        price: rupees(1_500),
        pay_later: false,
    };
    let slot = SlotFacts {
        available: true,
        begins: now.after(std::time::Duration::from_secs(3_600)),
        city: "delhi".to_owned(),
        category: "cleaning".to_owned(),
        fee: rupees(99),
    };
    Facts {
        user: Some(UserFacts { active: true, user_type: UserType::Customer }),
        line_items: [("li_existing_123".to_owned(), item(0)), ("li_renewal_789".to_owned(), item(1_000))].into(),
        plans: [("plan_789".to_owned(), plan)].into(),
        slots: [("li_456".to_owned(), slot)].into(),
        credits: rupees(1_000),
        ..Facts::none(now, Currency::INR)
    }
}
