//! Fan-out: a step that is taken once for each item of a list.

use std::fmt;
use std::marker::PhantomData;
use std::num::NonZeroUsize;
use std::sync::Arc;

use super::bound::Each;
use super::builder::{BestEffort, Compensatable, Query, Retryable, SagaBuilder, StepHandle};
use super::plan::Kind;
use super::source::{Resolver, Soft, Source};
use crate::checkpoint::Checkpoint;
use crate::step::{Compensation, Step};

/// How many items are under way at a time, unless the step says otherwise.
const AT_ONCE: NonZeroUsize = NonZeroUsize::new(16).expect("sixteen is not zero");

impl<'id> SagaBuilder<'id> {
    /// A step for each item of a list that an earlier step left, or the input holds. Say next what kind
    /// of step it is.
    ///
    /// The items are called `name[0]`, `name[1]` … Each has a checkpoint, a key and attempts of its own.
    /// When one fails for good the saga turns back as for any other step, and exactly the items that are
    /// done, or may be, are compensated. Later steps read what the items left, in the order of the list.
    ///
    /// ```
    /// use saga_core::{step_fn, Definition, Outcome};
    ///
    /// let definition = Definition::build("reserve", 1, |saga, skus| {
    ///     let reserve = step_fn(async |cx, sku: String| Ok(format!("{sku} under {}", cx.key())))
    ///         .compensate(async |_cx, _sku: String, _outcome: Outcome<String>| Ok(()));
    ///     let held = saga.for_each("reserve-stock").at_once(4).compensatable(reserve, skus);
    ///     let count = saga.query("count", step_fn(async |_, held: Vec<String>| Ok(held.len())), held);
    ///     saga.returns(count)
    /// })?;
    /// # Ok::<(), saga_core::BuildError>(())
    /// ```
    #[must_use = "say next what kind of step it is"]
    pub fn for_each<'n>(&self, name: &'n str) -> ForEach<'id, 'n> {
        ForEach { builder: *self, name, at_once: AT_ONCE }
    }
}

/// A fan-out that is being declared, see [`SagaBuilder::for_each`].
#[derive(Clone, Copy, Debug)]
pub struct ForEach<'id, 'n> {
    builder: SagaBuilder<'id>,
    name: &'n str,
    at_once: NonZeroUsize,
}

impl<'id> ForEach<'id, '_> {
    /// How many items may be under way at a time, going forward or being undone. Default 16; zero counts
    /// as one.
    #[must_use = "say next what kind of step it is"]
    pub fn at_once(self, items: usize) -> Self {
        Self { at_once: NonZeroUsize::new(items).unwrap_or(NonZeroUsize::MIN), ..self }
    }

    /// As [`SagaBuilder::query`], for each item.
    pub fn query<S, I>(self, step: S, items: I) -> StepHandle<'id, Vec<S::Output>, ForEachOf<Query>>
    where
        S: Step,
        I: Source<'id, Value = Vec<S::Input>>,
    {
        self.declare(Kind::Query, items, |items| Each::new(step, items))
    }

    /// As [`SagaBuilder::compensatable`], for each item.
    pub fn compensatable<S, I>(self, step: S, items: I) -> StepHandle<'id, Vec<S::Output>, ForEachOf<Compensatable>>
    where
        S: Compensation,
        I: Source<'id, Value = Vec<S::Input>>,
    {
        self.declare(Kind::Compensatable, items, |items| Each::compensatable(step, items))
    }

    /// As [`SagaBuilder::retryable`], for each item.
    pub fn retryable<S, I>(self, step: S, items: I) -> StepHandle<'id, Vec<S::Output>, ForEachOf<Retryable>>
    where
        S: Step,
        I: Source<'id, Value = Vec<S::Input>>,
    {
        self.declare(Kind::Retryable, items, |items| Each::new(step, items))
    }

    /// As [`SagaBuilder::best_effort`], for each item: later steps read a [`Soft`] for each.
    pub fn best_effort<S, I>(self, step: S, items: I) -> StepHandle<'id, Vec<S::Output>, ForEachOf<BestEffort>>
    where
        S: Step,
        I: Source<'id, Value = Vec<S::Input>>,
    {
        self.declare(Kind::BestEffort, items, |items| Each::new(step, items))
    }

    fn declare<S, I, T, K>(
        self,
        kind: Kind,
        items: I,
        bind: impl FnOnce(Resolver<I::Value>) -> Each<S>,
    ) -> StepHandle<'id, T, K>
    where
        S: Step,
        I: Source<'id>,
    {
        let handle = self.builder.declare(self.name, kind, items, |items| Arc::new(bind(items)));
        self.builder.draft.borrow_mut().plans[handle.index].each = Some(self.at_once);
        handle
    }
}

/// Marks the handle of a step that is taken for each item of a list.
pub struct ForEachOf<K>(PhantomData<K>);

impl<K> fmt::Debug for ForEachOf<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ForEachOf")
    }
}

macro_rules! items_source {
    ($($kind:ident)+) => {$(
        impl<'id, T: Checkpoint> Source<'id> for StepHandle<'id, Vec<T>, ForEachOf<$kind>> {
            type Value = Vec<T>;

            fn resolver(self, reads: &mut Vec<usize>) -> Resolver<Vec<T>> {
                reads.push(self.index);
                let index = self.index;
                Resolver::new(move |outputs| outputs.items(index).map(|item| outputs.left(item)).collect())
            }
        }
    )+};
}

items_source!(Query Compensatable Retryable);

impl<'id, T: Checkpoint> Source<'id> for StepHandle<'id, Vec<T>, ForEachOf<BestEffort>> {
    type Value = Vec<Soft<T>>;

    fn resolver(self, reads: &mut Vec<usize>) -> Resolver<Vec<Soft<T>>> {
        reads.push(self.index);
        let index = self.index;
        Resolver::new(move |outputs| {
            let soft = |item: &crate::machine::StepState| match item.soft_failure() {
                Some(reason) => Ok(Soft::Failed(reason.to_owned())),
                None => outputs.left(item).map(Soft::Done),
            };
            outputs.items(index).map(soft).collect()
        })
    }
}
