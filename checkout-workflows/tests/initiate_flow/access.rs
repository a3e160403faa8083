//! Who may do what, and what one execution context id stands for.

use std::time::Duration;

use checkout_workflows::initiate::role::{Principal, Role};
use checkout_workflows::initiate::schema::{Call, ExecutionContextStatus as Status};
use checkout_workflows::initiate::service::{InitiateError, InitiateService, Initiated};
use checkout_workflows::initiate::vendor::{Behaviour, EntryKind, Operation};
use checkout_workflows::initiate::webhook::WebhookError;
use saga_core::SagaOutcome;
use saga_core::journal::MemoryJournal;
use saga_testkit::faults::FaultJournal;
use serde_json::json;

use crate::world::{NEW_PLAN, TIP, World, as_it_is, call, customer, headers, initiate, saga, status_at_the_end, until};

fn somebody(user_id: &str, role: Role) -> Principal {
    Principal { user_id: user_id.to_owned(), role }
}

async fn asks(service: &InitiateService, who: &Principal, call: Call) -> Result<Initiated, InitiateError> {
    service.initiate(who, call, headers()).await
}

fn resume(id: &str) -> Call {
    Call::from_json(json!({ "executionContextId": id }).to_string().as_bytes()).unwrap()
}

#[tokio::test]
async fn changed_content_under_the_same_id_is_a_conflict_that_names_what_differs() {
    let world = World::new().await;
    let service = world.open().await;
    initiate(&service, call(NEW_PLAN, "ctx_1", as_it_is)).await.unwrap();
    let change = |request: &mut serde_json::Value| {
        request["lineItems"]["created"][0]["initialPostSellingPreferences"]["location"]["address"] = json!("elsewhere");
        request["isMock"] = json!(true);
    };
    let refused = initiate(&service, call(NEW_PLAN, "ctx_1", change)).await.unwrap_err();
    let InitiateError::Conflict { differs, execution_context_id } = refused else { unreachable!("{refused:?}") };
    assert_eq!((execution_context_id.as_str(), differs), ("ctx_1", vec!["isMock".to_owned(), "lineItems".to_owned()]));
}

#[tokio::test]
async fn two_different_requests_with_one_id_at_the_same_moment_are_one_checkout_and_one_conflict() {
    let world = World::new().await;
    let service = world.open().await;
    let mock = |request: &mut serde_json::Value| request["isMock"] = json!(true);
    let both = tokio::join!(
        initiate(&service, call(NEW_PLAN, "ctx_1", as_it_is)),
        initiate(&service, call(NEW_PLAN, "ctx_1", mock))
    );
    let conflicts = [both.0.is_err(), both.1.is_err()];
    assert_eq!(conflicts.iter().filter(|conflict| **conflict).count(), 1, "{conflicts:?}");
}

#[tokio::test]
async fn nobody_begins_reads_or_resumes_a_checkout_of_somebody_else() {
    let world = World::new().await;
    let service = world.open().await;
    let other = somebody("user_9", Role::Customer);
    let forbidden = asks(&service, &other, call(NEW_PLAN, "ctx_1", as_it_is)).await;
    assert!(matches!(forbidden, Err(InitiateError::Forbidden(_))));
    let partner = somebody("user_123", Role::Partner);
    let forbidden = asks(&service, &partner, call(NEW_PLAN, "ctx_1", as_it_is)).await;
    assert!(matches!(forbidden, Err(InitiateError::Forbidden(_))));
    initiate(&service, call(NEW_PLAN, "ctx_1", as_it_is)).await.unwrap();
    let forbidden = service.execution_context(&other, "ctx_1").await;
    assert!(matches!(forbidden, Err(InitiateError::Forbidden(_))));
    assert!(matches!(asks(&service, &other, resume("ctx_1")).await, Err(InitiateError::Forbidden(_))));
    // The same request by somebody else does not show the answer.
    let forbidden = asks(&service, &other, call(NEW_PLAN, "ctx_1", as_it_is)).await;
    assert!(matches!(forbidden, Err(InitiateError::Forbidden(_))));
    let admin = somebody("root", Role::Admin);
    assert_eq!(service.execution_context(&admin, "ctx_1").await.unwrap().status, Status::Initialized);
    assert!(matches!(asks(&service, &admin, resume("ctx_1")).await, Ok(Initiated::Answered(_))));
}

