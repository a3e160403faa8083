//! What the customer subscribes to: made with a new plan, changed when the checkout began at one.

use saga_core::{Compensation, Outcome, StepContext, step_fn};
use serde_json::json;

use super::key;
use crate::initiate::checkout::{InitiateServices, Initiation};
use crate::initiate::store::{NewOptIn, OptIn, OptInChange, OptInState, OptIns, StoreError};

/// The type of source contexts that are opt-ins.
const OPT_IN: &str = "OPT_IN";

/// The opt-ins that were made or changed, and are to be activated.
pub(crate) fn handle(s: &InitiateServices) -> impl Compensation<Input = Initiation, Output = Vec<OptIn>> + use<> {
    let (handles, undoes) = (s.stores.opt_ins.clone(), s.stores.opt_ins.clone());
    step_fn(move |cx: StepContext, begin: Initiation| {
        let opt_ins = handles.clone();
        async move {
            // One of several may have been refused when others are there.
            let handled = apply(&opt_ins, &cx, &begin).await;
            handled.map_err(|error| error.into_step_error().with_possible_effect())
        }
    })
    .compensate(move |cx: StepContext, begin: Initiation, _: Outcome<Vec<OptIn>>| {
        let opt_ins = undoes.clone();
        async move {
            let (step, own) = (cx.step_key(), cx.key());
            let undo = async {
                opt_ins.undo_modify(&key(&cx), &own.to_string()).await?;
                for nth in 0..begin.request.line_items.created.len() {
                    let (made, by) = (step.part(&nth.to_string()), own.part(&nth.to_string()));
                    opt_ins.undo_create(&made.to_string(), &by.to_string()).await?;
                }
                Ok::<_, StoreError>(())
            };
            undo.await.map_err(StoreError::into_step_error)
        }
    })
}

async fn apply(opt_ins: &OptIns, cx: &StepContext, begin: &Initiation) -> Result<Vec<OptIn>, StoreError> {
    let mut handled = Vec::new();
    let source = &begin.request.source_context;
    if source.kind == OPT_IN
        && let Some(known) = opt_ins.get(&source.id).await?
        && known.user_id == begin.request.user_id
        && known.state != OptInState::Cancelled
    {
        let preferences = json!({ "executionContextId": begin.execution_context_id });
        let change = OptInChange {
            opt_in_id: known.opt_in_id,
            plan_id: None,
            mandate_id: mandate(begin),
            preferences: Some(preferences),
        };
        handled.push(opt_ins.modify(&key(cx), change).await?);
    }
    for (nth, item) in begin.request.line_items.created.iter().enumerate() {
        let new = NewOptIn {
            execution_context_id: begin.execution_context_id.clone(),
            user_id: begin.request.user_id.clone(),
            plan_id: item.plan.plan_id.clone(),
            mandate_id: mandate(begin),
            preferences: json!({ "lineItemId": item.line_item_id }),
        };
        handled.push(opt_ins.create(&cx.step_key().part(&nth.to_string()).to_string(), new).await?);
    }
    Ok(handled)
}

/// The mandate that the customer pays by, if there is one.
fn mandate(begin: &Initiation) -> Option<String> {
    let mandate = begin.request.online_payment()?.mandate_info.as_ref()?;
    Some(mandate.preference.reference_id.clone())
}
