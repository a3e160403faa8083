//! The line items.

use std::collections::BTreeSet;

use super::{Facts, LineItemFacts, ViolationCode as Code, Violations};
use crate::initiate::schema::InitiateCheckoutRequest;

pub(super) fn check(request: &InitiateCheckoutRequest, facts: &Facts, found: &mut Violations) {
    let items = &request.line_items;
    if items.is_empty() {
        found.add(Code::LineItemsMissing, "/lineItems", "nothing is created, updated or kept");
    }
    let mut seen = BTreeSet::new();
    let mut id = |id: &str, pointer: &str, found: &mut Violations| {
        if id.trim().is_empty() {
            found.add(Code::LineItemIdMissing, format!("{pointer}/lineItemId"), "a line item needs an id");
        } else if !seen.insert(id.to_owned()) {
            found.add(Code::LineItemRepeated, format!("{pointer}/lineItemId"), format!("{id} is named twice"));
        }
    };
    for (nth, item) in items.created.iter().enumerate() {
        let pointer = format!("/lineItems/created/{nth}");
        id(&item.line_item_id, &pointer, found);
        // One that this user's earlier try has made is not new, and is taken up again.
        if let Some(known) = facts.line_items.get(&item.line_item_id) {
            if known.user_id != request.user_id {
                found.add(Code::LineItemTaken, format!("{pointer}/lineItemId"), "the id is taken");
            } else if known.cancelled {
                found.add(Code::LineItemCancelled, pointer, "the line item was cancelled");
            }
        }
    }
    for (nth, item) in items.updated.iter().enumerate() {
        let pointer = format!("/lineItems/updated/{nth}");
        id(&item.line_item_id, &pointer, found);
        existing(request, facts.line_items.get(&item.line_item_id), &pointer, found);
        let wishes = &item.preferences;
        if wishes.location.is_none() && wishes.tip.is_none() && wishes.slot.is_none() {
            found.add(Code::LineItemUnchanged, format!("{pointer}/preferences"), "the update changes nothing");
        }
    }
    for (nth, item) in items.existing.iter().enumerate() {
        let pointer = format!("/lineItems/existing/{nth}");
        id(&item.line_item_id, &pointer, found);
        existing(request, facts.line_items.get(&item.line_item_id), &pointer, found);
    }
}

fn existing(request: &InitiateCheckoutRequest, known: Option<&LineItemFacts>, pointer: &str, found: &mut Violations) {
    match known {
        None => found.add(Code::LineItemUnknown, format!("{pointer}/lineItemId"), "there is no such line item"),
        Some(item) if item.user_id != request.user_id => {
            found.add(Code::LineItemForeign, format!("{pointer}/lineItemId"), "the line item is somebody else's");
        }
        Some(item) if item.cancelled => {
            found.add(Code::LineItemCancelled, pointer, "the line item was cancelled");
        }
        Some(_) => {}
    }
}
