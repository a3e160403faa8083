//! The state machines, all pairs: what is not allowed is refused, by the function and by the store.

use std::fmt::Debug;

use checkout_workflows::initiate::store::{
    ArrearEvent, ArrearState, CheckoutOrderEvent, CheckoutOrderState, ExecutionEvent, ExecutionStatus,
    IllegalTransition, LineItemChange, LineItemEvent, LineItemState, OptInChange, OptInEvent, OptInState,
    PaymentGroupEvent, PaymentGroupState, PreferenceEvent, PreferenceState, RequirementEvent, RequirementState,
    SettlementEvent, SettlementState, StoreError, Stores, Upsert,
};

use crate::world::{created, group, on_both, opt_in, order};

fn table<S: Copy + PartialEq + Debug, E: Copy + PartialEq + Debug>(
    states: &[S],
    events: &[E],
    next: fn(S, E) -> Result<S, IllegalTransition>,
    legal: &[(S, E, S)],
) {
    for &state in states {
        for &event in events {
            let wanted = legal.iter().find(|(from, by, _)| (*from, *by) == (state, event)).map(|(_, _, to)| *to);
            assert_eq!(next(state, event).ok(), wanted, "{state:?} {event:?}");
        }
    }
}

#[test]
fn a_line_item_goes_only_where_it_may() {
    use LineItemEvent::{Cancel, Confirm, Update};
    use LineItemState::{Cancelled, Confirmed, Created, Updated};
    let legal = [
        (Created, Update, Updated),
        (Created, Confirm, Confirmed),
        (Created, Cancel, Cancelled),
        (Updated, Update, Updated),
        (Updated, Confirm, Confirmed),
        (Updated, Cancel, Cancelled),
        (Confirmed, Update, Updated),
        (Confirmed, Cancel, Cancelled),
    ];
    table(LineItemState::ALL, LineItemEvent::ALL, LineItemState::next, &legal);
    let refused = LineItemState::Cancelled.next(LineItemEvent::Confirm).unwrap_err();
    assert_eq!(refused.to_string(), "a line item that is CANCELLED cannot confirm");
}

#[test]
fn a_payment_group_goes_only_where_it_may() {
    use PaymentGroupEvent::{Activate, Complete, Fail};
    use PaymentGroupState::{Active, Completed, Created, Failed};
    let legal =
        [(Created, Activate, Active), (Created, Fail, Failed), (Active, Complete, Completed), (Active, Fail, Failed)];
    table(PaymentGroupState::ALL, PaymentGroupEvent::ALL, PaymentGroupState::next, &legal);
}

#[test]
fn a_checkout_order_goes_only_where_it_may() {
    use CheckoutOrderEvent::{Complete, Fail, Process};
    use CheckoutOrderState::{Completed, Created, Failed, Processing};
    let legal = [
        (Created, Process, Processing),
        (Created, Complete, Completed),
        (Created, Fail, Failed),
        (Processing, Complete, Completed),
        (Processing, Fail, Failed),
    ];
    table(CheckoutOrderState::ALL, CheckoutOrderEvent::ALL, CheckoutOrderState::next, &legal);
}

#[test]
fn an_opt_in_goes_only_where_it_may() {
    use OptInEvent::{Activate, Cancel, Modify, Suspend};
    use OptInState::{Active, Cancelled, Created, Suspended};
    let legal = [
        (Created, Activate, Active),
        (Created, Modify, Created),
        (Created, Cancel, Cancelled),
        (Active, Suspend, Suspended),
        (Active, Modify, Active),
        (Active, Cancel, Cancelled),
        (Suspended, Activate, Active),
        (Suspended, Modify, Suspended),
        (Suspended, Cancel, Cancelled),
    ];
    table(OptInState::ALL, OptInEvent::ALL, OptInState::next, &legal);
}

#[test]
fn a_requirement_goes_only_where_it_may() {
    use RequirementEvent::{Cancel, Fail, Refund, Succeed};
    use RequirementState::{Cancelled, Failed, Pending, Refunded, Succeeded};
    let legal = [
        (Pending, Succeed, Succeeded),
        (Pending, Fail, Failed),
        (Pending, Cancel, Cancelled),
        (Succeeded, Refund, Refunded),
        (Failed, Refund, Refunded),
        (Cancelled, Refund, Refunded),
    ];
    table(RequirementState::ALL, RequirementEvent::ALL, RequirementState::next, &legal);
}

#[test]
fn all_else_goes_only_where_it_may() {
    let (open, complete, back) = (ExecutionStatus::Initialized, ExecutionEvent::Complete, ExecutionEvent::RollBack);
    let legal = [(open, complete, ExecutionStatus::Completed), (open, back, ExecutionStatus::RolledBack)];
    table(ExecutionStatus::ALL, ExecutionEvent::ALL, ExecutionStatus::next, &legal);

    let kept = PreferenceState::Created;
    let legal = [(kept, PreferenceEvent::Map, kept), (kept, PreferenceEvent::Cancel, PreferenceState::Cancelled)];
    table(PreferenceState::ALL, PreferenceEvent::ALL, PreferenceState::next, &legal);

    let due = ArrearState::Scheduled;
    let legal = [(due, ArrearEvent::Settle, ArrearState::Settled), (due, ArrearEvent::Cancel, ArrearState::Cancelled)];
    table(ArrearState::ALL, ArrearEvent::ALL, ArrearState::next, &legal);

    let due = SettlementState::Scheduled;
    let legal = [
        (due, SettlementEvent::Settle, SettlementState::Settled),
        (due, SettlementEvent::Cancel, SettlementState::Cancelled),
    ];
    table(SettlementState::ALL, SettlementEvent::ALL, SettlementState::next, &legal);
}

