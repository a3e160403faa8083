//! The answer to the client: what was made, and how to pay for it.

use saga_core::{Step, StepContext, StepError, step_fn};

use super::payment::RequestedPayment;
use super::preferences::wishes;
use crate::initiate::checkout::Initiation;
use crate::initiate::schema::{InitiateCheckoutResponse, LineItemResult, LineItemResults, PaymentDetails, SdkParams};
use crate::initiate::store::{CheckoutOrder, Preference};
use crate::initiate::vendor::PaymentAnswer;

type Made = (Initiation, CheckoutOrder, Vec<Preference>, Option<RequestedPayment>);

pub(crate) fn respond() -> impl Step<Input = Made, Output = InitiateCheckoutResponse> {
    step_fn(async |_: StepContext, (begin, order, preferences, payment): Made| {
        let (created, updated) = line_items(&begin, &preferences);
        Ok(InitiateCheckoutResponse {
            checkout_order_id: order.checkout_order_id,
            line_items: LineItemResults { created, updated },
            source_context: begin.request.source_context.clone(),
            payment_details: payment.map(details).transpose()?,
            execution_context_id: Some(begin.execution_context_id),
        })
    })
}

fn details(payment: RequestedPayment) -> Result<PaymentDetails, StepError> {
    let PaymentAnswer::RequiresClientAction(action) = payment.answer else { return Ok(PaymentDetails::skipped()) };
    let mut params = SdkParams::new(action.vendor_code, action.vendor_transaction_id, payment.amount)?;
    params.redirect_url = action.redirect_url;
    params.client_auth_token = Some(action.client_auth_token);
    params.is_mandate_setup_order = payment.sets_up_mandate;
    Ok(PaymentDetails::via_sdk(params))
}

/// New and changed line items, with the preferences that were made for them.
pub(crate) fn line_items(begin: &Initiation, made: &[Preference]) -> (Vec<LineItemResult>, Vec<LineItemResult>) {
    let wishes = wishes(&begin.request);
    let result = |id: &String| LineItemResult {
        line_item_id: id.clone(),
        preference_id: wishes
            .iter()
            .position(|(line_item, _)| line_item == id)
            .and_then(|at| made.get(at))
            .map(|preference| preference.preference_id.clone()),
    };
    let items = &begin.request.line_items;
    let created = items.created.iter().map(|item| result(&item.line_item_id)).collect();
    (created, items.updated.iter().map(|item| result(&item.line_item_id)).collect())
}
