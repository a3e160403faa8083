//! Line items and opt-ins are restored to exactly what was there.

use checkout_workflows::initiate::store::{
    Compensation, LineItem, LineItemChange, LineItemState, Location, OptInChange, StoreError, Stores, Upsert,
};

use crate::world::{amounts, created, line_item, on_both, opt_in};

fn change(id: &str) -> LineItemChange {
    LineItemChange { line_item_id: id.to_owned(), ..LineItemChange::default() }
}

fn updated(change: LineItemChange) -> Upsert {
    Upsert { created: Vec::new(), updated: vec![change] }
}

/// The contents: all but the revision, which only grows.
fn contents(item: LineItem) -> LineItem {
    LineItem { revision: 0, ..item }
}

async fn two_changes_are_taken_back_one_after_the_other(stores: Stores) {
    let items = &stores.line_items;
    items.upsert("create", created("li")).await.unwrap();
    let first = items.confirm("confirm", vec!["li".to_owned()]).await.unwrap().remove(0);
    let tip = LineItemChange { amounts: Some(amounts(20_000)), ..change("li") };
    let second = items.upsert("step-5", updated(tip)).await.unwrap().remove(0);
    assert_eq!((second.state, second.amounts.payable().minor()), (LineItemState::Updated, 179_900));
    let paid = LineItemChange {
        requirement_id: Some("pcr".to_owned()),
        location: Some(Location::Sealed("c2VhbGVk".to_owned())),
        ..change("li")
    };
    let third = items.upsert("step-6", updated(paid)).await.unwrap().remove(0);
    assert_eq!(items.get("li").await.unwrap(), Some(third));

    let too_early = items.undo_upsert("step-5", "undo-5").await;
    assert!(matches!(too_early, Err(StoreError::Changed { written_by, .. }) if written_by == "step-6"));
    items.undo_upsert("step-6", "undo-6").await.unwrap();
    assert_eq!(contents(items.get("li").await.unwrap().unwrap()), contents(second));
    items.undo_upsert("step-5", "undo-5").await.unwrap();
    assert_eq!(contents(items.get("li").await.unwrap().unwrap()), contents(first), "confirmed, as it was");
    assert_eq!(items.undo_upsert("step-6", "undo-6").await.unwrap(), Compensation::TakenBack, "and only once");
    assert_eq!(items.get("li").await.unwrap().unwrap().state, LineItemState::Confirmed);
}

async fn one_write_that_changes_a_line_item_twice_is_taken_back_whole(stores: Stores) {
    let items = &stores.line_items;
    let before = items.upsert("create", created("li")).await.unwrap().remove(0);
    let tips = [10_000, 20_000].map(|tip| LineItemChange { amounts: Some(amounts(tip)), ..change("li") });
    let new = LineItemChange { requirement_id: Some("pcr".to_owned()), ..change("new") };
    let updated = tips.into_iter().chain([new]).collect();
    let answer = items.upsert("step", Upsert { created: vec![line_item("new")], updated }).await.unwrap();
    assert_eq!(answer.len(), 4);
    assert_eq!(items.get("li").await.unwrap().unwrap().amounts.tip().minor(), 20_000);
    items.undo_upsert("step", "undo").await.unwrap();
    assert_eq!(contents(items.get("li").await.unwrap().unwrap()), contents(before));
    assert_eq!(items.get("new").await.unwrap().unwrap().state, LineItemState::Cancelled);
}

async fn a_cancellation_in_the_meantime_wins(stores: Stores) {
    let items = &stores.line_items;
    items.upsert("create", created("li")).await.unwrap();
    items.upsert("step", updated(change("li"))).await.unwrap();
    items.cancel("customer", vec!["li".to_owned()]).await.unwrap();
    assert_eq!(items.undo_upsert("step", "undo").await.unwrap(), Compensation::TakenBack);
    assert_eq!(items.undo_upsert("create", "undo-create").await.unwrap(), Compensation::TakenBack);
    assert_eq!(items.get("li").await.unwrap().unwrap().state, LineItemState::Cancelled);
    let late = items.confirm("late", vec!["li".to_owned()]).await;
    assert!(matches!(late, Err(StoreError::Illegal { .. })), "cancelled after pricing");
}

async fn what_is_upserted_together_is_written_together(stores: Stores) {
    let items = &stores.line_items;
    items.upsert("create", created("taken")).await.unwrap();
    let both = Upsert { created: vec![line_item("new"), line_item("taken")], updated: Vec::new() };
    assert!(matches!(items.upsert("both", both).await, Err(StoreError::Exists { .. })));
    assert_eq!(items.get("new").await.unwrap(), None);
    let missing = Upsert { created: vec![line_item("new")], updated: vec![change("nobody")] };
    assert!(matches!(items.upsert("missing", missing).await, Err(StoreError::NotFound { .. })));
    assert_eq!(items.of_context("ctx").await.unwrap().len(), 1);
}

async fn an_opt_in_that_somebody_else_changed_is_not_overwritten(stores: Stores) {
    let opt_ins = &stores.opt_ins;
    let id = opt_ins.create("create", opt_in()).await.unwrap().opt_in_id;
    let to =
        |plan: &str| OptInChange { opt_in_id: id.clone(), plan_id: Some(plan.to_owned()), ..OptInChange::default() };
    opt_ins.modify("step", to("a")).await.unwrap();
    opt_ins.modify("other", to("b")).await.unwrap();
    assert!(matches!(opt_ins.undo_modify("step", "undo").await, Err(StoreError::Changed { .. })));
    assert_eq!(opt_ins.get(&id).await.unwrap().unwrap().plan_id, "b");
    opt_ins.undo_modify("other", "undo-other").await.unwrap();
    opt_ins.undo_modify("step", "undo").await.unwrap();
    assert_eq!(opt_ins.get(&id).await.unwrap().unwrap().plan_id, "plan_789");
}

on_both! {
    two_changes_are_taken_back_one_after_the_other
    one_write_that_changes_a_line_item_twice_is_taken_back_whole
    a_cancellation_in_the_meantime_wins
    what_is_upserted_together_is_written_together
    an_opt_in_that_somebody_else_changed_is_not_overwritten
}

#[test]
fn personal_data_stay_out_of_debug_output() {
    let item = line_item("li");
    assert!(!format!("{item:?}").contains("Main St"));
}
