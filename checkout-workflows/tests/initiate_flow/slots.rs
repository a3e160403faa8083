//! Slots: looked up in the catalogue, priced, and kept with the line item.

use checkout_workflows::initiate::schema::ExecutionContextStatus as Status;
use checkout_workflows::initiate::service::InitiateError;
use checkout_workflows::initiate::validate::ViolationCode as Code;
use checkout_workflows::initiate::vendor::Behaviour;
use serde_json::{Value, json};

use crate::world::{NEW_PLAN, TIP, World, call, initiate, rupees, status_at_the_end};

/// The first example, at this time.
fn at(slot: &'static str) -> impl FnOnce(&mut Value) {
    move |request| {
        request["lineItems"]["created"][0]["initialPostSellingPreferences"]["slot"] = json!({ "slotId": slot });
    }
}

/// The second example, without its tip: the line item's time is changed.
fn moved_to(slot: &'static str) -> impl FnOnce(&mut Value) {
    move |request| {
        request["dimensions"]["city"]["key"] = "delhi".into();
        let item = json!({ "lineItemId": "li_456", "preferences": { "slot": { "slotId": slot } } });
        request["lineItems"]["updated"] = json!([item]);
    }
}

#[tokio::test]
async fn a_booked_slot_is_stored_with_its_line_item_and_its_fee_is_collected() {
    let world = World::new().await;
    world.vendor.behave(Behaviour::Succeed);
    let service = world.open().await;
    initiate(&service, call(NEW_PLAN, "ctx_1", at("slot_evening"))).await.unwrap();
    assert_eq!(status_at_the_end(&service, "ctx_1").await, Status::Completed);
    let requirements = world.stores.requirements.of_context("ctx_1").await.unwrap();
    assert_eq!(requirements[0].amount, rupees(1_599));
    let item = world.stores.line_items.get("li_456").await.unwrap().unwrap();
    assert_eq!(item.slot_id.as_deref(), Some("slot_evening"));
    assert_eq!((item.amounts.base(), item.amounts.surge()), (rupees(1_500), rupees(99)));
    world.audit("ctx_1").await;

    // A dearer slot costs what it is more; a cheaper one costs nothing, and gives nothing back.
    initiate(&service, call(TIP, "ctx_2", moved_to("slot_night"))).await.unwrap();
    assert_eq!(status_at_the_end(&service, "ctx_2").await, Status::Completed);
    let requirements = world.stores.requirements.of_context("ctx_2").await.unwrap();
    assert_eq!(requirements[0].amount, rupees(50));
    let item = world.stores.line_items.get("li_456").await.unwrap().unwrap();
    assert_eq!((item.slot_id.as_deref(), item.amounts.surge()), (Some("slot_night"), rupees(149)));
    initiate(&service, call(TIP, "ctx_3", moved_to("slot_noon"))).await.unwrap();
    assert_eq!(status_at_the_end(&service, "ctx_3").await, Status::Completed);
    assert!(world.stores.requirements.of_context("ctx_3").await.unwrap().is_empty());
    let item = world.stores.line_items.get("li_456").await.unwrap().unwrap();
    assert_eq!((item.slot_id.as_deref(), item.amounts.surge()), (Some("slot_noon"), rupees(149)));
}

#[tokio::test]
async fn a_slot_that_cannot_be_had_is_refused_before_anything_is_written() {
    let world = World::new().await;
    let service = world.open().await;
    let second = |request: &mut Value| {
        let mut other = request["lineItems"]["created"][0].clone();
        other["lineItemId"] = "li_457".into();
        request["lineItems"]["created"].as_array_mut().unwrap().push(other);
    };
    let both_at_night = |request: &mut Value| {
        at("slot_night")(request);
        second(request);
    };
    let elsewhere = |request: &mut Value| {
        at("slot_evening")(request);
        request["dimensions"]["city"]["key"] = "mumbai".into();
    };
    for (call, code) in [
        (call(NEW_PLAN, "ctx_1", at("slot_full")), Code::SlotTaken),
        (call(NEW_PLAN, "ctx_1", at("slot_past")), Code::SlotPast),
        (call(NEW_PLAN, "ctx_1", at("slot_nowhere")), Code::SlotUnknown),
        (call(NEW_PLAN, "ctx_1", elsewhere), Code::SlotNotOffered),
        (call(NEW_PLAN, "ctx_1", both_at_night), Code::SlotTaken),
    ] {
        let refused = initiate(&service, call).await.unwrap_err();
        let InitiateError::Invalid(violations) = refused else { unreachable!("{refused:?}") };
        let [violation] = violations.as_slice() else { unreachable!("{violations}") };
        assert_eq!(violation.code, code);
    }
    assert!(service.engine().find(service.definition(), "ctx_1").await.unwrap().is_none(), "no saga");
    assert!(world.stores.execution_contexts.get("ctx_1").await.unwrap().is_none(), "no context");
    assert!(world.stores.line_items.get("li_456").await.unwrap().is_none(), "no line item");
}

#[tokio::test]
async fn a_checkout_that_turns_back_leaves_the_line_item_its_slot() {
    let world = World::new().await;
    world.vendor.behave(Behaviour::Succeed);
    let service = world.open().await;
    initiate(&service, call(NEW_PLAN, "ctx_1", at("slot_evening"))).await.unwrap();
    assert_eq!(status_at_the_end(&service, "ctx_1").await, Status::Completed);
    let before = world.stores.line_items.get("li_456").await.unwrap().unwrap();
    world.vendor.outage(checkout_workflows::initiate::vendor::Operation::Create, 3);
    let failed = initiate(&service, call(TIP, "ctx_2", moved_to("slot_night"))).await.unwrap_err();
    assert!(matches!(failed, InitiateError::RolledBack { .. }), "{failed:?}");
    assert_eq!(status_at_the_end(&service, "ctx_2").await, Status::RolledBack);
    let after = world.stores.line_items.get("li_456").await.unwrap().unwrap();
    assert_eq!((after.slot_id, after.amounts, after.state), (before.slot_id, before.amounts, before.state));
}
