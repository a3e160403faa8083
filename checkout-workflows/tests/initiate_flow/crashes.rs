//! A worker dies before or after each append of the flow, and another one takes over.

use checkout_workflows::initiate::service::InitiateService;
use checkout_workflows::initiate::vendor::{Behaviour, DeclineCode};
use saga_core::{SagaOutcome, engine::Signalled};
use saga_testkit::faults::{Fault, Planned};
use std::time::Duration;

use crate::world::{NEW_PLAN, World, as_it_is, call, customer, headers, saga, until};

/// How the customer of a run behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Customer {
    Pays,
    Fails,
    StaysAway,
}

/// One checkout, with a worker that dies at the `nth` append. Answers whether it came to that.
async fn run(customer_does: Customer, dies: Option<(usize, Fault)>) -> (bool, usize) {
    let mut world = World::new().await;
    world.vendor.behave(Behaviour::Wait);
    if customer_does == Customer::StaysAway {
        world.services.payment_wait = Duration::from_millis(200);
    }
    if let Some((call, fault)) = dies {
        world.journal.plan(Planned { method: "append", call, fault });
    }
    let mut service = world.open().await.answer_within(Duration::from_millis(20));
    let mut crashed = false;
    let mut acted = false;
    let deadline = tokio::time::Instant::now() + Duration::from_secs(5);
    loop {
        if tokio::time::Instant::now() > deadline {
            let now = service.execution_context(&customer(), "ctx_1").await.map(|context| context.contexts);
            unreachable!(
                "{customer_does:?} {dies:?}: no end, {acted} {crashed} {now:#?} {:?} {:?} {:?}",
                saga(&service, "ctx_1").await.outcome_now().await,
                world.vendor.ledger(),
                service.engine().status(saga(&service, "ctx_1").await.id()).await
            );
        }
        if world.journal.reached() && !crashed {
            crashed = true;
            service = crash(&world, service).await;
        }
        // The client asks again and again, and the vendor sends again what was not taken.
        service.initiate(&customer(), call(NEW_PLAN, "ctx_1", as_it_is), headers()).await.ok();
        let rows = world.stores.requirements.of_context("ctx_1").await.unwrap();
        if let [row] = rows.as_slice()
            && !acted
        {
            acted = match customer_does {
                Customer::Pays => world.vendor.pay(&row.merchant_reference).is_ok(),
                Customer::Fails => world.vendor.fail(&row.merchant_reference, DeclineCode::PaymentDeclined).is_ok(),
                Customer::StaysAway => true,
            };
        }
        post(&world, &service).await;
        if let Some(outcome) = over(&service).await {
            let completed = matches!(outcome, SagaOutcome::Completed(_));
            assert_eq!(completed, customer_does == Customer::Pays, "{customer_does:?} {dies:?}: {outcome:?}");
            break;
        }
    }
    let confirmed = usize::from(customer_does == Customer::Pays);
    until("the events", async || world.published("line_items_confirmed", "ctx_1") == confirmed).await;
    world.audit("ctx_1").await;
    until("the locks are gone", async || service.engine().operator().locks(10).await.unwrap().is_empty()).await;
    (world.journal.reached(), world.journal.calls("append"))
}

/// The worker is gone in this moment; its lease lapses, and the next one goes on.
async fn crash(world: &World, service: InitiateService) -> InitiateService {
    world.journal.outage(true);
    drop(service);
    tokio::time::sleep(Duration::from_millis(20)).await;
    world.journal.outage(false);
    world.open().await.answer_within(Duration::from_millis(20))
}

async fn post(world: &World, service: &InitiateService) {
    let sent = std::mem::take(&mut *world.webhooks.lock().unwrap());
    for webhook in sent {
        let taken = service.payment_webhook(&webhook.body, &webhook.signature).await;
        if !matches!(taken, Ok(Signalled::Accepted | Signalled::Duplicate | Signalled::Late { .. })) {
            world.webhooks.lock().unwrap().push(webhook);
        }
    }
}

async fn over(
    service: &InitiateService,
) -> Option<SagaOutcome<checkout_workflows::initiate::schema::InitiateCheckoutResponse>> {
    let known = service.engine().find(service.definition(), "ctx_1").await.ok().flatten();
    known.as_ref()?;
    let outcome = saga(service, "ctx_1").await.outcome_now().await.ok().flatten();
    outcome.filter(|outcome| !matches!(outcome, SagaOutcome::NeedsAttention(_)))
}

async fn sweep(customer_does: Customer) {
    let (_, appends) = Box::pin(run(customer_does, None)).await;
    assert!(appends > 10, "{appends} appends");
    let mut reached = 0;
    for nth in 0..appends {
        let both = tokio::join!(
            Box::pin(run(customer_does, Some((nth, Fault::Before)))),
            Box::pin(run(customer_does, Some((nth, Fault::After))))
        );
        reached += usize::from(both.0.0) + usize::from(both.1.0);
    }
    // The number of appends varies a little with timing; a sweep that hardly crashed proves nothing.
    assert!(reached >= appends, "{reached} crashes at {appends} appends");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paid_checkout_is_completed_wherever_its_worker_dies() {
    Box::pin(sweep(Customer::Pays)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_declined_checkout_is_rolled_back_wherever_its_worker_dies() {
    Box::pin(sweep(Customer::Fails)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_abandoned_checkout_is_rolled_back_wherever_its_worker_dies() {
    Box::pin(sweep(Customer::StaysAway)).await;
}
