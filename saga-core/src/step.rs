//! What users write: steps, their compensations, and the context that both are given.

use std::future::Future;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::checkpoint::Checkpoint;
use crate::fault::StepError;
use crate::id::{Epoch, IdempotencyKey, Op, SagaId, StepName};
use crate::seeded::seeded;
use crate::time::Timestamp;

/// One operation of a saga. Implement it for a struct that holds the clients it needs; for small
/// steps [`step_fn`] takes a closure.
///
/// `run` happens **at least once**, every time under the same [`StepContext::key`]: hand that key to
/// whatever has the effect. Its future may be dropped at its time limit or at shutdown; the attempt
/// then counts as unknown.
///
/// ```
/// use saga_core::{async_trait, Step, StepContext, StepError};
///
/// struct Greet;
///
/// #[async_trait]
/// impl Step for Greet {
///     type Input = String;
///     type Output = String;
///
///     async fn run(&self, _cx: &StepContext, name: String) -> Result<String, StepError> {
///         Ok(format!("hello {name}"))
///     }
/// }
/// ```
#[async_trait]
pub trait Step: Send + Sync + 'static {
    /// What the step is given: the outputs of earlier steps.
    type Input: Checkpoint;
    /// What the step leaves behind for later steps and for its compensation.
    type Output: Checkpoint;

    /// Has the effect, and reports it.
    async fn run(&self, cx: &StepContext, input: Self::Input) -> Result<Self::Output, StepError>;

    /// Answers "did the operation under this key happen?", without any effect of its own.
    ///
    /// Asked when the fate of the step is unknown and no attempt is left: for a pivot before any
    /// direction is taken, for a compensatable step before it is compensated, and before another attempt
    /// where the key cannot be sent again. A pivot should have one.
    ///
    /// Answer [`Probe::NotApplied`] only when it can never happen any more, which takes a participant that
    /// can *close* a key. One that can merely be looked at answers [`Probe::Unknown`] while it has not seen
    /// the key; for a pivot that means a human, when the participant goes on not knowing.
    async fn probe(&self, cx: &StepContext, input: Self::Input) -> Result<Probe<Self::Output>, StepError> {
        let _ = (cx, input);
        Ok(Probe::Unsupported)
    }
}

/// The answer to "did the operation under this key happen?".
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe<T> {
    /// It happened, and this is what it left.
    Applied(T),
    /// It has not happened **and cannot happen any more**: the participant has refused the key, or
    /// holds a tombstone for it. A request that may still be on its way is [`Probe::Unknown`].
    NotApplied,
    /// The participant cannot tell (yet).
    Unknown,
    /// This step has no probe.
    Unsupported,
}

/// Undoes a step. It works from the input, the keys and the [`Outcome`], and must be able to do
/// without the output: the step whose fate is unknown is compensated as well.
///
/// It happens at least once, under a key of its own, and must count an effect that never happened
/// as undone. Any error that is not terminal is retried, patiently.
///
/// ```
/// use saga_core::{async_trait, Compensation, Outcome, Step, StepContext, StepError};
/// # struct Gateway;
/// # impl Gateway {
/// #     async fn authorize(&self, _key: String, _amount: i64) -> Result<String, std::io::Error> { Ok("auth".into()) }
/// #     async fn void_by_key(&self, _key: String) -> Result<(), std::io::Error> { Ok(()) }
/// # }
/// struct Authorize { gateway: Gateway }
///
/// #[async_trait]
/// impl Step for Authorize {
///     type Input = i64;
///     type Output = String;
///
///     async fn run(&self, cx: &StepContext, amount: i64) -> Result<String, StepError> {
///         Ok(self.gateway.authorize(cx.key().to_string(), amount).await?)
///     }
/// }
///
/// #[async_trait]
/// impl Compensation for Authorize {
///     async fn compensate(&self, cx: &StepContext, _amount: i64, _outcome: Outcome<String>) -> Result<(), StepError> {
///         // By the key of the step itself: there may be no authorization id to go by.
///         Ok(self.gateway.void_by_key(cx.step_key().to_string()).await?)
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "the step `{Self}` has no compensation",
    note = "implement `Compensation` for it, or add `.compensate(…)` to `step_fn(…)`",
    note = "a step that needs no undoing is a `query`, a `retryable` step after the pivot, or `best_effort`"
)]
#[async_trait]
pub trait Compensation: Step {
    /// Undoes what `run` did, or may have done.
    async fn compensate(
        &self,
        cx: &StepContext,
        input: Self::Input,
        outcome: Outcome<Self::Output>,
    ) -> Result<(), StepError>;
}

