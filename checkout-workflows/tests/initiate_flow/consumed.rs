//! The consumed event `line_items_confirmed`: twice, out of order, unreadable, and while workers die.

use std::time::Duration;

use checkout_workflows::initiate::consumed::Consumed;
use checkout_workflows::initiate::line_items_confirmed::{Confirmed, Delivered, NAME, STEP};
use checkout_workflows::initiate::schema::ExecutionContextStatus as Status;
use checkout_workflows::initiate::service::{InitiateError, InitiateService};
use checkout_workflows::initiate::store::{Amounts, NewLineItem, Upsert};
use checkout_workflows::initiate::vendor::Behaviour;
use checkout_workflows::initiate::webhook::{WebhookError, sign};
use saga_core::engine::Resolution;
use saga_core::{SagaHandle, SagaOutcome, Timestamp};
use saga_testkit::faults::{Fault, Planned};
use serde_json::{Value, json};

use crate::world::{BUS_SECRET, NEW_PLAN, World, as_it_is, call, initiate, rupees, status_at_the_end, until};

/// The event as the bus delivers it.
fn event(key: &str, items: &[&str]) -> Value {
    json!({
        "event": "line_items_confirmed",
        "headers": { "tenant": "marketplace", "city": "delhi", "requestId": "req_1", "idempotencyKey": key },
        "payload": {
            "executionContextId": "ctx_1", "checkoutOrderId": "co_1", "userId": "user_123", "lineItemIds": items,
        },
    })
}

async fn delivers(service: &InitiateService, body: &[u8]) -> Result<Consumed, InitiateError> {
    let now = Timestamp::from_micros(chrono::Utc::now().timestamp_micros());
    service.line_items_confirmed(body, &sign(BUS_SECRET, now, body).unwrap()).await
}

async fn delivered(service: &InitiateService, event: &Value) -> Consumed {
    delivers(service, event.to_string().as_bytes()).await.unwrap()
}

async fn saga(service: &InitiateService, world: &World, key: &str) -> SagaHandle<Confirmed> {
    let flow = checkout_workflows::initiate::service::InitiateFlow::new(world.services.clone()).unwrap();
    service.engine().find::<Delivered, Confirmed>(flow.confirmed(), key).await.unwrap().unwrap()
}

#[tokio::test]
async fn an_event_of_a_completed_checkout_begins_one_repeat_program_however_often_it_comes() {
    let world = World::new().await;
    world.vendor.behave(Behaviour::Succeed);
    let service = world.open().await;
    initiate(&service, call(NEW_PLAN, "ctx_1", as_it_is)).await.unwrap();
    assert_eq!(status_at_the_end(&service, "ctx_1").await, Status::Completed);
    until("the event", async || world.published("line_items_confirmed", "ctx_1") == 1).await;
    // What the flow has published, as a bus hands it on.
    let published = world.publisher.published();
    let published = published.iter().find(|event| event.topic == "line_items_confirmed").unwrap();
    let payload: Value = serde_json::from_str(&published.payload).unwrap();
    let event = json!({ "event": published.topic, "headers": published.headers, "payload": payload });
    assert_eq!(delivered(&service, &event).await, Consumed::Accepted);
    for _ in 0..3 {
        assert_eq!(delivered(&service, &event).await, Consumed::Duplicate);
    }
    let told = saga(&service, &world, "ctx_1:line_items_confirmed").await.outcome().await.unwrap();
    assert!(matches!(told, SagaOutcome::Completed(Confirmed::Told(_))), "{told:?}");
    let [taken] = world.repeats.taken().try_into().unwrap();
    assert_eq!(taken.request.line_items[0].line_item_id, "li_456");
    assert_eq!(taken.request.line_items[0].plan_id, "plan_789");
    assert_eq!(taken.correlation_id.as_deref(), Some("ctx_1"));
}

#[tokio::test]
async fn an_event_that_overtakes_what_it_tells_of_waits_for_it() {
    let mut world = World::new().await;
    world.services.patience = saga_core::RetryPolicy::fixed(Duration::from_millis(5)).attempts(10_000);
    let service = world.open().await;
    // A later event of an older line item comes first; neither waits for the other.
    assert_eq!(delivered(&service, &event("early", &["li_new"])).await, Consumed::Accepted);
    assert_eq!(delivered(&service, &event("other", &["li_existing_123"])).await, Consumed::Accepted);
    saga(&service, &world, "other").await.outcome().await.unwrap();
    let early = saga(&service, &world, "early").await;
    assert!(early.outcome_now().await.unwrap().is_none(), "it is not there yet");
    let item = NewLineItem {
        line_item_id: "li_new".to_owned(),
        execution_context_id: "ctx_1".to_owned(),
        user_id: "user_123".to_owned(),
        payment_group_id: None,
        plan_id: "plan_789".to_owned(),
        slot_id: None,
        location: None,
        amounts: Amounts::new(rupees(1), rupees(0), rupees(0), rupees(0)).unwrap(),
    };
    let items = &world.stores.line_items;
    items.upsert("new", Upsert { created: vec![item], updated: Vec::new() }).await.unwrap();
    assert!(early.outcome_now().await.unwrap().is_none(), "it is not confirmed yet");
    items.confirm("confirmed", vec!["li_new".to_owned()]).await.unwrap();
    assert!(matches!(early.outcome().await.unwrap(), SagaOutcome::Completed(Confirmed::Told(_))));
    let keys: Vec<String> = world.repeats.taken().into_iter().map(|taken| taken.request.event_key).collect();
    assert_eq!(keys, ["other", "early"]);
}

