//! The slots that are booked, and their fees.

use super::payable::{slot_fees, sum_of};
use super::{Facts, SURGE_SLOT_FEE, ViolationCode as Code, Violations};
use crate::initiate::schema::InitiateCheckoutRequest;

pub(super) fn check(request: &InitiateCheckoutRequest, facts: &Facts, found: &mut Violations) {
    let (city, category) = (&request.dimensions.city.key, &request.dimensions.category.key);
    for booked in request.line_items.slots() {
        let Some(slot) = facts.slots.get(booked.line_item_id) else {
            found.add(Code::SlotUnknown, booked.pointer, "there is no such slot");
            continue;
        };
        if slot.city != *city || slot.category != *category {
            let message = format!("the slot is for {} in {}", slot.category, slot.city);
            found.add(Code::SlotNotOffered, &booked.pointer, message);
        }
        if slot.begins <= facts.now {
            found.add(Code::SlotPast, booked.pointer, "the slot is over");
        } else if !slot.available {
            found.add(Code::SlotTaken, booked.pointer, "the slot is taken");
        }
    }
    fees(request, facts, found);
}

/// Who was shown a fee is shown the right one.
fn fees(request: &InitiateCheckoutRequest, facts: &Facts, found: &mut Violations) {
    let shown = request.charges().iter().position(|charge| charge.kind == SURGE_SLOT_FEE);
    let (Some(nth), Ok(due)) = (shown, slot_fees(request, facts)) else { return };
    if sum_of(request.charges(), SURGE_SLOT_FEE, facts).is_ok_and(|sum| sum != due) {
        let pointer = format!("/invoice/summaryComponents/charges/{nth}/value");
        found.add(Code::SlotFeeMismatch, pointer, format!("the slots of this request cost {due} more"));
    }
}
