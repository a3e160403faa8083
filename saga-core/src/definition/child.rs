//! Child sagas: a step that runs another definition as a saga of its own.

use std::sync::Arc;

use super::Definition;
use super::bound::Pure;
use super::builder::{SagaBuilder, StepHandle, patient};
use super::plan::Kind;
use super::source::Source;
use crate::checkpoint::Checkpoint;

/// Marks the handle of a child saga.
#[derive(Debug)]
pub enum Child {}

impl<'id> SagaBuilder<'id> {
    /// Runs another definition as a saga of its own, and waits, parked, until it is done: what it returns
    /// is the step's output. It is started once, with the checkpoint before it, under an id that follows
    /// from this saga's. When it rolls back, this saga turns back. When this saga turns back, the child
    /// does too, also when it was done already: it is kept until this saga is over, and can be undone all
    /// that time. That is why its definition has neither pivot nor retryable steps.
    ///
    /// Registering this definition with an engine registers that of the child as well. An engine that has the
    /// child's definition alone runs such children too.
    ///
    /// ```
    /// use saga_core::{step_fn, Definition, Outcome};
    ///
    /// let reserve = Definition::build("reserve", 1, |saga, sku| {
    ///     let hold = step_fn(async |_cx, sku: String| Ok(sku))
    ///         .compensate(async |_cx, _sku: String, _outcome: Outcome<String>| Ok(()));
    ///     let held = saga.compensatable("hold", hold, sku);
    ///     saga.returns(held)
    /// })?;
    /// let sell = Definition::build("sell", 1, |saga, sku| {
    ///     let reserved = saga.child("reserve", &reserve, sku);
    ///     let sold = saga.pivot("charge", step_fn(async |_cx, held: String| Ok(held)), reserved);
    ///     saga.returns(sold)
    /// })?;
    /// # Ok::<(), saga_core::BuildError>(())
    /// ```
    pub fn child<I, O, S>(&self, name: &str, definition: &Definition<I, O>, input: S) -> StepHandle<'id, O, Child>
    where
        I: Checkpoint,
        O: Checkpoint,
        S: Source<'id, Value = I>,
    {
        let input = input.map(|input: I| input.encode());
        let bind = |input| Arc::new(Pure::Child { input, accepts: |output| O::decode(output).map(drop) });
        let handle = self.declare(name, Kind::Child, input, |input| bind(input));
        let blueprint = definition.blueprint().clone();
        let mut draft = self.draft.borrow_mut();
        draft.plans[handle.index].compensate = Some(patient());
        draft.plans[handle.index].child = Some((blueprint.name.clone(), blueprint.version));
        draft.related.push(blueprint);
        handle
    }
}