/// What is known of a step that is to be compensated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome<T> {
    /// It completed, and this is its output.
    Done(T),
    /// It was started and nothing proves that it had no effect.
    Unknown,
}

/// What a step is told about the attempt that it is. Cheap to clone.
#[derive(Clone, Debug)]
pub struct StepContext(Arc<Facts>);

/// What is known of an attempt. (Behind one count of references of its own: the names in it have counts that all
/// sagas share, and to write to these from all threads is what costs.)
#[derive(Debug)]
pub(crate) struct Facts {
    pub(crate) saga: SagaId,
    pub(crate) definition: Arc<str>,
    pub(crate) step: StepName,
    pub(crate) item: Option<u32>,
    pub(crate) op: Op,
    pub(crate) attempt: u32,
    pub(crate) generation: u32,
    pub(crate) epoch: Epoch,
    pub(crate) now: Timestamp,
    pub(crate) timeout: Duration,
}

impl StepContext {
    pub(crate) fn new(facts: Facts) -> Self {
        Self(Arc::new(facts))
    }

    /// The names that metrics are told under.
    pub(crate) fn names(&self) -> (&Arc<str>, &StepName) {
        (&self.0.definition, &self.0.step)
    }

    /// The idempotency key of this operation: the same in every attempt. A probe gets the key of
    /// the operation that it asks about; a compensation has a key of its own.
    #[must_use]
    pub fn key(&self) -> IdempotencyKey {
        match self.0.op {
            Op::Run if seeded("M2") => self.step_key().part(&self.0.attempt.to_string()),
            Op::Run | Op::Probe => self.step_key(),
            Op::Compensate => IdempotencyKey::of(self.0.saga, &self.0.step, Op::Compensate, 0),
        }
    }

    /// The idempotency key under which the step itself ran, whatever this operation is: a
    /// compensation finds by it what it is to undo.
    #[must_use]
    pub fn step_key(&self) -> IdempotencyKey {
        IdempotencyKey::of(self.0.saga, &self.0.step, Op::Run, self.0.generation)
    }

    /// The saga.
    #[must_use]
    pub fn saga_id(&self) -> SagaId {
        self.0.saga
    }

    /// The name of the saga's definition.
    #[must_use]
    pub fn definition(&self) -> &str {
        &self.0.definition
    }

    /// The step.
    #[must_use]
    pub fn step(&self) -> &StepName {
        &self.0.step
    }

    /// Which item of a list it is taken for, counted from zero; none when it is not a fan-out.
    #[must_use]
    pub fn item(&self) -> Option<u32> {
        self.0.item
    }

    /// What is being done for the step.
    #[must_use]
    pub fn op(&self) -> Op {
        self.0.op
    }

    /// Which attempt this is, counted from one over all workers and crashes.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.0.attempt
    }

    /// The epoch of the worker's lease: it tells which incarnation of which worker this is, and is never used
    /// again. It does not grow along a saga, since a worker may take over from one whose lease is younger. A
    /// participant that wants to refuse a worker which came back late remembers the highest
    /// [`attempt`](Self::attempt) that it has seen under a [`key`](Self::key): attempts are counted in the journal,
    /// before they begin.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.0.epoch
    }

    /// The generation of the step's key: 0, and one more each time that the engine had proof that nothing
    /// happened under the key before (see `StepHandle::key_horizon` and
    /// `StepHandle::replays_errors`).
    #[must_use]
    pub fn generation(&self) -> u32 {
        self.0.generation
    }

    /// The journal's time when this attempt began. Use it for limits that others have set, such as the
    /// expiry of an authorization: it is the same clock on every worker.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.0.now
    }

    /// How long this attempt may take before it is dropped and counted as unknown.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.0.timeout
    }
}

/// A step from a closure, see [`step_fn`].
pub struct FnStep<I, O, F> {
    run: F,
    types: PhantomData<fn(I) -> O>,
}

/// A step and its compensation from closures, see [`FnStep::compensate`].
pub struct FnCompensatable<I, O, F, C> {
    step: FnStep<I, O, F>,
    undo: C,
}

