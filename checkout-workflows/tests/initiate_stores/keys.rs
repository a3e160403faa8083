//! Every write happens once under its key, and is taken back before it, after it, and twice.

use std::fmt::Debug;

use checkout_workflows::initiate::store::{
    ArrearState, CheckoutOrderState, Compensation, LineItemChange, LineItemState, OptInChange, OptInState,
    PaymentGroupState, PreferenceMapping, PreferenceState, RequirementState, SettlementState, StoreError, Stores,
    Upsert,
};

use crate::world::{
    amounts, arrear, at, context, created, group, on_both, opt_in, order, preference, requirement, settlement,
};

/// The write under `early` comes after its compensation; the one under `step` is made twice, then taken back
/// twice, and then comes late.
async fn is_made_once_and_taken_back<T: Debug + PartialEq>(
    write: impl AsyncFn(&'static str) -> Result<T, StoreError>,
    undo: impl AsyncFn(&'static str, &'static str) -> Result<Compensation, StoreError>,
) {
    for _ in 0..2 {
        assert_eq!(undo("early", "early/undo").await.unwrap(), Compensation::NothingHappened);
    }
    assert!(matches!(write("early").await, Err(StoreError::Undone { .. })), "late, after its compensation");

    let answer = write("step").await.unwrap();
    assert_eq!(write("step").await.unwrap(), answer, "again, the same answer");
    for _ in 0..2 {
        assert_eq!(undo("step", "step/undo").await.unwrap(), Compensation::TakenBack);
    }
    assert!(matches!(write("step").await, Err(StoreError::Undone { .. })), "again, after its compensation");
    assert_eq!(undo("early", "early/undo").await.unwrap(), Compensation::NothingHappened);
}

async fn rows(stores: &Stores, count: &'static str) -> i64 {
    let (rows,): (i64,) = sqlx::query_as(count).fetch_one(stores.pool()).await.unwrap();
    rows
}

async fn an_execution_context_is_opened_once_and_rolled_back(stores: Stores) {
    let contexts = &stores.execution_contexts;
    let write = async |key| contexts.open(key, context(key)).await;
    let undo = async |key, by| contexts.undo_open(key, by, key, at(9)).await;
    is_made_once_and_taken_back(write, undo).await;
    assert_eq!(rows(&stores, "SELECT count(*) FROM execution_contexts WHERE status = 'ROLLEDBACK'").await, 1);
    assert_eq!(rows(&stores, "SELECT count(*) FROM execution_contexts").await, 1);
}

async fn payment_groups_are_created_once_and_fail(stores: Stores) {
    let groups = &stores.payment_groups;
    let write = async |key| groups.create(key, vec![group("ctx"), group("ctx")]).await;
    is_made_once_and_taken_back(write, async |key, by| groups.undo_create(key, by).await).await;
    let all = groups.of_context("ctx").await.unwrap();
    assert_eq!(all.len(), 2);
    for group in all {
        assert_eq!(group.state, PaymentGroupState::Failed);
        assert_eq!(group.line_item_ids, ["li_a", "li_b"]);
        assert_eq!(groups.get(&group.payment_group_id).await.unwrap(), Some(group));
    }
}

async fn a_checkout_order_is_created_once_and_fails(stores: Stores) {
    let orders = &stores.checkout_orders;
    let write = async |key| orders.create(key, order("ctx")).await;
    is_made_once_and_taken_back(write, async |key, by| orders.undo_create(key, by).await).await;
    assert_eq!(orders.get("co_step").await.unwrap().unwrap().state, CheckoutOrderState::Failed);
    assert_eq!(orders.of_context("ctx").await.unwrap(), None);
    let second = orders.create("again", order("ctx")).await.unwrap();
    assert_eq!(orders.of_context("ctx").await.unwrap(), Some(second), "after a failure it may be tried again");
    let third = orders.create("third", order("ctx")).await;
    assert!(matches!(third, Err(StoreError::Exists { .. })), "one at a time");
}

async fn an_opt_in_is_created_once_and_cancelled(stores: Stores) {
    let opt_ins = &stores.opt_ins;
    let write = async |key| opt_ins.create(key, opt_in()).await;
    is_made_once_and_taken_back(write, async |key, by| opt_ins.undo_create(key, by).await).await;
    let all = opt_ins.of_user("user_123").await.unwrap();
    assert_eq!(all.iter().map(|opt_in| opt_in.state).collect::<Vec<_>>(), [OptInState::Cancelled]);
}

async fn an_opt_in_is_modified_once_and_restored(stores: Stores) {
    let opt_ins = &stores.opt_ins;
    let before = opt_ins.create("before", opt_in()).await.unwrap();
    let id = &before.opt_in_id;
    let write = async |key: &'static str| {
        let change = OptInChange { opt_in_id: id.clone(), plan_id: Some(key.to_owned()), ..OptInChange::default() };
        opt_ins.modify(key, change).await
    };
    is_made_once_and_taken_back(write, async |key, by| opt_ins.undo_modify(key, by).await).await;
    let mut now = opt_ins.get(id).await.unwrap().unwrap();
    assert_eq!(now.revision, 3, "changed and restored");
    now.revision = before.revision;
    assert_eq!(now, before, "exactly what was there");
}

