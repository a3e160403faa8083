//! The user.

use super::{Facts, ViolationCode as Code, Violations};
use crate::initiate::schema::InitiateCheckoutRequest;

pub(super) fn check(request: &InitiateCheckoutRequest, facts: &Facts, found: &mut Violations) {
    let Some(user) = facts.user else {
        found.add(Code::UserUnknown, "/userId", "there is no such user");
        return;
    };
    if !user.active {
        found.add(Code::UserInactive, "/userId", "the user is suspended or gone");
    }
    if user.user_type != request.user_type {
        found.add(Code::UserTypeMismatch, "/userType", "the user is registered as something else");
    }
}
