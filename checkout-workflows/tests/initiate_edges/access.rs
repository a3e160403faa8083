//! Who may do what, and which flags are on for whom.

use checkout_workflows::initiate::flags::{Audience, ConfiguredFlags, Flag, Flags};
use checkout_workflows::initiate::role::{Action, Principal, Role};
use checkout_workflows::initiate::schema::UserType;

use crate::fixture::{NEW_PLAN, request};

fn who(user_id: &str, role: Role) -> Principal {
    Principal { user_id: user_id.to_owned(), role }
}

#[test]
fn users_act_on_their_own_checkouts_and_admins_operate_all_without_buying() {
    for role in [Role::Customer, Role::Partner] {
        for action in [Action::Initiate, Action::Read, Action::Resume, Action::Cancel] {
            assert!(who("user_1", role).may(action, "user_1").is_ok(), "{role:?} {action}");
            assert!(who("user_1", role).may(action, "user_2").is_err(), "{role:?} {action}");
        }
        for action in [Action::RollBack, Action::Audit] {
            assert!(who("user_1", role).may(action, "user_1").is_err(), "{role:?} {action}");
        }
    }
    for action in Action::ALL {
        assert_eq!(who("admin", Role::Admin).may(action, "user_1").is_ok(), action != Action::Initiate, "{action}");
    }
    let refused = who("user_1", Role::Customer).may(Action::Read, "user_2").unwrap_err();
    assert_eq!(refused.to_string(), "a CUSTOMER may not read a checkout of somebody else");
}

#[test]
fn a_request_is_made_as_what_the_caller_is() {
    let mut request = request(NEW_PLAN);
    assert!(who("user_123", Role::Customer).may_initiate(&request).is_ok());
    assert!(who("user_123", Role::Partner).may_initiate(&request).is_err());
    assert!(who("user_9", Role::Customer).may_initiate(&request).is_err());
    request.user_type = UserType::Partner;
    assert!(who("user_123", Role::Partner).may_initiate(&request).is_ok());
}

#[test]
fn flags_are_on_by_default_and_resolved_by_device_city_and_user() {
    let request = request(NEW_PLAN);
    let audience = Audience::of(&request);
    let all = ConfiguredFlags::default().resolve(&audience);
    assert!(all.line_item_pii_data_encryption && all.execution_context_persistence);

    let flags: ConfiguredFlags = serde_json::from_str(
        r#"{
            "isLineItemPIIDataEncryptionEnabled": { "on": false, "rules": [
                { "users": ["user_9"], "on": false },
                { "device_os": ["Android"], "cities": ["delhi"], "on": true }
            ] }
        }"#,
    )
    .unwrap();
    let on =
        |device_os, city, user_id| flags.is_on(Flag::LineItemPiiDataEncryption, &Audience { device_os, city, user_id });
    assert!(on("android", "delhi", "user_123"));
    assert!(!on("ios", "delhi", "user_123"));
    assert!(!on("android", "mumbai", "user_123"));
    assert!(!on("android", "delhi", "user_9"), "the first rule that matches decides");
    let set = serde_json::to_value(flags.resolve(&audience)).unwrap();
    assert_eq!(set["isLineItemPIIDataEncryptionEnabled"], true);
    assert_eq!(set["isExecutionContextPersistenceEnabled"], true);
    assert!(serde_json::from_str::<ConfiguredFlags>(r#"{"isLineItemPiiEnabled":{"on":true}}"#).is_err());
    for flag in [Flag::LineItemPiiDataEncryption, Flag::ExecutionContextPersistence] {
        assert_eq!(serde_json::to_value(flag).unwrap(), flag.name());
    }
}