/// Makes a step of a closure that takes the context and the input.
///
/// An `async` closure may not capture anything: its future would borrow from it. To use a client, write
/// a plain closure that clones it for each attempt, or implement [`Step`] for a struct that holds it.
///
/// A closure has no probe. A pivot made of one waits for a human whenever its outcome stays unknown: for
/// real pivots, and for steps with `key_horizon`, `replays_errors` or `watch_for_late_effects`, implement
/// [`Step`].
///
/// ```
/// use saga_core::{step_fn, Definition, StepContext};
/// # #[derive(Clone)] struct Client;
/// # impl Client { async fn call(&self, n: i64) -> Result<i64, std::io::Error> { Ok(n) } }
///
/// let client = Client;
/// let definition = Definition::build("call", 1, |saga, n| {
///     let call = step_fn(move |_cx: StepContext, n: i64| {
///         let client = client.clone();
///         async move { Ok(client.call(n).await?) }
///     });
///     let called = saga.query("call", call, n);
///     saga.returns(called)
/// })?;
/// # Ok::<(), saga_core::BuildError>(())
/// ```
///
/// ```
/// use saga_core::{step_fn, Definition};
///
/// let definition = Definition::build("greet", 1, |saga, name| {
///     let hello = saga.query("hello", step_fn(async |_cx, name: String| Ok(format!("hello {name}"))), name);
///     saga.returns(hello)
/// })?;
/// # Ok::<(), saga_core::BuildError>(())
/// ```
pub fn step_fn<I, O, F, Fut>(run: F) -> FnStep<I, O, F>
where
    F: Fn(StepContext, I) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<O, StepError>> + Send + 'static,
    I: Checkpoint,
    O: Checkpoint,
{
    FnStep { run, types: PhantomData }
}

impl<I, O, F> FnStep<I, O, F> {
    /// Adds the compensation: a closure that takes the context, the step's input and its outcome.
    ///
    /// ```
    /// use saga_core::{step_fn, Definition, Outcome};
    ///
    /// let definition = Definition::build("hold", 1, |saga, amount| {
    ///     let hold = step_fn(async |cx, amount: i64| Ok(format!("{}:{amount}", cx.key())))
    ///         .compensate(async |_cx, _amount: i64, _outcome: Outcome<String>| Ok(()));
    ///     let held = saga.compensatable("hold", hold, amount);
    ///     saga.returns(held)
    /// })?;
    /// # Ok::<(), saga_core::BuildError>(())
    /// ```
    pub fn compensate<C, Fut>(self, undo: C) -> FnCompensatable<I, O, F, C>
    where
        C: Fn(StepContext, I, Outcome<O>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<(), StepError>> + Send + 'static,
    {
        FnCompensatable { step: self, undo }
    }
}

#[async_trait]
impl<I, O, F, Fut> Step for FnStep<I, O, F>
where
    F: Fn(StepContext, I) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<O, StepError>> + Send + 'static,
    I: Checkpoint,
    O: Checkpoint,
{
    type Input = I;
    type Output = O;

    async fn run(&self, cx: &StepContext, input: I) -> Result<O, StepError> {
        (self.run)(cx.clone(), input).await
    }
}

#[async_trait]
impl<I, O, F, C, Fut> Step for FnCompensatable<I, O, F, C>
where
    F: Fn(StepContext, I) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<O, StepError>> + Send + 'static,
    C: Send + Sync + 'static,
    I: Checkpoint,
    O: Checkpoint,
{
    type Input = I;
    type Output = O;

    async fn run(&self, cx: &StepContext, input: I) -> Result<O, StepError> {
        (self.step.run)(cx.clone(), input).await
    }
}

#[async_trait]
impl<I, O, F, C, Fut, UndoFut> Compensation for FnCompensatable<I, O, F, C>
where
    F: Fn(StepContext, I) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<O, StepError>> + Send + 'static,
    C: Fn(StepContext, I, Outcome<O>) -> UndoFut + Send + Sync + 'static,
    UndoFut: Future<Output = Result<(), StepError>> + Send + 'static,
    I: Checkpoint,
    O: Checkpoint,
{
    async fn compensate(&self, cx: &StepContext, input: I, outcome: Outcome<O>) -> Result<(), StepError> {
        (self.undo)(cx.clone(), input, outcome).await
    }
}

impl<I, O, F> std::fmt::Debug for FnStep<I, O, F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FnStep")
    }
}

impl<I, O, F, C> std::fmt::Debug for FnCompensatable<I, O, F, C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FnCompensatable")
    }
}