#[tokio::test]
async fn a_poison_event_is_answered_and_waits_as_a_dead_letter() {
    let world = World::new().await;
    let service = world.open().await;
    assert_eq!(delivered(&service, &event("known", &["li_existing_123"])).await, Consumed::Accepted);
    let mut headless = event("none", &["li_existing_123"]);
    headless["headers"].as_object_mut().unwrap().remove("idempotencyKey");
    let poison = [
        b"{ no json".to_vec(),
        b"\xff\xfe".to_vec(),
        headless.to_string().into_bytes(),
        event("", &["li_existing_123"]).to_string().into_bytes(),
        event("empty", &[]).to_string().into_bytes(),
        // The same key, and other line items.
        event("known", &["li_renewal_789"]).to_string().into_bytes(),
    ];
    for body in &poison {
        assert_eq!(delivers(&service, body).await.unwrap(), Consumed::DeadLettered);
        assert_eq!(delivers(&service, body).await.unwrap(), Consumed::DeadLettered, "and again");
    }
    until("all are dead letters", async || service.engine().dead_letters(100).await.unwrap().len() == poison.len())
        .await;
    let letters = service.engine().dead_letters(100).await.unwrap();
    assert!(letters.iter().all(|letter| letter.definition == NAME && letter.error.starts_with("MALFORMED_REQUEST: ")));
    let letter = &letters[0];
    let operator = service.engine().operator();
    let none = saga_core::Payload::from_json("\"nothing\"".to_owned()).unwrap();
    operator.resolve(letter.saga, STEP, Resolution::Supply(none), "ann", "told by hand").await.unwrap();
    until("it is done", async || service.engine().dead_letters(100).await.unwrap().len() == poison.len() - 1).await;
    assert_eq!(world.repeats.taken().len(), 1, "nothing was made of any of them");
}

#[tokio::test]
async fn only_what_the_bus_has_signed_is_taken_and_other_events_are_let_go() {
    let world = World::new().await;
    let service = world.open().await;
    let body = event("key", &["li_existing_123"]).to_string().into_bytes();
    let now = Timestamp::from_micros(chrono::Utc::now().timestamp_micros());
    let forged = sign(b"a secret of somebody else", now, &body).unwrap();
    let refused = service.line_items_confirmed(&body, &forged).await.unwrap_err();
    assert!(matches!(refused, InitiateError::Webhook(WebhookError::Forged)), "{refused:?}");
    let mut other = event("key", &["li_existing_123"]);
    other["event"] = "line_items_updated".into();
    assert_eq!(delivered(&service, &other).await, Consumed::Ignored);
    assert!(service.engine().list(&saga_core::journal::ListFilter::default(), 10).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_repeat_program_that_fails_is_asked_again_under_one_key_and_one_that_refuses_calls_a_human() {
    let world = World::new().await;
    let service = world.open().await;
    world.repeats.lose_answers(2);
    delivered(&service, &event("lost", &["li_existing_123"])).await;
    saga(&service, &world, "lost").await.outcome().await.unwrap();
    assert_eq!(world.repeats.taken().len(), 1, "the same key, and so one program");
    world.repeats.refuse(true);
    delivered(&service, &event("refused", &["li_existing_123"])).await;
    let refused = saga(&service, &world, "refused").await;
    assert!(matches!(refused.outcome().await.unwrap(), SagaOutcome::NeedsAttention(_)));
    world.repeats.refuse(false);
    service.engine().operator().resolve(refused.id(), STEP, Resolution::Retry, "ann", "mended").await.unwrap();
    until("it is told", async || world.repeats.taken().len() == 2).await;
}

#[tokio::test]
async fn an_event_is_seen_to_once_wherever_its_worker_dies() {
    for (method, nth) in [("start", 0), ("append", 0), ("append", 1)] {
        for fault in [Fault::Before, Fault::After] {
            let world = World::new().await;
            world.repeats.lose_answers(1);
            world.journal.plan(Planned { method, call: nth, fault });
            let service = world.open().await;
            let event = event("key", &["li_existing_123"]);
            // The bus sends it again until it is taken.
            tokio::time::timeout(Duration::from_millis(300), delivers(&service, event.to_string().as_bytes()))
                .await
                .ok();
            until("the fault", async || world.journal.reached()).await;
            world.journal.outage(true);
            drop(service);
            world.journal.outage(false);
            let service = world.open().await;
            delivered(&service, &event).await;
            let told = saga(&service, &world, "key").await.outcome().await.unwrap();
            assert!(matches!(told, SagaOutcome::Completed(Confirmed::Told(_))), "{method} {nth} {fault:?}: {told:?}");
            assert_eq!(world.repeats.taken().len(), 1, "{method} {nth} {fault:?}");
        }
    }
}
