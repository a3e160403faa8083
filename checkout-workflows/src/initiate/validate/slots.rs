//! The slots that are booked.

use super::{Facts, SlotFacts, ViolationCode as Code, Violations};
use crate::initiate::schema::InitiateCheckoutRequest;

pub(super) fn check(request: &InitiateCheckoutRequest, facts: &Facts, found: &mut Violations) {
    let items = &request.line_items;
    for (nth, item) in items.created.iter().enumerate() {
        slot(facts, &item.line_item_id, &format!("/lineItems/created/{nth}"), found);
    }
    for (nth, item) in items.updated.iter().enumerate() {
        // A tip after the booking does not book again.
        if item.preferences.location.is_some() || item.preferences.tip.is_none() {
            slot(facts, &item.line_item_id, &format!("/lineItems/updated/{nth}"), found);
        }
    }
    for (nth, item) in items.existing.iter().enumerate() {
        slot(facts, &item.line_item_id, &format!("/lineItems/existing/{nth}"), found);
    }
}

fn slot(facts: &Facts, line_item_id: &str, pointer: &str, found: &mut Violations) {
    match facts.slots.get(line_item_id) {
        Some(SlotFacts { begins, .. }) if *begins <= facts.now => {
            found.add(Code::SlotPast, pointer, "the slot is over");
        }
        Some(SlotFacts { available: false, .. }) => found.add(Code::SlotTaken, pointer, "the slot is taken"),
        Some(SlotFacts { available: true, .. }) | None => {}
    }
}
