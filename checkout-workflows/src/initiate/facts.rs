//! What the stores know of a request, looked up before it is validated.

use std::collections::BTreeMap;

use saga_core::Timestamp;

use super::schema::{BookedSlot, InitiateCheckoutRequest};
use super::store::{Discount, LineItemState, StoreError, Stores};
use super::validate::{CouponFacts, Facts, LineItemFacts, PlanFacts, SlotFacts, UserFacts};
use crate::money::{Currency, Money};

/// Looks up all that the validators ask for.
///
/// # Errors
/// When the database cannot be read.
pub async fn look_up(
    stores: &Stores,
    request: &InitiateCheckoutRequest,
    currency: Currency,
    now: Timestamp,
) -> Result<Facts, StoreError> {
    let mut facts = Facts::none(now, currency);
    // Accounts are another service's: a token that names the user is proof enough here.
    facts.user = Some(UserFacts { active: true, user_type: request.user_type });
    facts.cash_allowed = true;
    for id in request.line_items.updated.iter().map(|item| &item.line_item_id) {
        let known = line_item(stores, id, currency).await?;
        // What was paid stays paid: a change costs what it adds.
        facts.line_items.extend(known.map(|item| (id.clone(), LineItemFacts { due: Money::zero(currency), ..item })));
    }
    for id in request.line_items.existing.iter().map(|item| &item.line_item_id) {
        facts.line_items.extend(line_item(stores, id, currency).await?.map(|item| (id.clone(), item)));
    }
    for item in &request.line_items.created {
        if let Some(plan) = stores.catalogue.plan(&item.plan.plan_id).await? {
            let known = PlanFacts {
                active: true,
                cities: Vec::new(),
                category: plan.category,
                price: plan.price,
                pay_later: true,
            };
            facts.plans.insert(item.plan.plan_id.clone(), known);
        }
    }
    facts.slots = slots(stores, request, currency).await?;
    facts.coupon = coupon(stores, request, &facts.plans, currency).await?;
    facts.credits = stores.catalogue.credits(&request.user_id, currency).await?;
    for arrear in stores.arrears.open_of_user(&request.user_id).await? {
        if arrear.amount.currency() == currency {
            facts.arrears = facts.arrears.plus(arrear.amount)?;
        }
    }
    Ok(facts)
}

async fn line_item(stores: &Stores, id: &str, currency: Currency) -> Result<Option<LineItemFacts>, StoreError> {
    let known = stores.line_items.get(id).await?;
    Ok(known.filter(|item| item.amounts.payable().currency() == currency).map(|item| LineItemFacts {
        user_id: item.user_id,
        cancelled: item.state == LineItemState::Cancelled,
        due: item.amounts.payable(),
    }))
}

/// The slots that the request books, by line item.
async fn slots(
    stores: &Stores,
    request: &InitiateCheckoutRequest,
    currency: Currency,
) -> Result<BTreeMap<String, SlotFacts>, StoreError> {
    let (mut slots, mut booked) = (BTreeMap::new(), BTreeMap::<&str, i64>::new());
    for BookedSlot { line_item_id, slot_id, .. } in request.line_items.slots() {
        let Some(slot) = stores.catalogue.slot(slot_id).await? else { continue };
        if slot.surge_fee.currency() != currency {
            continue;
        }
        // A new line item has no slot before; who has the slot already takes no other place in it.
        let updates = request.line_items.updated.iter().any(|item| item.line_item_id == line_item_id);
        let before =
            if updates { stores.line_items.get(line_item_id).await?.and_then(|item| item.slot_id) } else { None };
        let has_it = before.as_deref() == Some(slot_id);
        let others = booked.entry(slot_id).or_default();
        let available = has_it || *others < slot.available;
        *others += i64::from(!has_it);
        let known = SlotFacts {
            available,
            begins: Timestamp::from_micros(slot.starts_at.timestamp_micros()),
            city: slot.city,
            category: slot.category,
            fee: added_fee(stores, slot.surge_fee, before.as_deref()).await?,
        };
        slots.insert(line_item_id.to_owned(), known);
    }
    Ok(slots)
}

/// What was paid stays paid: another slot costs what its fee is more.
async fn added_fee(stores: &Stores, fee: Money, before: Option<&str>) -> Result<Money, StoreError> {
    let Some(before) = before else { return Ok(fee) };
    let Some(before) = stores.catalogue.slot(before).await? else { return Ok(fee) };
    if before.surge_fee.currency() != fee.currency() {
        return Ok(fee);
    }
    let more = fee.minus(before.surge_fee)?;
    Ok(if more.minor() < 0 { Money::zero(fee.currency()) } else { more })
}

async fn coupon(
    stores: &Stores,
    request: &InitiateCheckoutRequest,
    plans: &BTreeMap<String, PlanFacts>,
    currency: Currency,
) -> Result<Option<CouponFacts>, StoreError> {
    let Some(wanted) = request.coupon() else { return Ok(None) };
    let Some(coupon) = stores.catalogue.coupon(&wanted.code).await? else { return Ok(None) };
    if coupon.currency != currency {
        return Ok(None);
    }
    let bought = plans.values().try_fold(Money::zero(currency), |sum, plan| sum.plus(plan.price))?;
    let worth = match coupon.discount {
        Discount::Amount(amount) => amount,
        Discount::BasisPoints(points) => bought.basis_points(points)?,
    };
    Ok(Some(CouponFacts {
        valid_until: Timestamp::from_micros(coupon.valid_until.timestamp_micros()),
        uses_left: 1,
        locked_by: wanted.lock_session_id.clone(),
        minimum: Money::zero(currency),
        worth,
    }))
}
