//! The documented test matrix, row by row.

use std::time::Duration;

use checkout_workflows::initiate::schema::{ExecutionContextStatus as Status, StepContextStatus};
use checkout_workflows::initiate::service::InitiateError;
use checkout_workflows::initiate::validate::ViolationCode;
use checkout_workflows::initiate::vendor::{Behaviour, DeclineCode, Operation};
use saga_core::engine::Signalled;
use serde_json::{Value, json};

use crate::world::{
    NEW_PLAN, RENEWAL, TIP, World, as_it_is, call, customer, initiate, rupees, status_at_the_end, until,
};

#[tokio::test]
async fn happy_path_of_new_plan_purchase_tip_update_and_renewal() {
    let world = World::new().await;
    world.vendor.behave(Behaviour::Succeed);
    let service = world.open().await;
    for (id, text) in [("ctx_1", NEW_PLAN), ("ctx_2", TIP), ("ctx_3", RENEWAL)] {
        initiate(&service, call(text, id, as_it_is)).await.unwrap();
        assert_eq!(status_at_the_end(&service, id).await, Status::Completed);
        until("the event", async || world.published("line_items_confirmed", id) == 1).await;
        world.audit(id).await;
    }
}

#[tokio::test]
async fn retries_after_a_network_timeout_take_the_money_once() {
    for behaviour in [Behaviour::TimeOutWithEffect { calls: 2 }, Behaviour::TimeOutWithoutEffect { calls: 2 }] {
        let world = World::new().await;
        world.vendor.behave(behaviour);
        let service = world.open().await;
        initiate(&service, call(NEW_PLAN, "ctx_1", as_it_is)).await.unwrap();
        assert_eq!(status_at_the_end(&service, "ctx_1").await, Status::Completed);
        assert_eq!(world.vendor.calls(&world.reference("ctx_1").await), 3);
        until("the event", async || world.published("line_items_confirmed", "ctx_1") == 1).await;
        world.audit("ctx_1").await;
        let context = service.execution_context(&customer(), "ctx_1").await.unwrap();
        assert_eq!(context.retry_timestamps.len(), 2);
        let step = context.contexts.iter().find(|step| step.step == "5-create-payment-request").unwrap();
        assert_eq!((step.attempts, step.status), (3, StepContextStatus::Succeeded));
    }
}

#[tokio::test]
async fn retries_after_a_database_lock_go_on_when_it_is_gone() {
    let world = World::new().await;
    let service = world.open().await;
    let mut locked = world.stores.pool().begin().await.unwrap();
    sqlx::query("UPDATE execution_contexts SET reference_ids = reference_ids").execute(&mut *locked).await.unwrap();
    let asked = tokio::spawn(async move { (initiate(&service, call(NEW_PLAN, "ctx_1", as_it_is)).await, service) });
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!asked.is_finished());
    locked.rollback().await.unwrap();
    let (answered, service) = asked.await.unwrap();
    answered.unwrap();
    world.pay(&service, "ctx_1").await;
    assert_eq!(status_at_the_end(&service, "ctx_1").await, Status::Completed);
}

#[tokio::test]
async fn retries_while_the_service_is_unavailable_go_on_when_it_is_back() {
    let world = World::new().await;
    world.vendor.outage(Operation::Create, 2);
    world.vendor.outage(Operation::Query, 2);
    let service = world.open().await;
    initiate(&service, call(NEW_PLAN, "ctx_1", as_it_is)).await.unwrap();
    world.pay(&service, "ctx_1").await;
    assert_eq!(status_at_the_end(&service, "ctx_1").await, Status::Completed);
    world.audit("ctx_1").await;
}

