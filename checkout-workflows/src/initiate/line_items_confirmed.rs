//! The consumed event `line_items_confirmed`: the repeat program is told of what is confirmed, by a saga of its
//! own. Its start key is the event's idempotency key, so an event that comes twice does nothing the second time.

use async_trait::async_trait;
use saga_core::{BuildError, Definition, Digest, Step, StepContext, StepError};
use serde::{Deserialize, Serialize};

use super::checkout::InitiateServices;
use super::classify::{ErrorCode, ServiceError};
use super::policy::Service;
use super::repeat_program::{RepeatProgramAnswer, RepeatProgramRequest, RepeatedLineItem};
use super::schema::{Envelope, EventName, LineItemsConfirmed};
use super::store::{LineItemState, StoreError};
use crate::correlation::correlated;

/// The definition's name.
pub const NAME: &str = "checkout-line-items-confirmed";
/// Its one step.
pub const STEP: &str = "initiate-repeat-program";
/// As long as the journal's keys.
const KEY_BYTES_MAX: usize = 255;

/// What was delivered, and is proven to come from the bus.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Delivered {
    /// The event.
    Event(Box<Envelope<LineItemsConfirmed>>),
    /// What cannot be read, or contradicts what came before under its key: it would never get better, so it is
    /// kept for a human rather than asked for again.
    Poison {
        /// As it came.
        body: String,
        /// What is wrong with it.
        error: String,
    },
}

/// What a delivery is, before anything is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Sorted {
    /// To be kept under this key.
    Keep(String, Delivered),
    /// Of another event: nothing to do.
    Other,
}

impl Delivered {
    /// Reads what was delivered.
    pub(super) fn sort(raw: &[u8]) -> Sorted {
        #[derive(Deserialize)]
        struct Named {
            event: String,
        }
        let named = serde_json::from_slice::<Named>(raw);
        if named.is_ok_and(|named| named.event != EventName::LineItemsConfirmed.as_str()) {
            return Sorted::Other;
        }
        let event: Envelope<LineItemsConfirmed> = match serde_json::from_slice(raw) {
            Ok(event) => event,
            Err(error) => {
                let at = format!("it cannot be read, at line {}, column {}", error.line(), error.column());
                return Self::poison(raw, at);
            }
        };
        let key = &event.headers.idempotency_key;
        if key.is_empty() || key.len() > KEY_BYTES_MAX || key.chars().any(char::is_control) {
            return Self::poison(raw, format!("its idempotencyKey has not 1 to {KEY_BYTES_MAX} plain characters"));
        }
        if event.payload.line_item_ids.is_empty() {
            return Self::poison(raw, "it confirms nothing".to_owned());
        }
        Sorted::Keep(key.clone(), Self::Event(Box::new(event)))
    }

    /// What is kept for a human, once for the same bytes.
    pub(super) fn poison(raw: &[u8], error: String) -> Sorted {
        let body = String::from_utf8_lossy(raw).into_owned();
        Sorted::Keep(format!("poison:{}", Digest::of_text(&body)), Self::Poison { body, error })
    }
}

/// What became of an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Confirmed {
    /// The repeat program knows.
    Told(RepeatProgramAnswer),
    /// All line items were cancelled meanwhile: there is nothing to repeat.
    Nothing,
}

/// What sees to confirmed line items.
///
/// # Errors
/// Never, unless the step below breaks a rule of sagas.
pub fn line_items_confirmed(s: &InitiateServices) -> Result<Definition<Delivered, Confirmed>, BuildError> {
    Definition::build(NAME, 1, |saga, delivered| {
        let told = saga.retryable(STEP, InitiateRepeatProgram { s: s.clone() }, delivered);
        let told = told.calls(Service::Other.name()).timeout(s.policies.of(Service::Other).timeout());
        saga.returns(told.retry(s.patience.clone()))
    })
}

struct InitiateRepeatProgram {
    s: InitiateServices,
}

#[async_trait]
impl Step for InitiateRepeatProgram {
    type Input = Delivered;
    type Output = Confirmed;

    async fn run(&self, cx: &StepContext, delivered: Delivered) -> Result<Confirmed, StepError> {
        let event = match delivered {
            Delivered::Event(event) => event,
            Delivered::Poison { error, .. } => {
                return Err(ServiceError::new(ErrorCode::MalformedRequest, error).into());
            }
        };
        let line_items = self.confirmed(&event.payload).await?;
        if line_items.is_empty() {
            return Ok(Confirmed::Nothing);
        }
        let Envelope { headers, payload, .. } = *event;
        let request = RepeatProgramRequest {
            event_key: headers.idempotency_key,
            execution_context_id: payload.execution_context_id,
            checkout_order_id: payload.checkout_order_id,
            user_id: payload.user_id,
            tenant: headers.tenant,
            city: headers.city,
            line_items,
        };
        let call = self.s.repeat_program.initiate_repeat_program(cx.key(), &request);
        Ok(Confirmed::Told(correlated(&request.execution_context_id, call).await?))
    }
}

impl InitiateRepeatProgram {
    /// Those that stand. An event may overtake what it tells of: then it is looked at again later.
    async fn confirmed(&self, event: &LineItemsConfirmed) -> Result<Vec<RepeatedLineItem>, StepError> {
        let not_yet = |id: &str| {
            let text = format_args!("the line item {id} is not confirmed here yet");
            StepError::from(ServiceError::new(ErrorCode::LockConflict, text))
        };
        let mut standing = Vec::new();
        for id in &event.line_item_ids {
            let item = self.s.stores.line_items.get(id).await.map_err(StoreError::into_step_error)?;
            let item = item.ok_or_else(|| not_yet(id))?;
            if item.user_id != event.user_id {
                let text = format_args!("the line item {id} is somebody else's");
                return Err(ServiceError::new(ErrorCode::StateConflict, text).into());
            }
            match item.state {
                LineItemState::Created => return Err(not_yet(id)),
                // One that a later checkout is changing was confirmed before.
                LineItemState::Confirmed | LineItemState::Updated => {
                    standing.push(RepeatedLineItem { line_item_id: item.line_item_id, plan_id: item.plan_id });
                }
                LineItemState::Cancelled => {}
            }
        }
        Ok(standing)
    }
}