#[tokio::test]
async fn an_execution_context_that_nobody_opened_is_not_found() {
    let world = World::new().await;
    let service = world.open().await;
    let none = service.execution_context(&customer(), "ctx_none").await;
    assert!(matches!(none, Err(InitiateError::NotFound { .. })));
    assert!(matches!(asks(&service, &customer(), resume("ctx_none")).await, Err(InitiateError::NotFound { .. })));
}

#[tokio::test]
async fn a_checkout_that_waits_for_a_human_goes_on_when_the_client_asks_again() {
    let world = World::new().await;
    // Declined at the end, and the vendor cannot be reached to close it.
    world.vendor.behave(Behaviour::Wait);
    let service = world.open().await;
    initiate(&service, call(NEW_PLAN, "ctx_1", as_it_is)).await.unwrap();
    world.vendor.outage(Operation::Cancel, 1_000);
    let engine = service.engine();
    engine.operator().cancel(saga(&service, "ctx_1").await.id(), "support", "the customer called").await.unwrap();
    until("it waits for a human", async || {
        matches!(saga(&service, "ctx_1").await.outcome_now().await.unwrap(), Some(SagaOutcome::NeedsAttention(_)))
    })
    .await;
    world.vendor.outage(Operation::Cancel, 0);
    let answered = asks(&service, &customer(), resume("ctx_1")).await;
    assert!(matches!(answered, Err(InitiateError::RolledBack { .. }) | Ok(_)), "{answered:?}");
    assert_eq!(status_at_the_end(&service, "ctx_1").await, Status::RolledBack);
    world.audit("ctx_1").await;
}

#[tokio::test]
async fn a_client_that_does_not_want_to_wait_is_told_where_to_ask() {
    let world = World::new().await;
    let service = world.open().await.answer_within(Duration::ZERO);
    let answered = asks(&service, &customer(), call(NEW_PLAN, "ctx_1", as_it_is)).await.unwrap();
    let Initiated::Accepted(accepted) = answered else { unreachable!("{answered:?}") };
    assert_eq!((accepted.execution_context_id.as_str(), accepted.status), ("ctx_1", Status::Initialized));
    until("the answer", async || service.execution_context(&customer(), "ctx_1").await.unwrap().response.is_some())
        .await;
}

#[tokio::test]
async fn webhooks_that_are_forged_or_about_unknown_payments_change_nothing() {
    let world = World::new().await;
    let service = world.open().await;
    initiate(&service, call(NEW_PLAN, "ctx_1", as_it_is)).await.unwrap();
    world.vendor.pay(&world.reference("ctx_1").await).unwrap();
    let mut sent = world.webhooks.lock().unwrap().clone();
    let webhook = sent.remove(0);
    let forged = service.payment_webhook(&webhook.body, "t=1,v1=00").await;
    assert!(matches!(forged, Err(InitiateError::Webhook(_))), "{forged:?}");
    let mut changed = webhook.body.clone();
    let at = changed.windows(4).position(|bytes| bytes == b"1500").unwrap_or(10);
    changed[at] ^= 1;
    let refused = service.payment_webhook(&changed, &webhook.signature).await;
    assert!(matches!(refused, Err(InitiateError::Webhook(WebhookError::Forged))), "{refused:?}");
    assert_eq!(service.execution_context(&customer(), "ctx_1").await.unwrap().status, Status::Initialized);
    // The journal of another marketplace knows nothing of this payment.
    let other = World::new().await;
    let stranger = other.open().await;
    let unknown = stranger.payment_webhook(&webhook.body, &webhook.signature).await;
    assert!(matches!(unknown, Err(InitiateError::UnknownPayment { .. })), "{unknown:?}");
}

/// The journal's retention is over: it knows nothing any more.
async fn after_retention(world: &mut World) -> InitiateService {
    world.journal = FaultJournal::new(MemoryJournal::new());
    world.open().await
}

