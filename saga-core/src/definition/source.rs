//! Where a step's input comes from: typed handles, tuples of them, and views made with `map`.

use std::fmt;
use std::marker::PhantomData;

use serde::{Deserialize, Serialize};

use crate::checkpoint::{Checkpoint, CheckpointError, Payload};
use crate::machine::{SagaState, StepState};

/// Ties a handle to the one call of `Definition::build` that made it. The lifetime is invariant, so
/// that the compiler can tell the handles of two definitions apart (a "generative" lifetime).
pub(crate) type Brand<'id> = PhantomData<fn(&'id ()) -> &'id ()>;

/// Something that a step can take as its input, or that a saga can return.
///
/// Handles are sources, so are tuples of up to eight sources, `()`, and what [`Source::map`] makes. A constant is
/// `().map(|()| 7)`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not what a step can take its input from",
    note = "handles of steps are, and the saga's input, tuples of those, and what `.map(…)` makes of them",
    note = "a constant is `().map(move |()| value)`, with `use saga_core::Source as _`"
)]
pub trait Source<'id>: Sized {
    /// What the step is given.
    type Value: Send + 'static;

    #[doc(hidden)]
    fn resolver(self, reads: &mut Vec<usize>) -> Resolver<Self::Value>;

    /// A view of the value, for a step that needs only a part of it. The closure must be pure: it
    /// runs again for every attempt, in every process.
    ///
    /// ```
    /// use saga_core::{step_fn, Definition, Source};
    ///
    /// let definition = Definition::build("length", 1, |saga, text| {
    ///     let double = step_fn(async |_cx, n: usize| Ok(n * 2));
    ///     let doubled = saga.query("double", double, text.map(|text: String| text.len()));
    ///     saga.returns(doubled)
    /// })?;
    /// # Ok::<(), saga_core::BuildError>(())
    /// ```
    fn map<U, F>(self, view: F) -> Mapped<Self, F>
    where
        F: Fn(Self::Value) -> U + Send + Sync + 'static,
    {
        Mapped { source: self, view }
    }
}

/// Computes a value from what the journal holds.
#[doc(hidden)]
pub struct Resolver<T>(Box<Resolve<T>>);

type Resolve<T> = dyn Fn(&Outputs<'_>) -> Result<T, CheckpointError> + Send + Sync;

impl<T> Resolver<T> {
    pub(crate) fn new(resolve: impl Fn(&Outputs<'_>) -> Result<T, CheckpointError> + Send + Sync + 'static) -> Self {
        Self(Box::new(resolve))
    }

    pub(crate) fn resolve(&self, outputs: &Outputs<'_>) -> Result<T, CheckpointError> {
        (self.0)(outputs)
    }
}

impl<T> fmt::Debug for Resolver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Resolver")
    }
}

/// The saga's input and what its steps have left so far, as the steps of one definition see them.
#[doc(hidden)]
#[derive(Debug)]
pub(crate) struct Outputs<'a> {
    state: &'a SagaState,
    /// Where the definition's steps begin among those of the saga.
    base: usize,
    input: &'a Payload,
}

impl<'a> Outputs<'a> {
    pub(crate) fn of(state: &'a SagaState) -> Self {
        Self { state, base: 0, input: state.input() }
    }

    /// As the steps of a definition see them that is included at `base`, with this input.
    pub(crate) fn included<'b>(&self, base: usize, input: &'b Payload) -> Outputs<'b>
    where
        'a: 'b,
    {
        Outputs { state: self.state, base: self.base + base, input }
    }

    pub(crate) fn step(&self, index: usize) -> &'a StepState {
        &self.state.steps()[self.base + index]
    }

    /// The items of a step that fanned out, in order.
    pub(crate) fn items(&self, index: usize) -> impl Iterator<Item = &'a StepState> {
        self.state.items(self.base + index)
    }

    /// Whether the steps that this one guards are taken.
    fn is_taken(&self, guard: usize) -> Result<bool, CheckpointError> {
        // A guard under another guard that is not taken has decided nothing.
        self.step(guard).output().map_or(Ok(false), bool::decode)
    }

    /// What a step, or an item, left.
    pub(crate) fn left<T: Checkpoint>(&self, step: &StepState) -> Result<T, CheckpointError> {
        T::decode(step.output().ok_or_else(|| CheckpointError::Missing { step: step.name().clone() })?)
    }

    fn output(&self, index: usize) -> Result<&'a Payload, CheckpointError> {
        let step = self.step(index);
        step.output().ok_or_else(|| CheckpointError::Missing { step: step.name().clone() })
    }
}

