//! Payments: once, in time or late, and never dropped.

use checkout_workflows::initiate::store::{
    NewArrear, NewCheckoutOrder, NewRequirement, NewSettlement, Receipt, RequirementState, StoreError, Stores,
};

use crate::world::{arrear, at, inr, on_both, order, requirement, settlement};

async fn a_payment_is_recorded_once_however_often_it_is_told(stores: Stores) {
    let requirements = &stores.requirements;
    let id = requirements.create("create", requirement("ref")).await.unwrap().requirement_id;
    requirements.note_vendor("ask", &id, "razorpay", "txn").await.unwrap();
    let receipt = requirements.succeed("webhook-1", &id, "txn", at(5)).await.unwrap();
    let Receipt::InTime(paid) = receipt.clone() else { panic!("{receipt:?}") };
    assert_eq!((paid.state, paid.paid_at), (RequirementState::Succeeded, Some(at(5))));
    assert_eq!(requirements.succeed("webhook-1", &id, "txn", at(6)).await.unwrap(), receipt);
    assert_eq!(requirements.succeed("webhook-2", &id, "txn", at(7)).await.unwrap(), Receipt::Repeated(paid.clone()));
    let twice = requirements.succeed("webhook-3", &id, "another", at(8)).await;
    assert!(matches!(twice, Err(StoreError::Exists { .. })), "a second payment is not swallowed");
    assert_eq!(requirements.by_merchant_reference("ref").await.unwrap(), Some(paid.clone()));
    assert_eq!(requirements.by_vendor_transaction("txn").await.unwrap(), Some(paid));
    let failed = requirements.fail("webhook-4", &id, "out of order").await;
    assert!(matches!(failed, Err(StoreError::Illegal { .. })));
}

async fn what_is_paid_is_refunded_before_it_is_taken_back(stores: Stores) {
    let requirements = &stores.requirements;
    let id = requirements.create("create", requirement("ref")).await.unwrap().requirement_id;
    assert!(matches!(requirements.refund("nothing", &id).await, Err(StoreError::NotPaid { .. })));
    requirements.succeed("webhook", &id, "txn", at(5)).await.unwrap();
    assert!(matches!(requirements.undo_create("create", "undo").await, Err(StoreError::Illegal { .. })));
    let refunded = requirements.refund("refund", &id).await.unwrap();
    assert_eq!(requirements.refund("refund", &id).await.unwrap(), refunded);
    assert!(matches!(requirements.refund("twice", &id).await, Err(StoreError::Illegal { .. })));
    requirements.undo_create("create", "undo").await.unwrap();
    assert_eq!(requirements.get(&id).await.unwrap().unwrap().state, RequirementState::Refunded);
}

async fn a_payment_that_comes_late_is_recorded_and_refunded(stores: Stores) {
    let requirements = &stores.requirements;
    let cancelled = requirements.create("a", requirement("a")).await.unwrap().requirement_id;
    requirements.undo_create("a", "a/undo").await.unwrap();
    let failed = requirements.create("b", requirement("b")).await.unwrap().requirement_id;
    let told = requirements.fail("b/failed", &failed, "insufficient funds").await.unwrap();
    assert_eq!(told.failure.as_deref(), Some("insufficient funds"));
    for (id, state) in [(cancelled, RequirementState::Cancelled), (failed, RequirementState::Failed)] {
        let receipt = requirements.succeed(&format!("webhook {id}"), &id, &format!("txn {id}"), at(9)).await.unwrap();
        let Receipt::Late(late) = receipt else { panic!("{receipt:?}") };
        assert_eq!((late.state, late.paid_at), (state, Some(at(9))));
        let refunded = requirements.refund(&format!("refund {id}"), &id).await.unwrap();
        assert_eq!((refunded.state, refunded.paid_at), (RequirementState::Refunded, Some(at(9))));
    }
}

async fn nothing_is_not_collected(stores: Stores) {
    for minor in [0, -1] {
        let new = NewRequirement { amount: inr(minor), ..requirement("ref") };
        assert!(matches!(stores.requirements.create("key", new).await, Err(StoreError::BadAmount { .. })));
        let new = NewArrear { amount: inr(minor), ..arrear("pcr") };
        assert!(matches!(stores.arrears.schedule("key", new).await, Err(StoreError::BadAmount { .. })));
        let new = NewSettlement { amount: inr(minor), ..settlement("co") };
        assert!(matches!(stores.settlements.schedule("key", new).await, Err(StoreError::BadAmount { .. })));
    }
    let free = NewCheckoutOrder { total: inr(0), ..order("ctx") };
    assert!(stores.checkout_orders.create("free", free).await.is_ok(), "a renewal may cost nothing");
    assert!(stores.requirements.of_context("ctx").await.unwrap().is_empty());
}

on_both! {
    a_payment_is_recorded_once_however_often_it_is_told
    what_is_paid_is_refunded_before_it_is_taken_back
    a_payment_that_comes_late_is_recorded_and_refunded
    nothing_is_not_collected
}