async fn preferences_are_created_once_and_cancelled(stores: Stores) {
    let preferences = &stores.preferences;
    let write = async |key| preferences.create(key, vec![preference(), preference()]).await;
    is_made_once_and_taken_back(write, async |key, by| preferences.undo_create(key, by).await).await;
    for id in ["pref_step_0", "pref_step_1"] {
        assert_eq!(preferences.get(id).await.unwrap().unwrap().state, PreferenceState::Cancelled);
    }
    assert_eq!(rows(&stores, "SELECT count(*) FROM preferences").await, 2);
    let mapping = PreferenceMapping { preference_id: "pref_step_0".to_owned(), line_item_id: "li".to_owned() };
    let refused = preferences.map("map", vec![mapping]).await;
    assert!(matches!(refused, Err(StoreError::Illegal { .. })), "it does not hold any more");
}

async fn preferences_are_mapped_once_and_only_that_is_taken_back(stores: Stores) {
    let preferences = &stores.preferences;
    let made = preferences.create("made", vec![preference(), preference()]).await.unwrap();
    let mapping = |nth: usize| PreferenceMapping {
        preference_id: made[nth].preference_id.clone(),
        line_item_id: "li".to_owned(),
    };
    preferences.map("before", vec![mapping(0)]).await.unwrap();
    let write = async |key| preferences.map(key, vec![mapping(1), mapping(0)]).await;
    is_made_once_and_taken_back(write, async |key, by| preferences.undo_map(key, by).await).await;
    assert_eq!(preferences.of_line_item("li").await.unwrap(), made[..1], "what another operation mapped stays");
    assert_eq!(preferences.map("after", vec![mapping(1), mapping(0)]).await.unwrap(), [mapping(1)]);
    assert_eq!(preferences.of_line_item("li").await.unwrap(), made);
}

async fn line_items_are_upserted_once_and_taken_back(stores: Stores) {
    let items = &stores.line_items;
    let before = items.upsert("before", created("old")).await.unwrap().remove(0);
    let write = async |key: &'static str| {
        let change = LineItemChange {
            line_item_id: "old".to_owned(),
            amounts: Some(amounts(20_000)),
            ..LineItemChange::default()
        };
        items.upsert(key, Upsert { updated: vec![change], ..created("new") }).await
    };
    is_made_once_and_taken_back(write, async |key, by| items.undo_upsert(key, by).await).await;
    assert_eq!(items.get("new").await.unwrap().unwrap().state, LineItemState::Cancelled);
    let mut now = items.get("old").await.unwrap().unwrap();
    assert_eq!(now.revision, 3, "changed and restored");
    now.revision = before.revision;
    assert_eq!(now, before, "exactly what was there");
}

