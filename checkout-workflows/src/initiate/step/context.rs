//! The execution context: opened first, and so rolled back last; completed at the end.

use saga_core::{Compensation, Outcome, Step, StepContext, step_fn};

use super::{key, part};
use crate::initiate::checkout::{InitiateServices, Initiation};
use crate::initiate::classify::{ErrorCode, ServiceError};
use crate::initiate::schema::InitiateCheckoutResponse;
use crate::initiate::store::{NewExecutionContext, Opened, StoreError};

const TASK: &str = "INITIATE_CHECKOUT";

pub(crate) fn open(s: &InitiateServices) -> impl Compensation<Input = Initiation, Output = ()> + use<> {
    let (opens, undoes) = (s.clone(), s.clone());
    step_fn(move |cx: StepContext, begin: Initiation| {
        let s = opens.clone();
        async move {
            let new = NewExecutionContext {
                execution_context_id: begin.execution_context_id.clone(),
                task_name: TASK.to_owned(),
                request: serde_json::to_string(&begin.request)?,
                request_digest: begin.request_digest,
                // The payment groups, once they are made.
                reference_ids: Vec::new(),
                at: cx.now().to_utc(),
            };
            match s.stores.execution_contexts.open(&key(&cx), new).await.map_err(StoreError::into_step_error)? {
                Opened::New(_) => Ok(()),
                // Of a saga that the journal has forgotten: it must not be done once more.
                Opened::Known(known) => {
                    let id = known.execution_context_id;
                    Err(ServiceError::new(ErrorCode::IdempotencyConflict, format!("{id} was used before")).into())
                }
            }
        }
    })
    .compensate(move |cx: StepContext, begin: Initiation, _: Outcome<()>| {
        let s = undoes.clone();
        async move {
            let id = &begin.execution_context_id;
            let undone =
                s.stores.execution_contexts.undo_open(&key(&cx), &cx.key().to_string(), id, cx.now().to_utc()).await;
            undone.map(drop).map_err(StoreError::into_step_error)
        }
    })
}

pub(crate) fn complete(
    s: &InitiateServices,
) -> impl Step<Input = (Initiation, InitiateCheckoutResponse), Output = InitiateCheckoutResponse> + use<> {
    let s = s.clone();
    step_fn(move |cx: StepContext, (begin, response): (Initiation, InitiateCheckoutResponse)| {
        let s = s.clone();
        async move {
            // The client's token for the vendor is nothing to keep.
            let kept = response.clone().without_client_secret();
            // Without the flag, only the journal answers again, for as long as it keeps the saga.
            let kept = begin.flags.execution_context_persistence.then_some(kept);
            let text = serde_json::to_string(&kept)?;
            let (key, id) = (part(&cx, "complete"), &begin.execution_context_id);
            let completed = s.stores.execution_contexts.complete(&key, id, text, cx.now().to_utc()).await;
            completed.map_err(StoreError::into_step_error)?;
            Ok(response)
        }
    })
}