#[tokio::test]
async fn a_checkout_is_not_begun_again_when_the_journal_has_forgotten_it() {
    let mut world = World::new().await;
    world.vendor.behave(Behaviour::Succeed);
    let service = world.open().await;
    let first = initiate(&service, call(TIP, "ctx_1", as_it_is)).await.unwrap();
    assert_eq!(status_at_the_end(&service, "ctx_1").await, Status::Completed);
    let service = after_retention(&mut world).await;
    assert_eq!(initiate(&service, call(TIP, "ctx_1", as_it_is)).await.unwrap(), first);
    assert!(matches!(asks(&service, &customer(), resume("ctx_1")).await, Ok(Initiated::Answered(_))));
    let changed = initiate(&service, call(TIP, "ctx_1", |request| request["isMock"] = json!(true))).await;
    assert!(matches!(changed, Err(InitiateError::Conflict { differs, .. }) if differs == ["isMock"]));
    let context = service.execution_context(&customer(), "ctx_1").await.unwrap();
    assert_eq!((context.status, context.response), (Status::Completed, Some(first)));
    let other = somebody("user_9", Role::Customer);
    assert!(matches!(service.execution_context(&other, "ctx_1").await, Err(InitiateError::Forbidden(_))));
    assert_eq!(world.vendor.ledger().iter().filter(|entry| entry.kind == EntryKind::Captured).count(), 1);
}

#[tokio::test]
async fn without_persistence_a_forgotten_checkout_is_not_begun_again_either() {
    let mut world = World::new().await;
    world.vendor.behave(Behaviour::Succeed);
    world.flags = serde_json::from_str(r#"{"isExecutionContextPersistenceEnabled": {"on": false}}"#).unwrap();
    let service = world.open().await;
    let first = initiate(&service, call(TIP, "ctx_1", as_it_is)).await.unwrap();
    assert_eq!(status_at_the_end(&service, "ctx_1").await, Status::Completed);
    assert_eq!(initiate(&service, call(TIP, "ctx_1", as_it_is)).await.unwrap(), first);
    let service = after_retention(&mut world).await;
    let gone = initiate(&service, call(TIP, "ctx_1", as_it_is)).await;
    assert!(matches!(gone, Err(InitiateError::Gone { .. })), "{gone:?}");
    assert_eq!(world.vendor.ledger().iter().filter(|entry| entry.kind == EntryKind::Captured).count(), 1);
}

#[tokio::test]
async fn a_rolled_back_checkout_stays_so_when_the_journal_has_forgotten_it() {
    let mut world = World::new().await;
    world.vendor.behave(Behaviour::Decline);
    let service = world.open().await;
    initiate(&service, call(TIP, "ctx_1", as_it_is)).await.unwrap_err();
    assert_eq!(status_at_the_end(&service, "ctx_1").await, Status::RolledBack);
    world.vendor.behave(Behaviour::Succeed);
    let service = after_retention(&mut world).await;
    let again = initiate(&service, call(TIP, "ctx_1", as_it_is)).await;
    assert!(matches!(again, Err(InitiateError::RolledBack { .. })), "{again:?}");
}

#[tokio::test]
async fn a_checkout_is_cancelled_by_its_customer_and_rolled_back_by_an_admin_until_it_is_paid() {
    let world = World::new().await;
    let service = world.open().await;
    let other = somebody("user_9", Role::Customer);
    let admin = somebody("root", Role::Admin);
    initiate(&service, call(TIP, "ctx_1", as_it_is)).await.unwrap();
    assert!(matches!(service.cancel(&other, "ctx_1", "mine?").await, Err(InitiateError::Forbidden(_))));
    assert!(matches!(service.roll_back(&customer(), "ctx_1", "please").await, Err(InitiateError::Forbidden(_))));
    service.cancel(&customer(), "ctx_1", "changed my mind").await.unwrap();
    assert_eq!(status_at_the_end(&service, "ctx_1").await, Status::RolledBack);
    initiate(&service, call(TIP, "ctx_2", as_it_is)).await.unwrap();
    service.roll_back(&admin, "ctx_2", "the customer called").await.unwrap();
    assert_eq!(status_at_the_end(&service, "ctx_2").await, Status::RolledBack);
    initiate(&service, call(TIP, "ctx_3", as_it_is)).await.unwrap();
    world.pay(&service, "ctx_3").await;
    assert_eq!(status_at_the_end(&service, "ctx_3").await, Status::Completed);
    let late = service.cancel(&customer(), "ctx_3", "changed my mind").await;
    assert!(matches!(late, Err(InitiateError::TooLate { .. })), "{late:?}");
    for id in ["ctx_1", "ctx_2"] {
        world.audit(id).await;
    }
}
