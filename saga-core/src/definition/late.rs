//! Signals that come too late: the rule that a definition has for them.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Definition;
use super::builder::SagaBuilder;
use crate::checkpoint::{Checkpoint, CheckpointError, Payload};
use crate::id::SagaId;

/// A signal that no step of its saga has taken, or will take: the input of the saga that sees to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LateSignal {
    /// The definition of the saga that it was sent to.
    pub definition: String,
    /// That saga's start key.
    pub key: String,
    /// That saga.
    pub saga: SagaId,
    /// What was signalled.
    pub signal: String,
    /// What is to be known of it.
    pub payload: Payload,
    /// The message's id.
    pub message_id: String,
}

impl LateSignal {
    /// What is to be known of the signal, as the type that it was sent as.
    ///
    /// # Errors
    /// When it was sent as another.
    pub fn decode<T: Checkpoint>(&self) -> Result<T, CheckpointError> {
        T::decode(&self.payload)
    }
}

impl SagaBuilder<'_> {
    /// What becomes of a signal that comes too late: to a saga that is over, or one that no step takes
    /// before the saga is over. A saga of this definition is started for it, once: it pays back what was
    /// paid too late, for example. Default: a dead letter, which waits for a human.
    ///
    /// ```
    /// use saga_core::{step_fn, Definition, LateSignal, Source};
    ///
    /// let pay_back = Definition::build("pay-back", 1, |saga, late| {
    ///     let refund = step_fn(async |cx, late: LateSignal| Ok(format!("{} under {}", late.decode::<i64>()?, cx.key())));
    ///     let refunded = saga.retryable("refund", refund, late);
    ///     saga.returns(refunded)
    /// })?;
    /// let order = Definition::build("order", 1, |saga, order| {
    ///     saga.on_late_signal(&pay_back);
    ///     let paid = saga.wait_for::<i64, _>("payment", "paid", order.map(|_: String| None));
    ///     saga.returns(paid)
    /// })?;
    /// # Ok::<(), saga_core::BuildError>(())
    /// ```
    pub fn on_late_signal<O: Send + 'static>(&self, follow_up: &Definition<LateSignal, O>) {
        let mut draft = self.draft.borrow_mut();
        draft.late = Some(follow_up.blueprint().clone());
        draft.related.push(Arc::clone(follow_up.blueprint()));
    }
}
