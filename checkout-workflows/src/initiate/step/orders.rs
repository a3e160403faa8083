//! Payment groups and the checkout order.

use saga_core::{Compensation, Outcome, StepContext, step_fn};

use super::{key, part};
use crate::initiate::checkout::{InitiateServices, Initiation};
use crate::initiate::invoice::Invoice;
use crate::initiate::store::{CheckoutOrder, NewCheckoutOrder, NewPaymentGroup, PaymentGroup, StoreError};

/// What is paid together: here, all of one checkout.
pub(crate) fn payment_groups(
    s: &InitiateServices,
) -> impl Compensation<Input = Initiation, Output = Vec<PaymentGroup>> + use<> {
    let (creates, undoes) = (s.stores.clone(), s.stores.payment_groups.clone());
    step_fn(move |cx: StepContext, begin: Initiation| {
        let stores = creates.clone();
        async move {
            let context = begin.execution_context_id;
            let group = NewPaymentGroup {
                execution_context_id: context.clone(),
                user_id: begin.request.user_id.clone(),
                line_item_ids: begin.request.line_items.ids().map(str::to_owned).collect(),
            };
            let made = stores.payment_groups.create(&key(&cx), vec![group]).await;
            let made = made.map_err(StoreError::into_step_error)?;
            let ids = made.iter().map(|group| group.payment_group_id.clone()).collect();
            let referred = stores.execution_contexts.refer(&part(&cx, "refer"), &context, ids).await;
            referred.map(|()| made).map_err(StoreError::into_step_error)
        }
    })
    .compensate(move |cx: StepContext, _: Initiation, _: Outcome<Vec<PaymentGroup>>| {
        let groups = undoes.clone();
        async move {
            let undone = groups.undo_create(&key(&cx), &cx.key().to_string()).await;
            undone.map(drop).map_err(StoreError::into_step_error)
        }
    })
}

pub(crate) fn create(
    s: &InitiateServices,
) -> impl Compensation<Input = (Initiation, Invoice), Output = CheckoutOrder> + use<> {
    let (creates, undoes) = (s.stores.checkout_orders.clone(), s.stores.checkout_orders.clone());
    step_fn(move |cx: StepContext, (begin, invoice): (Initiation, Invoice)| {
        let orders = creates.clone();
        async move {
            let new = NewCheckoutOrder {
                execution_context_id: begin.execution_context_id,
                user_id: begin.request.user_id,
                total: invoice.payable,
            };
            orders.create(&key(&cx), new).await.map_err(StoreError::into_step_error)
        }
    })
    .compensate(move |cx: StepContext, _: (Initiation, Invoice), _: Outcome<CheckoutOrder>| {
        let orders = undoes.clone();
        async move {
            let undone = orders.undo_create(&key(&cx), &cx.key().to_string()).await;
            undone.map(drop).map_err(StoreError::into_step_error)
        }
    })
}
