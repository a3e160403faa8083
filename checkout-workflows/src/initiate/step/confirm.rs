//! Past the point of no return: line items, opt-ins, payment groups and the order become what was bought.

use saga_core::{Step, StepContext, StepError, step_fn};

use super::part;
use super::payment::{Settled, later, note_received};
use crate::initiate::checkout::{InitiateServices, Initiation};
use crate::initiate::invoice::Invoice;
use crate::initiate::store::{
    CheckoutOrder, CheckoutOrderState, LineItem, LineItemState, NewSettlement, OptIn, OptInState, PaymentGroup,
    PaymentGroupState, StoreError,
};

type Bought = (Initiation, (Vec<PaymentGroup>, CheckoutOrder, Vec<OptIn>), (Vec<LineItem>, Settled));

/// Confirms all, and says which line items.
pub(crate) fn confirm(s: &InitiateServices) -> impl Step<Input = Bought, Output = Vec<String>> + use<> {
    let s = s.clone();
    step_fn(move |cx: StepContext, (begin, made, (items, settled)): Bought| {
        let s = s.clone();
        async move {
            // A payment that a probe found is not noted yet.
            if let Settled::Paid { requirement_id, captured } = &settled {
                let row = s.stores.requirements.get(requirement_id).await.map_err(StoreError::into_step_error)?;
                let row = row.ok_or_else(|| StepError::fatal(format!("{requirement_id} is gone")))?;
                note_received(&s, &cx, &row, captured).await?;
            }
            apply(&s, &cx, &made, &items, begin.request.is_cash()).await.map_err(StoreError::into_step_error)?;
            let changed = items.into_iter().map(|item| item.line_item_id);
            let kept = begin.request.line_items.existing.iter().map(|item| item.line_item_id.clone());
            Ok(changed.chain(kept).collect())
        }
    })
}

async fn apply(
    s: &InitiateServices,
    cx: &StepContext,
    (groups, order, opt_ins): &(Vec<PaymentGroup>, CheckoutOrder, Vec<OptIn>),
    items: &[LineItem],
    cash: bool,
) -> Result<(), StoreError> {
    let stores = &s.stores;
    let ids = items.iter().filter(|item| item.state != LineItemState::Confirmed).map(|item| item.line_item_id.clone());
    let ids: Vec<String> = ids.collect();
    if !ids.is_empty() {
        stores.line_items.confirm(&part(cx, "line-items"), ids).await?;
    }
    for opt_in in opt_ins.iter().filter(|opt_in| opt_in.state != OptInState::Active) {
        stores.opt_ins.activate(&part(cx, &opt_in.opt_in_id), &opt_in.opt_in_id).await?;
    }
    for group in groups {
        let id = &group.payment_group_id;
        if group.state == PaymentGroupState::Created {
            stores.payment_groups.activate(&part(cx, &format!("activate {id}")), id).await?;
        }
        // Cash is collected at the door.
        if !cash {
            stores.payment_groups.complete(&part(cx, &format!("complete {id}")), id).await?;
        }
    }
    if order.state != CheckoutOrderState::Completed {
        stores.checkout_orders.complete(&part(cx, "order"), &order.checkout_order_id).await?;
    }
    Ok(())
}

/// What is paid later is collected in the middle of the plan's tranche.
pub(crate) fn schedule_settlement(
    s: &InitiateServices,
) -> impl Step<Input = (CheckoutOrder, Invoice), Output = String> + use<> {
    let s = s.clone();
    step_fn(move |cx: StepContext, (order, invoice): (CheckoutOrder, Invoice)| {
        let s = s.clone();
        async move {
            let new = NewSettlement {
                checkout_order_id: order.checkout_order_id,
                tranche: 1,
                amount: invoice.payable,
                due_at: later(cx.now(), s.settlement_after),
            };
            let settlement = s.stores.settlements.schedule(&part(&cx, "settlement"), new).await;
            settlement.map(|settlement| settlement.settlement_id).map_err(StoreError::into_step_error)
        }
    })
}
