//! Two writers at the same time: one wins, nothing is lost, nothing is done twice.

use std::future::Future;

use checkout_workflows::initiate::store::{
    Compensation, LineItemChange, LineItemState, PaymentGroupState, Receipt, RequirementState, StoreError, Stores,
    Upsert,
};

use crate::world::{at, created, group, line_item, on_both, requirement};

const WRITERS: usize = 6;

/// Runs all of them at the same time.
async fn together<T: Send + 'static, F: Future<Output = T> + Send + 'static>(write: impl Fn(usize) -> F) -> Vec<T> {
    let tasks: Vec<_> = (0..WRITERS).map(|nth| tokio::spawn(write(nth))).collect();
    let mut answers = Vec::new();
    for task in tasks {
        answers.push(task.await.unwrap());
    }
    answers
}

async fn the_same_key_at_the_same_time_is_one_write(stores: Stores) {
    let answers = together(|_| {
        let items = stores.line_items.clone();
        async move { items.upsert("key", created("li")).await.unwrap() }
    })
    .await;
    assert!(answers.iter().all(|answer| *answer == answers[0]));
    assert_eq!(stores.line_items.get("li").await.unwrap().unwrap().revision, 1);
}

async fn of_many_who_close_a_payment_group_one_wins(stores: Stores) {
    let id = stores.payment_groups.create("create", vec![group("ctx")]).await.unwrap().remove(0).payment_group_id;
    stores.payment_groups.activate("activate", &id).await.unwrap();
    let answers = together(|nth| {
        let (groups, id) = (stores.payment_groups.clone(), id.clone());
        async move {
            let key = nth.to_string();
            if nth % 2 == 0 { groups.complete(&key, &id).await } else { groups.fail(&key, &id).await }
        }
    })
    .await;
    let won: Vec<_> = answers.iter().filter_map(|answer| answer.as_ref().ok()).collect();
    assert_eq!(won.len(), 1);
    for lost in answers.iter().filter_map(|answer| answer.as_ref().err()) {
        assert!(matches!(lost, StoreError::Illegal { .. } | StoreError::Conflict { .. }), "{lost:?}");
    }
    assert_eq!(stores.payment_groups.get(&id).await.unwrap().unwrap().state, won[0].state);
    assert_ne!(won[0].state, PaymentGroupState::Active);
}

async fn no_change_of_a_line_item_is_lost(stores: Stores) {
    stores.line_items.upsert("create", created("li")).await.unwrap();
    together(|nth| {
        let items = stores.line_items.clone();
        async move {
            let change = LineItemChange {
                line_item_id: "li".to_owned(),
                requirement_id: Some(format!("pcr-{nth}")),
                ..LineItemChange::default()
            };
            let upsert = Upsert { created: Vec::new(), updated: vec![change] };
            // As an engine does: what is in conflict is tried again.
            loop {
                match items.upsert(&nth.to_string(), upsert.clone()).await {
                    Err(StoreError::Conflict { .. }) => tokio::task::yield_now().await,
                    answer => return answer.unwrap(),
                }
            }
        }
    })
    .await;
    let revision = stores.line_items.get("li").await.unwrap().unwrap().revision;
    assert_eq!(revision, 1 + WRITERS as i64);
    let kept = "SELECT count(*) FROM line_item_versions WHERE line_item_id = 'li'";
    let (kept,): (i64,) = sqlx::query_as(kept).fetch_one(stores.pool()).await.unwrap();
    assert_eq!(kept, revision - 1);
}

async fn writers_of_the_same_line_items_do_not_deadlock(stores: Stores) {
    let both = Upsert { created: vec![line_item("a"), line_item("b")], updated: Vec::new() };
    stores.line_items.upsert("create", both).await.unwrap();
    let answers = together(|nth| {
        let items = stores.line_items.clone();
        let mut updated =
            ["a", "b"].map(|id| LineItemChange { line_item_id: id.to_owned(), ..LineItemChange::default() });
        if nth % 2 == 0 {
            updated.reverse();
        }
        async move { items.upsert(&nth.to_string(), Upsert { created: Vec::new(), updated: updated.to_vec() }).await }
    })
    .await;
    for answer in answers {
        assert!(matches!(answer, Ok(_) | Err(StoreError::Conflict { .. })), "{answer:?}");
    }
}

async fn a_step_and_its_compensation_at_the_same_time_leave_nothing(stores: Stores) {
    for round in 0..10 {
        let (key, id) = (format!("key-{round}"), format!("li-{round}"));
        let (items, step_key, step_id) = (stores.line_items.clone(), key.clone(), id.clone());
        let step = tokio::spawn(async move { items.upsert(&step_key, created(&step_id)).await });
        let undone = stores.line_items.undo_upsert(&key, "undo").await.unwrap();
        let step = step.await.unwrap();
        let state = stores.line_items.get(&id).await.unwrap().map(|item| item.state);
        match undone {
            Compensation::NothingHappened => {
                assert!(matches!(step, Err(StoreError::Undone { .. })), "{step:?}");
                assert_eq!(state, None);
            }
            Compensation::TakenBack => {
                assert!(step.is_ok(), "{step:?}");
                assert_eq!(state, Some(LineItemState::Cancelled));
            }
        }
    }
}

async fn a_payment_and_a_cancellation_at_the_same_time_lose_no_money(stores: Stores) {
    for round in 0..10 {
        let (key, requirements) = (format!("key-{round}"), stores.requirements.clone());
        let id = requirements.create(&key, requirement(&key)).await.unwrap().requirement_id;
        let (payer, paid, transaction) = (requirements.clone(), id.clone(), format!("txn-{round}"));
        let payment = tokio::spawn(async move {
            loop {
                match payer.succeed(&transaction, &paid, &transaction, at(1)).await {
                    Err(StoreError::Conflict { .. }) => tokio::task::yield_now().await,
                    answer => return answer.unwrap(),
                }
            }
        });
        let cancelled = loop {
            match requirements.undo_create(&key, "undo").await {
                Err(StoreError::Conflict { .. }) => tokio::task::yield_now().await,
                answer => break answer,
            }
        };
        let now = async || requirements.get(&id).await.unwrap().unwrap();
        match payment.await.unwrap() {
            Receipt::InTime(_) => {
                assert!(matches!(cancelled, Err(StoreError::Illegal { .. })), "{cancelled:?}");
                assert_eq!(now().await.state, RequirementState::Succeeded);
            }
            Receipt::Late(_) => {
                assert_eq!(cancelled.unwrap(), Compensation::TakenBack);
                assert_eq!((now().await.state, now().await.paid_at), (RequirementState::Cancelled, Some(at(1))));
            }
            Receipt::Repeated(_) => panic!("it was paid once"),
        }
    }
}

on_both! {
    the_same_key_at_the_same_time_is_one_write
    of_many_who_close_a_payment_group_one_wins
    no_change_of_a_line_item_is_lost
    writers_of_the_same_line_items_do_not_deadlock
    a_step_and_its_compensation_at_the_same_time_leave_nothing
    a_payment_and_a_cancellation_at_the_same_time_lose_no_money
}
