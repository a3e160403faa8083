//! The plans that are bought, and whether they can be paid as the user wants.

use super::{Facts, ViolationCode as Code, Violations};
use crate::initiate::schema::{InitiateCheckoutRequest, PaymentIntent};

pub(super) fn check(request: &InitiateCheckoutRequest, facts: &Facts, found: &mut Violations) {
    let (city, category) = (&request.dimensions.city.key, &request.dimensions.category.key);
    for (nth, item) in request.line_items.created.iter().enumerate() {
        let pointer = format!("/lineItems/created/{nth}/plan/planId");
        let Some(plan) = facts.plans.get(&item.plan.plan_id) else {
            found.add(Code::PlanUnknown, pointer, "there is no such plan");
            continue;
        };
        if !plan.active {
            found.add(Code::PlanInactive, &pointer, "the plan is not sold any more");
        }
        if !plan.cities.is_empty() && !plan.cities.contains(city) {
            found.add(Code::PlanNotInCity, &pointer, format!("the plan is not sold in {city}"));
        }
        if plan.category != *category {
            found.add(Code::PlanOfOtherCategory, &pointer, format!("the plan is of category {}", plan.category));
        }
        if request.payments.user_payment_intent == PaymentIntent::PayLater && !plan.pay_later {
            let message = format!("the plan {} is paid at once", item.plan.plan_id);
            found.add(Code::PayLaterNotAllowed, "/payments/userPaymentIntent", message);
        }
    }
}
