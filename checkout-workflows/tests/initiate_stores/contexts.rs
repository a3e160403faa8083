//! Execution contexts answer repeated requests and tell what was done; the catalogue tells prices.

use checkout_workflows::initiate::store::{
    CatalogueSeed, Coupon, Credits, Discount, ExecutionStatus, Opened, Plan, Slot, StepEntry, StepStatus, StoreError,
    Stores,
};
use checkout_workflows::money::Currency;
use saga_testkit::postgres::Cluster;

use crate::world::{at, context, inr, on_both};

async fn a_repeated_request_finds_its_answer_and_another_is_refused(stores: Stores) {
    let contexts = &stores.execution_contexts;
    assert!(matches!(contexts.open("first", context("ctx")).await.unwrap(), Opened::New(_)));
    contexts.complete("complete", "ctx", r#"{"checkoutOrderId":"co"}"#.to_owned(), at(4)).await.unwrap();
    let Opened::Known(known) = contexts.open("second", context("ctx")).await.unwrap() else { panic!("made twice") };
    assert_eq!(known.status, ExecutionStatus::Completed);
    assert_eq!(known.response.as_deref(), Some(r#"{"checkoutOrderId":"co"}"#));
    let mut other = context("ctx");
    other.request_digest = "another".to_owned();
    assert!(matches!(contexts.open("third", other).await, Err(StoreError::RequestDiffers { .. })));

    contexts.complete("complete", "ctx", "{}".to_owned(), at(5)).await.unwrap();
    let again = contexts.complete("other", "ctx", "{}".to_owned(), at(5)).await;
    assert!(matches!(again, Err(StoreError::Illegal { .. })));
    assert!(contexts.undo_open("second", "undo", "ctx", at(6)).await.is_ok(), "it opened nothing");
    assert!(matches!(contexts.undo_open("first", "undo", "ctx", at(6)).await, Err(StoreError::Illegal { .. })));
    assert_eq!(contexts.get("ctx").await.unwrap().unwrap(), known, "the answer stands");
}

async fn the_history_tells_each_step_once_and_in_order(stores: Stores) {
    let contexts = &stores.execution_contexts;
    contexts.open("open", context("ctx")).await.unwrap();
    let entry = |status, second| StepEntry { step: "createCheckoutOrder".to_owned(), status, at: at(second) };
    let history = [entry(StepStatus::Started, 1), entry(StepStatus::Failed, 2), entry(StepStatus::Succeeded, 4)];
    for _ in 0..2 {
        for entry in &history {
            contexts.record_step("step-3", "ctx", entry.clone()).await.unwrap();
        }
        contexts.record_retry("retry-1", "ctx", at(3)).await.unwrap();
    }
    contexts.refer("refer", "ctx", vec!["pg_1".to_owned(), "pg_2".to_owned()]).await.unwrap();
    let found = contexts.get("ctx").await.unwrap().unwrap();
    assert_eq!(found.contexts, history);
    assert_eq!(found.retry_timestamps, [at(3)]);
    assert_eq!(found.reference_ids, ["pg_1", "pg_2"]);
    let nobody = contexts.record_step("step", "nobody", entry(StepStatus::Started, 1)).await;
    assert!(matches!(nobody, Err(StoreError::NotFound { .. })));
}

async fn stuck_checkouts_are_found_the_oldest_first(stores: Stores) {
    let contexts = &stores.execution_contexts;
    for (nth, id) in ["c", "b", "a", "done", "back"].into_iter().enumerate() {
        let mut new = context(id);
        new.at = at(nth as i64);
        contexts.open(id, new).await.unwrap();
    }
    contexts.complete("complete", "done", "{}".to_owned(), at(5)).await.unwrap();
    contexts.roll_back("roll-back", "back", at(5)).await.unwrap();
    assert_eq!(contexts.stuck(at(60), 10).await.unwrap(), ["c", "b", "a"]);
    contexts.record_retry("retry", "c", at(50)).await.unwrap();
    assert_eq!(contexts.stuck(at(40), 10).await.unwrap(), ["b", "a"]);
    assert_eq!(contexts.stuck(at(60), 1).await.unwrap(), ["b"]);
}

async fn the_catalogue_tells_what_it_was_filled_with(stores: Stores) {
    let plan = Plan {
        plan_id: "plan_789".to_owned(),
        category: "cleaning".to_owned(),
        name: "Deep cleaning".to_owned(),
        price: inr(150_000),
    };
    let slot = Slot {
        slot_id: "slot_1".to_owned(),
        city: "delhi".to_owned(),
        category: "cleaning".to_owned(),
        starts_at: at(3_600),
        available: 2,
        surge_fee: inr(9_900),
    };
    let coupon = |code: &str, discount| Coupon {
        code: code.to_owned(),
        currency: Currency::INR,
        discount,
        valid_until: at(86_400),
    };
    let coupons = vec![coupon("TEN", Discount::BasisPoints(1_000)), coupon("FLAT", Discount::Amount(inr(5_000)))];
    let credits = vec![Credits { user_id: "user_123".to_owned(), balance: inr(100_000) }];
    let seed =
        CatalogueSeed { plans: vec![plan.clone()], slots: vec![slot.clone()], coupons: coupons.clone(), credits };
    for _ in 0..2 {
        stores.catalogue.seed(seed.clone()).await.unwrap();
    }
    assert_eq!(stores.catalogue.plan("plan_789").await.unwrap(), Some(plan));
    assert_eq!(stores.catalogue.slot("slot_1").await.unwrap(), Some(slot));
    for coupon in coupons {
        assert_eq!(stores.catalogue.coupon(&coupon.code.clone()).await.unwrap(), Some(coupon));
    }
    assert_eq!(stores.catalogue.credits("user_123", Currency::INR).await.unwrap(), inr(100_000));
    assert_eq!(stores.catalogue.credits("user_123", Currency::USD).await.unwrap().minor(), 0);
    assert_eq!(stores.catalogue.plan("nothing").await.unwrap(), None);
}

on_both! {
    a_repeated_request_finds_its_answer_and_another_is_refused
    the_history_tells_each_step_once_and_in_order
    stuck_checkouts_are_found_the_oldest_first
    the_catalogue_tells_what_it_was_filled_with
}

#[tokio::test]
async fn many_processes_may_make_the_tables_at_once() {
    let database = Cluster::shared().await.unwrap().database().await.unwrap();
    let migrations: Vec<_> = (0..4)
        .map(|_| {
            let url = database.url().to_owned();
            tokio::spawn(async move { Stores::open(&url).await.unwrap().migrate().await.unwrap() })
        })
        .collect();
    for migration in migrations {
        migration.await.unwrap();
    }
}