#[tokio::test]
async fn idempotency_of_requests_with_the_same_execution_context_id_returns_the_cached_response() {
    let world = World::new().await;
    let service = world.open().await;
    let first = initiate(&service, call(NEW_PLAN, "ctx_1", as_it_is)).await.unwrap();
    // Another server, after a restart.
    let other = world.open().await;
    assert_eq!(initiate(&other, call(NEW_PLAN, "ctx_1", as_it_is)).await.unwrap(), first);
    let alone = checkout_workflows::initiate::schema::Call::from_json(br#"{"executionContextId": "ctx_1"}"#).unwrap();
    assert_eq!(initiate(&other, alone).await.unwrap(), first);
    assert_eq!(world.stores.line_items.of_context("ctx_1").await.unwrap().len(), 1);
}

async fn violations(world: &World, text: &str, change: impl FnOnce(&mut Value)) -> Vec<ViolationCode> {
    let service = world.open().await;
    let refused = initiate(&service, call(text, "ctx_1", change)).await.unwrap_err();
    let InitiateError::Invalid(violations) = refused else { unreachable!("{refused:?}") };
    assert!(service.engine().find(service.definition(), "ctx_1").await.unwrap().is_none(), "nothing was begun");
    assert!(world.stores.execution_contexts.get("ctx_1").await.unwrap().is_none(), "nothing was written");
    violations.into_vec().into_iter().map(|violation| violation.code).collect()
}

#[tokio::test]
async fn validator_failures_for_foreign_missing_and_mispriced_line_items_are_all_told() {
    let world = World::new().await;
    let missing = |request: &mut Value| request["lineItems"] = json!({});
    assert_eq!(violations(&world, NEW_PLAN, missing).await, [ViolationCode::LineItemsMissing]);
    let unknown = |request: &mut Value| request["lineItems"]["updated"][0]["lineItemId"] = json!("li_nowhere");
    assert_eq!(violations(&world, TIP, unknown).await, [ViolationCode::LineItemUnknown]);
    let several = |request: &mut Value| {
        request["lineItems"]["created"][0]["plan"]["planId"] = json!("plan_nowhere");
        request["lineItems"]["existing"] = json!([{ "lineItemId": "li_nowhere" }]);
    };
    assert_eq!(violations(&world, NEW_PLAN, several).await.len(), 2);
}

#[tokio::test]
async fn pcr_failure_of_the_gateway_and_for_want_of_money_rolls_back_and_the_customer_may_try_again() {
    for (nth, code) in [DeclineCode::PaymentDeclined, DeclineCode::InsufficientFunds].into_iter().enumerate() {
        let world = World::new().await;
        let service = world.open().await;
        initiate(&service, call(NEW_PLAN, "ctx_1", as_it_is)).await.unwrap();
        world.vendor.fail(&world.reference("ctx_1").await, code).unwrap();
        world.post_webhooks(&service).await;
        assert_eq!(status_at_the_end(&service, "ctx_1").await, Status::RolledBack, "{nth}");
        world.audit("ctx_1").await;
        let again = |request: &mut Value| request["lineItems"]["created"][0]["lineItemId"] = json!("li_again");
        initiate(&service, call(NEW_PLAN, "ctx_2", again)).await.unwrap();
        world.pay(&service, "ctx_2").await;
        assert_eq!(status_at_the_end(&service, "ctx_2").await, Status::Completed);
        world.audit("ctx_2").await;
    }
}

#[tokio::test]
async fn payment_confirmation_race_of_webhooks_before_the_answer_doubled_and_out_of_order() {
    use checkout_workflows::initiate::vendor::{Delivery, Timing};
    for timing in [Timing::Early, Timing::Prompt, Timing::Held] {
        let world = World::new().await;
        world.vendor.deliver(Delivery { timing, copies: 2 });
        let service = world.open().await;
        initiate(&service, call(NEW_PLAN, "ctx_1", as_it_is)).await.unwrap();
        world.vendor.pay(&world.reference("ctx_1").await).unwrap();
        world.vendor.release_webhooks();
        let answers = world.post_webhooks(&service).await;
        assert_eq!(answers[0], Signalled::Accepted);
        assert!(matches!(answers[1], Signalled::Duplicate | Signalled::Late { .. }), "{answers:?}");
        assert_eq!(status_at_the_end(&service, "ctx_1").await, Status::Completed);
        until("the event", async || world.published("line_items_confirmed", "ctx_1") == 1).await;
        world.audit("ctx_1").await;
    }
}

#[tokio::test]
async fn arrears_creation_when_the_payment_for_a_renewal_fails() {
    let world = World::new().await;
    let service = world.open().await;
    // Without its credits the renewal costs 1,000.
    let payable = |request: &mut Value| request["invoice"] = json!({});
    initiate(&service, call(RENEWAL, "ctx_1", payable)).await.unwrap();
    world.vendor.fail(&world.reference("ctx_1").await, DeclineCode::PaymentDeclined).unwrap();
    world.post_webhooks(&service).await;
    assert_eq!(status_at_the_end(&service, "ctx_1").await, Status::RolledBack);
    let owed = world.stores.arrears.open_of_user("user_123").await.unwrap();
    assert_eq!(owed.iter().map(|arrear| arrear.amount).collect::<Vec<_>>(), [rupees(1_000)]);
    world.audit("ctx_1").await;
}

#[tokio::test]
async fn tranche_settlement_in_the_middle_is_scheduled_once_and_due_later() {
    let world = World::new().await;
    let service = world.open().await;
    let later = |request: &mut Value| request["payments"]["userPaymentIntent"] = json!("PAY_LATER");
    let response = initiate(&service, call(NEW_PLAN, "ctx_1", later)).await.unwrap();
    initiate(&service, call(NEW_PLAN, "ctx_1", later)).await.unwrap();
    status_at_the_end(&service, "ctx_1").await;
    let settlements = world.stores.settlements.of_order(&response.checkout_order_id).await.unwrap();
    assert_eq!(settlements.len(), 1);
    assert_eq!((settlements[0].tranche, settlements[0].state.as_str()), (1, "SCHEDULED"));
    let opened = world.stores.execution_contexts.get("ctx_1").await.unwrap().unwrap().created_at;
    assert!(settlements[0].due_at - opened >= chrono::Duration::days(30));
}