/// What the store did must be what the function says.
fn agree<S: PartialEq + Debug>(stored: Result<S, StoreError>, function: Result<S, IllegalTransition>) {
    match (stored, function) {
        (Ok(stored), Ok(next)) => assert_eq!(stored, next),
        (Err(StoreError::Illegal { transition, .. }), Err(refused)) => assert_eq!(transition, refused),
        (stored, function) => panic!("{stored:?}, and not {function:?}"),
    }
}

async fn the_store_of_payment_groups_refuses_what_the_function_refuses(stores: Stores) {
    let groups = &stores.payment_groups;
    for &state in PaymentGroupState::ALL {
        for &event in PaymentGroupEvent::ALL {
            let key = format!("{state:?}{event:?}");
            let id = groups.create(&key, vec![group(&key)]).await.unwrap().remove(0).payment_group_id;
            let force = "UPDATE payment_groups SET state = $1 WHERE payment_group_id = $2";
            sqlx::query(force).bind(state.as_str()).bind(id.clone()).execute(stores.pool()).await.unwrap();
            let stored = match event {
                PaymentGroupEvent::Activate => groups.activate(&key, &id).await,
                PaymentGroupEvent::Complete => groups.complete(&key, &id).await,
                PaymentGroupEvent::Fail => groups.fail(&key, &id).await,
            };
            agree(stored.map(|group| group.state), state.next(event));
        }
    }
}

async fn the_store_of_checkout_orders_refuses_what_the_function_refuses(stores: Stores) {
    let orders = &stores.checkout_orders;
    for &state in CheckoutOrderState::ALL {
        for &event in CheckoutOrderEvent::ALL {
            let key = format!("{state:?}{event:?}");
            let id = orders.create(&key, order(&key)).await.unwrap().checkout_order_id;
            let force = "UPDATE checkout_orders SET state = $1 WHERE checkout_order_id = $2";
            sqlx::query(force).bind(state.as_str()).bind(id.clone()).execute(stores.pool()).await.unwrap();
            let stored = match event {
                CheckoutOrderEvent::Process => orders.process(&key, &id).await,
                CheckoutOrderEvent::Complete => orders.complete(&key, &id).await,
                CheckoutOrderEvent::Fail => orders.fail(&key, &id).await,
            };
            agree(stored.map(|order| order.state), state.next(event));
        }
    }
}

async fn the_store_of_opt_ins_refuses_what_the_function_refuses(stores: Stores) {
    let opt_ins = &stores.opt_ins;
    for &state in OptInState::ALL {
        for &event in OptInEvent::ALL {
            let key = format!("{state:?}{event:?}");
            let id = opt_ins.create(&key, opt_in()).await.unwrap().opt_in_id;
            let force = "UPDATE opt_ins SET state = $1 WHERE opt_in_id = $2";
            sqlx::query(force).bind(state.as_str()).bind(id.clone()).execute(stores.pool()).await.unwrap();
            let stored = match event {
                OptInEvent::Activate => opt_ins.activate(&key, &id).await,
                OptInEvent::Modify => {
                    let change = OptInChange { opt_in_id: id, ..OptInChange::default() };
                    opt_ins.modify(&key, change).await
                }
                OptInEvent::Suspend => opt_ins.suspend(&key, &id).await,
                OptInEvent::Cancel => opt_ins.cancel(&key, &id).await,
            };
            agree(stored.map(|opt_in| opt_in.state), state.next(event));
        }
    }
}

async fn the_store_of_line_items_refuses_what_the_function_refuses(stores: Stores) {
    let items = &stores.line_items;
    for &state in LineItemState::ALL {
        for &event in LineItemEvent::ALL {
            let key = format!("{state:?}{event:?}");
            items.upsert(&key, created(&key)).await.unwrap();
            let force = "UPDATE line_items SET state = $1 WHERE line_item_id = $2";
            sqlx::query(force).bind(state.as_str()).bind(key.clone()).execute(stores.pool()).await.unwrap();
            let then = format!("{key} then");
            let stored = match event {
                LineItemEvent::Update => {
                    let change = LineItemChange { line_item_id: key, ..LineItemChange::default() };
                    items.upsert(&then, Upsert { created: Vec::new(), updated: vec![change] }).await
                }
                LineItemEvent::Confirm => items.confirm(&then, vec![key]).await,
                LineItemEvent::Cancel => items.cancel(&then, vec![key]).await,
            };
            agree(stored.map(|mut items| items.remove(0).state), state.next(event));
        }
    }
}

on_both! {
    the_store_of_payment_groups_refuses_what_the_function_refuses
    the_store_of_checkout_orders_refuses_what_the_function_refuses
    the_store_of_opt_ins_refuses_what_the_function_refuses
    the_store_of_line_items_refuses_what_the_function_refuses
}
