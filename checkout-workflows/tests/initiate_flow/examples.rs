//! The three documented requests, word for word.

use checkout_workflows::initiate::schema::ExecutionContextStatus as Status;
use checkout_workflows::initiate::vendor::Behaviour;
use serde_json::Value;

use crate::world::{
    NEW_PLAN, NEW_PLAN_RESPONSE, RENEWAL, TIP, World, as_it_is, call, customer, initiate, rupees, saga,
    status_at_the_end, until,
};

/// Every documented member is there, with the same type; texts and numbers are each checkout's own.
fn has_the_shape_of(documented: &Value, answered: &Value, at: &str) {
    match (documented, answered) {
        (Value::Object(documented), Value::Object(answered)) => {
            for (name, member) in documented {
                let found = answered.get(name).unwrap_or_else(|| unreachable!("{at}/{name} is missing"));
                has_the_shape_of(member, found, &format!("{at}/{name}"));
            }
        }
        (Value::Array(documented), Value::Array(answered)) => {
            assert_eq!(documented.len(), answered.len(), "{at}");
            for (nth, (one, other)) in documented.iter().zip(answered).enumerate() {
                has_the_shape_of(one, other, &format!("{at}/{nth}"));
            }
        }
        (one, other) => {
            assert_eq!(std::mem::discriminant(one), std::mem::discriminant(other), "{at}");
        }
    }
}

#[tokio::test]
async fn a_new_plan_purchase_is_answered_as_documented_and_confirmed_once_it_is_paid() {
    let world = World::new().await;
    let service = world.open().await;
    let response = initiate(&service, call(NEW_PLAN, "ctx_1", as_it_is)).await.unwrap();
    let answered = serde_json::to_value(&response).unwrap();
    let documented: Value = serde_json::from_str(NEW_PLAN_RESPONSE).unwrap();
    has_the_shape_of(&documented, &answered, "");
    assert_eq!(answered["lineItems"]["created"][0]["lineItemId"], "li_456");
    assert_eq!(answered["sourceContext"], documented["sourceContext"]);
    let params = &answered["paymentDetails"]["vendorTransactionInfo"]["processPaymentViaSDKParams"];
    assert_eq!(params["amount"].to_string().parse::<f64>().unwrap(), 1500.0);
    assert_eq!(params["currency"], "INR");
    assert_ne!(params["isMandateSetupOrder"], true);

    let before = service.execution_context(&customer(), "ctx_1").await.unwrap();
    assert_eq!(before.status, Status::Initialized);
    assert_eq!(before.reference_ids.len(), 1);
    until("the first event", async || world.published("line_items_updated", "ctx_1") == 1).await;
    assert_eq!(world.published("line_items_confirmed", "ctx_1"), 0);

    world.pay(&service, "ctx_1").await;
    assert_eq!(status_at_the_end(&service, "ctx_1").await, Status::Completed);
    until("the second event", async || world.published("line_items_confirmed", "ctx_1") == 1).await;
    world.audit("ctx_1").await;
    let states = states(&world, "ctx_1", "li_456").await;
    assert_eq!(states, ["COMPLETED", "CONFIRMED", "COMPLETED", "COMPLETED"]);
    assert!(service.engine().operator().locks(10).await.unwrap().is_empty());
}

/// Of the context, the line item, the payment group and the order.
async fn states(world: &World, id: &str, item: &str) -> [&'static str; 4] {
    let stores = &world.stores;
    let context = stores.execution_contexts.get(id).await.unwrap().unwrap();
    let item = stores.line_items.get(item).await.unwrap().unwrap();
    let group = stores.payment_groups.of_context(id).await.unwrap().remove(0);
    let order = stores.checkout_orders.of_context(id).await.unwrap().unwrap();
    [context.status.as_str(), item.state.as_str(), group.state.as_str(), order.state.as_str()]
}

#[tokio::test]
async fn events_carry_the_documented_headers() {
    let world = World::new().await;
    world.vendor.behave(Behaviour::Succeed);
    let service = world.open().await;
    initiate(&service, call(NEW_PLAN, "ctx_1", as_it_is)).await.unwrap();
    status_at_the_end(&service, "ctx_1").await;
    until("both events", async || world.publisher.published().len() == 2).await;
    let published = world.publisher.published();
    assert_eq!(
        published.iter().map(|event| event.topic.as_str()).collect::<Vec<_>>(),
        ["line_items_updated", "line_items_confirmed"]
    );
    for event in published {
        let headers: Vec<(&str, &str)> = event.headers.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        let key = format!("ctx_1:{}", event.topic);
        assert_eq!(
            headers,
            [("city", "delhi"), ("idempotencyKey", key.as_str()), ("requestId", "req_1"), ("tenant", "marketplace")]
        );
    }
}

#[tokio::test]
async fn a_tip_update_costs_the_tip_and_changes_nothing_else() {
    let world = World::new().await;
    let service = world.open().await;
    let response = initiate(&service, call(TIP, "ctx_1", as_it_is)).await.unwrap();
    let answered = serde_json::to_value(&response).unwrap();
    assert_eq!(answered["lineItems"]["updated"][0]["lineItemId"], "li_existing_123");
    let params = &answered["paymentDetails"]["vendorTransactionInfo"]["processPaymentViaSDKParams"];
    assert_eq!(params["amount"].to_string().parse::<f64>().unwrap(), 200.0);
    world.pay(&service, "ctx_1").await;
    assert_eq!(status_at_the_end(&service, "ctx_1").await, Status::Completed);
    let item = world.stores.line_items.get("li_existing_123").await.unwrap().unwrap();
    assert_eq!((item.amounts.base(), item.amounts.tip()), (rupees(1_000), rupees(200)));
    assert_eq!(item.state.as_str(), "CONFIRMED");
    world.audit("ctx_1").await;
}

#[tokio::test]
async fn a_renewal_with_nothing_to_pay_asks_for_no_payment() {
    let world = World::new().await;
    let service = world.open().await;
    let response = initiate(&service, call(RENEWAL, "ctx_1", as_it_is)).await.unwrap();
    assert_eq!(response.payment_details, None);
    assert_eq!(status_at_the_end(&service, "ctx_1").await, Status::Completed);
    assert!(world.vendor.ledger().is_empty());
    assert!(world.stores.requirements.of_context("ctx_1").await.unwrap().is_empty());
    until("the event", async || world.published("line_items_confirmed", "ctx_1") == 1).await;
    let completed = saga(&service, "ctx_1").await.outcome().await.unwrap();
    assert!(matches!(completed, saga_core::SagaOutcome::Completed(_)));
}