async fn a_requirement_is_created_once_and_cancelled(stores: Stores) {
    let requirements = &stores.requirements;
    let write = async |key| requirements.create(key, requirement(key)).await;
    is_made_once_and_taken_back(write, async |key, by| requirements.undo_create(key, by).await).await;
    let all = requirements.of_context("ctx").await.unwrap();
    assert_eq!(all.iter().map(|one| one.state).collect::<Vec<_>>(), [RequirementState::Cancelled]);
}

async fn an_arrear_is_scheduled_once_and_cancelled(stores: Stores) {
    let arrears = &stores.arrears;
    let write = async |key| arrears.schedule(key, arrear("pcr")).await;
    is_made_once_and_taken_back(write, async |key, by| arrears.undo_schedule(key, by).await).await;
    assert_eq!(arrears.get("arr_step").await.unwrap().unwrap().state, ArrearState::Cancelled);
    assert!(arrears.open_of_user("user_123").await.unwrap().is_empty());
    let second = arrears.schedule("second", arrear("pcr")).await.unwrap();
    assert_eq!(arrears.open_of_user("user_123").await.unwrap(), [second]);
    let third = arrears.schedule("third", arrear("pcr")).await;
    assert!(matches!(third, Err(StoreError::Exists { .. })), "what one payment left is collected once");
    arrears.settle("settle", "arr_second").await.unwrap();
    let refused = arrears.undo_schedule("second", "second/undo").await;
    assert!(matches!(refused, Err(StoreError::Illegal { .. })), "collected money is not forgotten");
}

async fn a_settlement_is_scheduled_once_and_cancelled(stores: Stores) {
    let settlements = &stores.settlements;
    let write = async |key| settlements.schedule(key, settlement("co")).await;
    is_made_once_and_taken_back(write, async |key, by| settlements.undo_schedule(key, by).await).await;
    let second = settlements.schedule("second", settlement("co")).await.unwrap();
    let settled = settlements.settle("settle", &second.settlement_id).await.unwrap();
    assert_eq!(settled.state, SettlementState::Settled);
    assert_eq!(settlements.of_order("co").await.unwrap().len(), 2);
}

async fn a_refused_write_leaves_nothing_and_may_come_again(stores: Stores) {
    let groups = &stores.payment_groups;
    let id = groups.create("create", vec![group("ctx")]).await.unwrap().remove(0).payment_group_id;
    assert!(matches!(groups.complete("complete", &id).await, Err(StoreError::Illegal { .. })));
    groups.activate("activate", &id).await.unwrap();
    let completed = groups.complete("complete", &id).await.unwrap();
    assert_eq!(groups.complete("complete", &id).await.unwrap(), completed, "again under its key");
    assert!(matches!(groups.complete("other", &id).await, Err(StoreError::Illegal { .. })), "under another");
    let refused = groups.undo_create("create", "create/undo").await;
    assert!(matches!(refused, Err(StoreError::Illegal { .. })), "its money has been taken");
    assert!(matches!(groups.fail("none", "nobody").await, Err(StoreError::NotFound { .. })));
}

on_both! {
    an_execution_context_is_opened_once_and_rolled_back
    payment_groups_are_created_once_and_fail
    a_checkout_order_is_created_once_and_fails
    an_opt_in_is_created_once_and_cancelled
    an_opt_in_is_modified_once_and_restored
    preferences_are_created_once_and_cancelled
    preferences_are_mapped_once_and_only_that_is_taken_back
    line_items_are_upserted_once_and_taken_back
    a_requirement_is_created_once_and_cancelled
    an_arrear_is_scheduled_once_and_cancelled
    a_settlement_is_scheduled_once_and_cancelled
    a_refused_write_leaves_nothing_and_may_come_again
}
