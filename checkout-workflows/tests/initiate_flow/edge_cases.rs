//! The eight critical edge cases of the document, each under its name.

use std::time::Duration;

use checkout_workflows::initiate::classify::ErrorCode;
use checkout_workflows::initiate::schema::{ExecutionContextStatus as Status, StepContextStatus};
use checkout_workflows::initiate::service::InitiateError;
use checkout_workflows::initiate::vendor::{Behaviour, DeclineCode, EntryKind, Operation};
use saga_core::engine::Signalled;
use serde_json::json;

use crate::world::{
    NEW_PLAN, TIP, World, as_it_is, call, customer, headers, initiate, rupees, saga, status_at_the_end, until,
};

fn without_mandate(request: &mut serde_json::Value) {
    request["paymentPreferences"]["selectedOnlinePaymentInfo"].as_object_mut().unwrap().remove("mandateInfo");
}

#[tokio::test]
async fn no_mandate_present_sets_one_up_with_the_payment() {
    let world = World::new().await;
    let service = world.open().await;
    let response = initiate(&service, call(NEW_PLAN, "ctx_1", without_mandate)).await.unwrap();
    let answered = serde_json::to_value(&response).unwrap();
    let params = &answered["paymentDetails"]["vendorTransactionInfo"]["processPaymentViaSDKParams"];
    assert_eq!(params["isMandateSetupOrder"], true);
    world.pay(&service, "ctx_1").await;
    assert_eq!(status_at_the_end(&service, "ctx_1").await, Status::Completed);
    let set_up = world.vendor.ledger().iter().filter(|entry| entry.kind == EntryKind::MandateSetUp).count();
    assert_eq!(set_up, 1);
    world.audit("ctx_1").await;
}

#[tokio::test]
async fn cod_path_collects_nothing_online() {
    let world = World::new().await;
    let service = world.open().await;
    let cash = |request: &mut serde_json::Value| request["paymentPreferences"] = json!({ "isCashPayment": true });
    let response = initiate(&service, call(NEW_PLAN, "ctx_1", cash)).await.unwrap();
    assert_eq!(response.payment_details, None);
    assert_eq!(status_at_the_end(&service, "ctx_1").await, Status::Completed);
    assert!(world.vendor.ledger().is_empty());
    let context = service.execution_context(&customer(), "ctx_1").await.unwrap();
    let skipped = context.contexts.iter().filter(|step| step.status == StepContextStatus::Skipped);
    let skipped: Vec<&str> = skipped.map(|step| step.step.as_str()).collect();
    assert_eq!(skipped, ["5-create-payment-request", "9-payment", "schedule-settlement"]);
    let group = world.stores.payment_groups.of_context("ctx_1").await.unwrap().remove(0);
    assert_eq!(group.state.as_str(), "ACTIVE", "cash is collected at the door");
}

#[tokio::test]
async fn partial_failures_undo_what_was_done_before_the_payment_failed() {
    let world = World::new().await;
    world.vendor.outage(Operation::Create, 3);
    let service = world.open().await;
    let failed = initiate(&service, call(NEW_PLAN, "ctx_1", as_it_is)).await.unwrap_err();
    assert!(matches!(failed, InitiateError::RolledBack { .. }), "{failed:?}");
    assert_eq!(status_at_the_end(&service, "ctx_1").await, Status::RolledBack);
    let stores = &world.stores;
    assert_eq!(stores.line_items.get("li_456").await.unwrap().unwrap().state.as_str(), "CANCELLED");
    assert!(stores.checkout_orders.of_context("ctx_1").await.unwrap().is_none(), "no order stands");
    assert_eq!(stores.payment_groups.of_context("ctx_1").await.unwrap()[0].state.as_str(), "FAILED");
    assert!(world.publisher.published().is_empty());
    world.audit("ctx_1").await;
    assert!(service.engine().operator().locks(10).await.unwrap().is_empty());
}

#[tokio::test]
async fn duplicate_submissions_are_one_checkout_with_one_answer() {
    let world = World::new().await;
    let service = world.open().await;
    let both = tokio::join!(
        initiate(&service, call(NEW_PLAN, "ctx_1", as_it_is)),
        initiate(&service, call(NEW_PLAN, "ctx_1", as_it_is))
    );
    let first = both.0.unwrap();
    assert_eq!(both.1.unwrap(), first);
    assert_eq!(initiate(&service, call(NEW_PLAN, "ctx_1", as_it_is)).await.unwrap(), first);
    world.pay(&service, "ctx_1").await;
    assert_eq!(status_at_the_end(&service, "ctx_1").await, Status::Completed);
    assert_eq!(initiate(&service, call(NEW_PLAN, "ctx_1", as_it_is)).await.unwrap(), first);
    assert_eq!(world.vendor.calls(&world.reference("ctx_1").await), 1);
    world.audit("ctx_1").await;
}