/// The saga's input.
pub struct InputHandle<'id, T> {
    pub(crate) brand: Brand<'id>,
    pub(crate) value: PhantomData<fn() -> T>,
}

impl<T> Clone for InputHandle<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for InputHandle<'_, T> {}

impl<T> fmt::Debug for InputHandle<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InputHandle")
    }
}

impl<'id, T: Checkpoint> Source<'id> for InputHandle<'id, T> {
    type Value = T;

    fn resolver(self, _reads: &mut Vec<usize>) -> Resolver<T> {
        Resolver::new(|outputs| T::decode(outputs.input))
    }
}

/// What a best-effort step left: its output, or the failure that the saga went on without.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Soft<T> {
    /// The step completed.
    Done(T),
    /// The step failed, for the reason given, and the saga went on.
    Failed(String),
}

pub(crate) fn output_resolver<T: Checkpoint>(index: usize) -> Resolver<T> {
    Resolver::new(move |outputs| T::decode(outputs.output(index)?))
}

pub(crate) fn soft_resolver<T: Checkpoint>(index: usize) -> Resolver<Soft<T>> {
    Resolver::new(move |outputs| match outputs.step(index).soft_failure() {
        Some(reason) => Ok(Soft::Failed(reason.to_owned())),
        None => T::decode(outputs.output(index)?).map(Soft::Done),
    })
}

/// What the steps under a condition left, when they were taken; made by
/// [`SagaBuilder::when`](super::SagaBuilder::when).
pub struct Guarded<'id, S> {
    pub(crate) guard: usize,
    pub(crate) source: S,
    pub(crate) brand: Brand<'id>,
}

impl<S: Clone> Clone for Guarded<'_, S> {
    fn clone(&self) -> Self {
        Self { guard: self.guard, source: self.source.clone(), brand: PhantomData }
    }
}

impl<S: Copy> Copy for Guarded<'_, S> {}

impl<S> fmt::Debug for Guarded<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Guarded(by {})", self.guard)
    }
}

impl<'id, S: Source<'id>> Source<'id> for Guarded<'id, S> {
    type Value = Option<S::Value>;

    fn resolver(self, reads: &mut Vec<usize>) -> Resolver<Self::Value> {
        // What it looks at is read only where the guard decided so: the guard is what must have gone by,
        // and it comes before all that it guards.
        let mut guarded = Vec::new();
        let (guard, source) = (self.guard, self.source.resolver(&mut guarded));
        reads.push(guard);
        Resolver::new(move |outputs| match outputs.is_taken(guard)? {
            true => source.resolve(outputs).map(Some),
            false => Ok(None),
        })
    }
}

/// A view of a source, made by [`Source::map`].
#[derive(Clone, Copy)]
pub struct Mapped<S, F> {
    source: S,
    view: F,
}

impl<S, F> fmt::Debug for Mapped<S, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mapped")
    }
}

impl<'id, S, F, U> Source<'id> for Mapped<S, F>
where
    S: Source<'id>,
    F: Fn(S::Value) -> U + Send + Sync + 'static,
    U: Send + 'static,
{
    type Value = U;

    fn resolver(self, reads: &mut Vec<usize>) -> Resolver<U> {
        let Self { source, view } = self;
        let source = source.resolver(reads);
        Resolver::new(move |outputs| source.resolve(outputs).map(&view))
    }
}

impl<'id> Source<'id> for () {
    type Value = ();

    fn resolver(self, _reads: &mut Vec<usize>) -> Resolver<()> {
        Resolver::new(|_| Ok(()))
    }
}

macro_rules! tuple_source {
    ($($name:ident)+) => {
        impl<'id, $($name: Source<'id>),+> Source<'id> for ($($name,)+) {
            type Value = ($($name::Value,)+);

            #[expect(non_snake_case, reason = "the type parameters name the elements")]
            fn resolver(self, reads: &mut Vec<usize>) -> Resolver<Self::Value> {
                let ($($name,)+) = self;
                $(let $name = $name.resolver(reads);)+
                Resolver::new(move |outputs| Ok(($($name.resolve(outputs)?,)+)))
            }
        }
    };
}

tuple_source!(A);
tuple_source!(A B);
tuple_source!(A B C);
tuple_source!(A B C D);
tuple_source!(A B C D E);
tuple_source!(A B C D E F);
tuple_source!(A B C D E F G);
tuple_source!(A B C D E F G H);
