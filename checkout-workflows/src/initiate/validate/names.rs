//! Names that the client chooses, and that go into keys, locks and the headers of events.

use super::{ViolationCode as Code, Violations};
use crate::initiate::schema::InitiateCheckoutRequest;

/// Ids are a third of that; a lock's key is a name with a word in front, and has room for 255 bytes.
const NAME_BYTES_MAX: usize = 128;

pub(super) fn check(request: &InitiateCheckoutRequest, found: &mut Violations) {
    if let Some(id) = &request.execution_context_id {
        // It is part of an address as well.
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':');
        name(id, "/executionContextId", found);
        if !id.bytes().all(plain) {
            let message = "letters, digits, '-', '_', '.' and ':' make an id";
            found.add(Code::NameUnusable, "/executionContextId", message);
        }
    }
    name(&request.dimensions.city.key, "/dimensions/city/key", found);
    for (nth, item) in request.line_items.created.iter().enumerate() {
        line_item(&item.line_item_id, &format!("/lineItems/created/{nth}"), found);
    }
    for (nth, item) in request.line_items.updated.iter().enumerate() {
        line_item(&item.line_item_id, &format!("/lineItems/updated/{nth}"), found);
    }
    for (nth, item) in request.line_items.existing.iter().enumerate() {
        line_item(&item.line_item_id, &format!("/lineItems/existing/{nth}"), found);
    }
}

/// Another rule speaks of those that are missing.
fn line_item(id: &str, pointer: &str, found: &mut Violations) {
    if !id.trim().is_empty() {
        name(id, &format!("{pointer}/lineItemId"), found);
    }
}

fn name(name: &str, pointer: &str, found: &mut Violations) {
    if name.trim().is_empty() || name.len() > NAME_BYTES_MAX || name.chars().any(char::is_control) {
        let message = format!("a name has 1 to {NAME_BYTES_MAX} bytes, and no control characters");
        found.add(Code::NameUnusable, pointer, message);
    }
}