#[tokio::test]
async fn payment_confirmed_late_is_paid_back() {
    let mut world = World::new().await;
    world.services.payment_wait = Duration::from_millis(100);
    let service = world.open().await;
    // Paid just in time, and nobody told us: closing it finds the money, and the checkout is completed.
    initiate(&service, call(NEW_PLAN, "ctx_1", as_it_is)).await.unwrap();
    world.vendor.pay(&world.reference("ctx_1").await).unwrap();
    assert_eq!(status_at_the_end(&service, "ctx_1").await, Status::Completed);
    // The webhook comes when all is over: known, and no harm.
    let [Signalled::Late { .. }] = world.post_webhooks(&service).await[..] else { unreachable!("it is late") };
    // Another customer does not pay in time.
    let other = |request: &mut serde_json::Value| request["lineItems"]["created"][0]["lineItemId"] = json!("li_2");
    initiate(&service, call(NEW_PLAN, "ctx_2", other)).await.unwrap();
    assert_eq!(status_at_the_end(&service, "ctx_2").await, Status::RolledBack);
    world.vendor.pay(&world.reference("ctx_2").await).unwrap_err();
    world.audit("ctx_1").await;
    world.audit("ctx_2").await;
}

#[tokio::test]
async fn line_item_cancel_after_pricing_turns_the_checkout_back_and_the_money_with_it() {
    let world = World::new().await;
    let service = world.open().await;
    initiate(&service, call(NEW_PLAN, "ctx_1", as_it_is)).await.unwrap();
    world.stores.line_items.cancel("support", vec!["li_456".to_owned()]).await.unwrap();
    world.pay(&service, "ctx_1").await;
    assert_eq!(status_at_the_end(&service, "ctx_1").await, Status::RolledBack);
    world.audit("ctx_1").await;
    let refunded: Vec<_> =
        world.vendor.ledger().into_iter().filter(|entry| entry.kind == EntryKind::Refunded).collect();
    assert_eq!(refunded.len(), 1);
    assert_eq!(refunded[0].amount, Some(rupees(1_500)));
}

#[tokio::test]
async fn tranche_settlement_is_scheduled_for_what_is_paid_later() {
    let world = World::new().await;
    let service = world.open().await;
    let later = |request: &mut serde_json::Value| request["payments"]["userPaymentIntent"] = json!("PAY_LATER");
    let response = initiate(&service, call(NEW_PLAN, "ctx_1", later)).await.unwrap();
    assert_eq!(status_at_the_end(&service, "ctx_1").await, Status::Completed);
    assert!(world.vendor.ledger().is_empty());
    let settlements = world.stores.settlements.of_order(&response.checkout_order_id).await.unwrap();
    assert_eq!(settlements.len(), 1);
    assert_eq!(settlements[0].amount, rupees(1_500));
}

#[tokio::test]
async fn post_booking_tip_is_a_checkout_of_its_own_and_one_that_fails_leaves_the_booking() {
    let world = World::new().await;
    let service = world.open().await;
    initiate(&service, call(NEW_PLAN, "ctx_1", as_it_is)).await.unwrap();
    world.pay(&service, "ctx_1").await;
    assert_eq!(status_at_the_end(&service, "ctx_1").await, Status::Completed);
    let tip = |request: &mut serde_json::Value| request["lineItems"]["updated"][0]["lineItemId"] = json!("li_456");
    initiate(&service, call(TIP, "ctx_2", tip)).await.unwrap();
    world.vendor.fail(&world.reference("ctx_2").await, DeclineCode::InsufficientFunds).unwrap();
    world.post_webhooks(&service).await;
    assert_eq!(status_at_the_end(&service, "ctx_2").await, Status::RolledBack);
    let item = world.stores.line_items.get("li_456").await.unwrap().unwrap();
    assert_eq!((item.state.as_str(), item.amounts.tip()), ("CONFIRMED", rupees(0)));
    initiate(&service, call(TIP, "ctx_3", tip)).await.unwrap();
    world.pay(&service, "ctx_3").await;
    assert_eq!(status_at_the_end(&service, "ctx_3").await, Status::Completed);
    let item = world.stores.line_items.get("li_456").await.unwrap().unwrap();
    assert_eq!((item.state.as_str(), item.amounts.tip()), ("CONFIRMED", rupees(200)));
    for id in ["ctx_1", "ctx_2", "ctx_3"] {
        world.audit(id).await;
    }
}

#[tokio::test]
async fn a_payment_that_the_vendor_takes_after_it_was_unknown_is_paid_back() {
    let world = World::new().await;
    // Nothing is heard of the payment, and it is taken a moment later.
    world.vendor.behave(Behaviour::SucceedLate { after: Duration::from_millis(30) });
    let service = world.open().await;
    let answered = service.initiate(&customer(), call(NEW_PLAN, "ctx_1", as_it_is), headers()).await;
    assert!(answered.is_ok() || matches!(answered, Err(InitiateError::RolledBack { .. })), "{answered:?}");
    until("the webhook", async || !world.webhooks.lock().unwrap().is_empty()).await;
    world.post_webhooks(&service).await;
    status_at_the_end(&service, "ctx_1").await;
    until("all follow-ups", async || {
        let audit = world.vendor.audit();
        let completed = saga(&service, "ctx_1").await.outcome_now().await.unwrap();
        matches!(completed, Some(saga_core::SagaOutcome::Completed(_))) || audit.net_minor.values().all(|net| *net == 0)
    })
    .await;
    world.audit("ctx_1").await;
}

#[tokio::test]
async fn the_reason_of_a_declined_payment_is_told_by_its_code() {
    let world = World::new().await;
    world.vendor.behave(Behaviour::InsufficientFunds);
    let service = world.open().await;
    let failed = initiate(&service, call(NEW_PLAN, "ctx_1", as_it_is)).await.unwrap_err();
    let InitiateError::RolledBack { error, .. } = failed else { unreachable!("{failed:?}") };
    assert_eq!(error.code, ErrorCode::InsufficientFunds);
    world.audit("ctx_1").await;
}
