//! Line items: written with their prices, and later with the payment that is to come for them.

use saga_core::{Compensation, Outcome, StepContext, StepError, step_fn};

use super::payment::RequestedPayment;
use super::{key, location};
use crate::initiate::checkout::{InitiateServices, Initiation};
use crate::initiate::invoice::Invoice;
use crate::initiate::store::{LineItem, LineItemChange, LineItemState, NewLineItem, PaymentGroup, StoreError, Upsert};

type Priced = (Initiation, Invoice, Vec<PaymentGroup>);

pub(crate) fn upsert(s: &InitiateServices) -> impl Compensation<Input = Priced, Output = Vec<LineItem>> + use<> {
    let (writes, undoes) = (s.clone(), s.stores.line_items.clone());
    step_fn(move |cx: StepContext, (begin, invoice, groups): Priced| {
        let s = writes.clone();
        async move {
            let group = groups.first().map(|group| group.payment_group_id.clone());
            let upsert = rows(&s, &begin, &invoice, group.as_deref())?;
            s.stores.line_items.upsert(&key(&cx), upsert).await.map_err(StoreError::into_step_error)
        }
    })
    .compensate(move |cx: StepContext, _: Priced, _: Outcome<Vec<LineItem>>| {
        let items = undoes.clone();
        async move {
            let undone = items.undo_upsert(&key(&cx), &cx.key().to_string()).await;
            undone.map(drop).map_err(StoreError::into_step_error)
        }
    })
}

fn rows(s: &InitiateServices, begin: &Initiation, invoice: &Invoice, group: Option<&str>) -> Result<Upsert, StepError> {
    let mut upsert = Upsert { created: Vec::new(), updated: Vec::new() };
    let request = begin.opened(&s.pii)?;
    for item in &request.line_items.created {
        let id = &item.line_item_id;
        let amounts = invoice.amounts.get(id).ok_or_else(|| StepError::rejected(format!("{id} has no price")))?;
        let wishes = item.initial_post_selling_preferences.as_ref();
        let place = wishes.and_then(|wishes| wishes.location.as_ref());
        upsert.created.push(NewLineItem {
            line_item_id: id.clone(),
            execution_context_id: begin.execution_context_id.clone(),
            user_id: begin.request.user_id.clone(),
            payment_group_id: group.map(str::to_owned),
            plan_id: item.plan.plan_id.clone(),
            slot_id: wishes.and_then(|wishes| wishes.slot.as_ref()).map(|slot| slot.slot_id.clone()),
            location: location(s, begin, "line_items", id, place)?,
            amounts: *amounts,
        });
    }
    for item in &request.line_items.updated {
        let id = &item.line_item_id;
        upsert.updated.push(LineItemChange {
            line_item_id: id.clone(),
            payment_group_id: group.map(str::to_owned),
            plan_id: None,
            slot_id: item.preferences.slot.as_ref().map(|slot| slot.slot_id.clone()),
            location: location(s, begin, "line_items", id, item.preferences.location.as_ref())?,
            amounts: invoice.amounts.get(id).copied(),
            requirement_id: None,
        });
    }
    Ok(upsert)
}

type Paid = (Vec<LineItem>, Option<RequestedPayment>);

/// The payment that is to come is noted on each line item; a line item that was cancelled meanwhile refuses
/// that, and the checkout turns back.
pub(crate) fn hydrate_payment(s: &InitiateServices) -> impl Compensation<Input = Paid, Output = Vec<LineItem>> + use<> {
    let (writes, undoes) = (s.stores.line_items.clone(), s.stores.line_items.clone());
    step_fn(move |cx: StepContext, (items, payment): Paid| {
        let store = writes.clone();
        async move {
            let change = |item: LineItem| LineItemChange {
                line_item_id: item.line_item_id,
                payment_group_id: None,
                plan_id: None,
                slot_id: None,
                location: None,
                amounts: None,
                requirement_id: payment.as_ref().map(|payment| payment.requirement_id.clone()),
            };
            let live = items.into_iter().filter(|item| item.state != LineItemState::Cancelled);
            let upsert = Upsert { created: Vec::new(), updated: live.map(change).collect() };
            store.upsert(&key(&cx), upsert).await.map_err(StoreError::into_step_error)
        }
    })
    .compensate(move |cx: StepContext, _: Paid, _: Outcome<Vec<LineItem>>| {
        let items = undoes.clone();
        async move {
            let undone = items.undo_upsert(&key(&cx), &cx.key().to_string()).await;
            undone.map(drop).map_err(StoreError::into_step_error)
        }
    })
}
