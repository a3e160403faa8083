//! The builder: declares steps in order and hands back a typed handle for each.

use std::cell::RefCell;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use super::Blueprint;
use super::bound::{Bound, BoundStep, Pure};
use super::child::Child;
use super::lock::Lock;
use super::plan::{Kind, Policy, StepPlan};
use super::publish::Publish;
use super::source::{Brand, Guarded, Resolver, Soft, Source, output_resolver, soft_resolver};
use crate::checkpoint::Checkpoint;
use crate::retry::RetryPolicy;
use crate::step::{Compensation, Step};
use crate::time::Timestamp;

/// How long an attempt may take unless the step says otherwise: 30 s, what most gateways allow
/// themselves.
const TIMEOUT: Duration = Duration::from_secs(30);

/// What has been declared so far.
#[derive(Default)]
pub(crate) struct Draft {
    pub(crate) plans: Vec<StepPlan>,
    pub(crate) bound: Vec<Arc<dyn BoundStep>>,
    /// The steps that the next one comes after.
    pub(super) frontier: Vec<usize>,
    pub(crate) deadline: Option<Duration>,
    /// The decision that the next steps are under.
    pub(super) guard: Option<usize>,
    /// Definitions whose sagas are started by those of this one.
    pub(crate) related: Vec<Arc<Blueprint>>,
    /// What sees to signals that come too late.
    pub(crate) late: Option<Arc<Blueprint>>,
}

/// Declares the steps of one saga, inside [`Definition::build`](super::Definition::build).
///
/// Order of declaration is order of execution. The lifetime `'id` belongs to this one call of
/// `build`: handles of another saga do not compile.
#[derive(Clone, Copy)]
pub struct SagaBuilder<'id> {
    pub(crate) draft: &'id RefCell<Draft>,
    pub(crate) brand: Brand<'id>,
}

impl<'id> SagaBuilder<'id> {
    /// A step without effect. It is never undone; its failure turns the saga back.
    pub fn query<S, I>(&self, name: &str, step: S, input: I) -> StepHandle<'id, S::Output, Query>
    where
        S: Step,
        I: Source<'id, Value = S::Input>,
    {
        self.declare(name, Kind::Query, input, |input| Arc::new(Bound::new(step, input)))
    }

    /// A step whose effect its compensation undoes when the saga turns back.
    pub fn compensatable<S, I>(&self, name: &str, step: S, input: I) -> StepHandle<'id, S::Output, Compensatable>
    where
        S: Compensation,
        I: Source<'id, Value = S::Input>,
    {
        self.declare(name, Kind::Compensatable, input, |input| Arc::new(Bound::compensatable(step, input)))
    }

    /// The point of no return. Once it is done the saga only goes forward; while its outcome is
    /// unknown no direction is taken. Give it a [`Step::probe`].
    pub fn pivot<S, I>(&self, name: &str, step: S, input: I) -> StepHandle<'id, S::Output, Pivot>
    where
        S: Step,
        I: Source<'id, Value = S::Input>,
    {
        self.declare(name, Kind::Pivot, input, |input| Arc::new(Bound::new(step, input)))
    }

    /// A step after the point of no return: retried until done, patiently.
    pub fn retryable<S, I>(&self, name: &str, step: S, input: I) -> StepHandle<'id, S::Output, Retryable>
    where
        S: Step,
        I: Source<'id, Value = S::Input>,
    {
        self.declare(name, Kind::Retryable, input, |input| Arc::new(Bound::new(step, input)))
    }

    /// A step whose failure is recorded, and the saga goes on. Later steps read [`Soft`].
    pub fn best_effort<S, I>(&self, name: &str, step: S, input: I) -> StepHandle<'id, S::Output, BestEffort>
    where
        S: Step,
        I: Source<'id, Value = S::Input>,
    {
        self.declare(name, Kind::BestEffort, input, |input| Arc::new(Bound::new(step, input)))
    }

    /// A best-effort step that is undone when the saga turns back later. Its compensation has the default
    /// policy: [`RetryPolicy::patient`], 30 s for each attempt.
    pub fn best_effort_compensatable<S, I>(
        &self,
        name: &str,
        step: S,
        input: I,
    ) -> StepHandle<'id, S::Output, BestEffort>
    where
        S: Compensation,
        I: Source<'id, Value = S::Input>,
    {
        let handle = self.declare(name, Kind::BestEffort, input, |input| Arc::new(Bound::compensatable(step, input)));
        self.draft.borrow_mut().plans[handle.index].compensate = Some(patient());
        handle
    }

    /// Runs branches side by side; the next step comes after all of them.
    ///
    /// ```
    /// use saga_core::{step_fn, Definition};
    ///
    /// let definition = Definition::build("look-up", 1, |saga, sku: saga_core::InputHandle<'_, String>| {
    ///     let (price, stock) = saga.parallel(|group| {
    ///         let price = group.branch(|saga| saga.query("price", step_fn(async |_, _: String| Ok(1_999)), sku));
    ///         let stock = group.branch(|saga| saga.query("stock", step_fn(async |_, _: String| Ok(3)), sku));
    ///         (price, stock)
    ///     });
    ///     let offer = step_fn(async |_, (price, stock): (i64, i64)| Ok(price * stock));
    ///     let offer = saga.query("offer", offer, (price, stock));
    ///     saga.returns(offer)
    /// })?;
    /// # Ok::<(), saga_core::BuildError>(())
    /// ```
    pub fn parallel<T>(&self, declare: impl FnOnce(&mut Parallel<'id>) -> T) -> T {
        let start = self.draft.borrow().frontier.clone();
        let mut group = Parallel { builder: *self, start, ends: Vec::new() };
        let handles = declare(&mut group);
        let Parallel { start, mut ends, .. } = group;
        ends.sort_unstable();
        ends.dedup();
        self.draft.borrow_mut().frontier = if ends.is_empty() { start } else { ends };
        handles
    }

    /// Steps that are taken only under a condition: a pure predicate on earlier outputs, worked out once
    /// and journalled under `name`. What the closure returns is seen by later steps as an `Option`: none
    /// when the steps were not taken.
    ///
    /// ```
    /// use saga_core::{step_fn, Definition, Source};
    ///
    /// let definition = Definition::build("pay", 1, |saga, cents| {
    ///     let charge = step_fn(async |cx, cents: i64| Ok(format!("{cents} under {}", cx.key())));
    ///     let due = cents.map(|cents: i64| cents > 0);
    ///     let receipt = saga.when("anything-due", due, |saga| saga.pivot("charge", charge, cents));
    ///     let told = saga.retryable("tell", step_fn(async |_, receipt: Option<String>| Ok(receipt)), receipt);
    ///     saga.returns(told)
    /// })?;
    /// # Ok::<(), saga_core::BuildError>(())
    /// ```
    pub fn when<C, S>(&self, name: &str, condition: C, declare: impl FnOnce(&Self) -> S) -> Guarded<'id, S>
    where
        C: Source<'id, Value = bool>,
        S: Source<'id>,
    {
        let decision: StepHandle<'id, bool, When> =
            self.declare(name, Kind::When, condition, |condition| Arc::new(Pure::When(condition)));
        let outer = self.draft.borrow_mut().guard.replace(decision.index);
        let source = declare(self);
        self.draft.borrow_mut().guard = outer;
        Guarded { guard: decision.index, source, brand: PhantomData }
    }

    /// Waits this long, durably: the saga leaves memory, and goes on on any worker. When the saga turns
    /// back meanwhile, the wait is over.
    ///
    /// ```
    /// use std::time::Duration;
    /// use saga_core::{step_fn, Definition, Source};
    ///
    /// let definition = Definition::build("remind", 1, |saga, name| {
    ///     let slept = saga.sleep("a-day", name.map(|_: String| Duration::from_secs(24 * 60 * 60)));
    ///     let remind = step_fn(async |_, (name, ()): (String, ())| Ok(format!("{name}, still there?")));
    ///     let reminded = saga.query("remind", remind, (name, slept));
    ///     saga.returns(reminded)
    /// })?;
    /// # Ok::<(), saga_core::BuildError>(())
    /// ```
    pub fn sleep<I: Source<'id, Value = Duration>>(&self, name: &str, time: I) -> StepHandle<'id, (), Sleep> {
        self.declare(name, Kind::Sleep, time, |time| Arc::new(Pure::Sleep(time)))
    }

    /// Waits until this time, by the journal's clock; not at all when it has passed. See
    /// [`SagaBuilder::sleep`].
    pub fn sleep_until<I: Source<'id, Value = Timestamp>>(&self, name: &str, time: I) -> StepHandle<'id, (), Sleep> {
        self.declare(name, Kind::Sleep, time, |time| Arc::new(Pure::SleepUntil(time)))
    }

    /// Waits for a signal, durably, and at most this long: what was signalled, or none when the time ran
    /// out. A [`SagaBuilder::when`] on the outcome makes a branch of it. See
    /// [`Engine::signal`](crate::Engine::signal): a signal that comes early waits for its step, and one
    /// that is sent twice under the same message id comes once.
    ///
    /// ```
    /// use std::time::Duration;
    /// use saga_core::{step_fn, Definition, Source};
    ///
    /// let definition = Definition::build("order", 1, |saga, order| {
    ///     let quarter = order.map(|_: String| Some(Duration::from_secs(15 * 60)));
    ///     let paid = saga.wait_for::<i64, _>("payment", "payment_succeeded", quarter);
    ///     let told = saga.query("tell", step_fn(async |_, paid: Option<i64>| Ok(format!("{paid:?}"))), paid);
    ///     saga.returns(told)
    /// })?;
    /// # Ok::<(), saga_core::BuildError>(())
    /// ```
    pub fn wait_for<T, I>(&self, name: &str, signal: &str, at_most: I) -> StepHandle<'id, Option<T>, Signal>
    where
        Option<T>: Checkpoint,
        I: Source<'id, Value = Option<Duration>>,
    {
        let bind =
            |time| Arc::new(Pure::Signal { at_most: time, accepts: |payload| Option::<T>::decode(payload).map(drop) });
        let handle = self.declare(name, Kind::Signal, at_most, |time| bind(time));
        self.draft.borrow_mut().plans[handle.index].signal = Some(signal.into());
        handle
    }

    /// By when, counted from its start, the saga must have passed its point of no return: otherwise it
    /// turns back as soon as it safely can. Past that point, and on the way back, it has no meaning.
    /// Default: none.
    ///
    /// ```
    /// use std::time::Duration;
    /// use saga_core::{step_fn, Definition};
    ///
    /// let definition = Definition::build("quick", 1, |saga, name| {
    ///     saga.deadline(Duration::from_secs(60));
    ///     let hello = saga.query("hello", step_fn(async |_cx, name: String| Ok(format!("hello {name}"))), name);
    ///     saga.returns(hello)
    /// })?;
    /// # Ok::<(), saga_core::BuildError>(())
    /// ```
    pub fn deadline(&self, limit: Duration) {
        self.draft.borrow_mut().deadline = Some(limit);
    }

    /// What the saga returns when it completes: a handle, a tuple of handles, or `()`.
    pub fn returns<R: Source<'id>>(&self, output: R) -> Returns<'id, R::Value> {
        let mut reads = Vec::new();
        let output = output.resolver(&mut reads);
        Returns { output, reads, brand: PhantomData }
    }

    pub(super) fn declare<T, K, I>(
        &self,
        name: &str,
        kind: Kind,
        input: I,
        bind: impl FnOnce(Resolver<I::Value>) -> Arc<dyn BoundStep>,
    ) -> StepHandle<'id, T, K>
    where
        I: Source<'id>,
    {
        let mut reads = Vec::new();
        let bound = bind(input.resolver(&mut reads));
        reads.sort_unstable();
        reads.dedup();
        let mut draft = self.draft.borrow_mut();
        let index = draft.plans.len();
        let after = std::mem::replace(&mut draft.frontier, vec![index]);
        let guard = draft.guard;
        draft.bound.push(bound);
        let run = match kind {
            Kind::Retryable => patient(),
            Kind::Query
            | Kind::Compensatable
            | Kind::Pivot
            | Kind::BestEffort
            | Kind::When
            | Kind::Sleep
            | Kind::Signal
            | Kind::Publish
            | Kind::Lock
            | Kind::Child => standard(),
        };
        draft.plans.push(StepPlan {
            reads,
            guard,
            compensate: (kind == Kind::Compensatable).then(patient),
            ..StepPlan::new(name, kind, after, run)
        });
        StepHandle { draft: self.draft, index, brand: PhantomData, types: PhantomData }
    }
}

fn standard() -> Policy {
    Policy::new(RetryPolicy::standard(), TIMEOUT)
}

pub(super) fn patient() -> Policy {
    Policy::new(RetryPolicy::patient(), TIMEOUT)
}

impl fmt::Debug for SagaBuilder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SagaBuilder")
    }
}

/// What a saga returns, see [`SagaBuilder::returns`].
#[derive(Debug)]
pub struct Returns<'id, O> {
    pub(crate) output: Resolver<O>,
    pub(crate) reads: Vec<usize>,
    pub(crate) brand: Brand<'id>,
}

/// A group of branches that run side by side, see [`SagaBuilder::parallel`].
pub struct Parallel<'id> {
    builder: SagaBuilder<'id>,
    start: Vec<usize>,
    ends: Vec<usize>,
}

impl<'id> Parallel<'id> {
    /// One branch: its steps run in order, beside the steps of the other branches.
    pub fn branch<T>(&mut self, declare: impl FnOnce(&SagaBuilder<'id>) -> T) -> T {
        self.builder.draft.borrow_mut().frontier = self.start.clone();
        let handles = declare(&self.builder);
        self.ends.extend_from_slice(&self.builder.draft.borrow().frontier);
        handles
    }
}

impl fmt::Debug for Parallel<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Parallel")
    }
}

/// Marks the handle of a query.
#[derive(Debug)]
pub enum Query {}
/// Marks the handle of a compensatable step.
#[derive(Debug)]
pub enum Compensatable {}
/// Marks the handle of a pivot.
#[derive(Debug)]
pub enum Pivot {}
/// Marks the handle of a retryable step.
#[derive(Debug)]
pub enum Retryable {}
/// Kinds of steps that have a compensation.
pub trait Undone: sealed::Undone {}

impl<K: sealed::Undone> Undone for K {}

mod sealed {
    pub trait Undone {}
    impl Undone for super::Compensatable {}
    impl Undone for super::super::for_each::ForEachOf<super::Compensatable> {}
}

/// Marks the handle of a decision.
#[derive(Debug)]
pub enum When {}
/// Marks the handle of a wait.
#[derive(Debug)]
pub enum Sleep {}
/// Marks the handle of a wait for a signal.
#[derive(Debug)]
pub enum Signal {}
/// Marks the handle of a best-effort step.
#[derive(Debug)]
pub enum BestEffort {}

/// A declared step: configures it, and stands for its output when handed to later steps.
pub struct StepHandle<'id, T, K> {
    draft: &'id RefCell<Draft>,
    pub(super) index: usize,
    brand: Brand<'id>,
    types: PhantomData<fn() -> (T, K)>,
}

impl<T, K> StepHandle<'_, T, K> {
    /// When failed attempts are repeated. Steps up to the pivot start with
    /// [`RetryPolicy::standard`], steps after it with [`RetryPolicy::patient`].
    #[must_use = "a handle is how later steps take the output; bind it to `_` if none does"]
    pub fn retry(self, policy: RetryPolicy) -> Self {
        self.change(|plan| plan.run.retry = policy)
    }

    /// How long one attempt may take before it is dropped and counted as unknown. Default 30 s.
    #[must_use = "a handle is how later steps take the output; bind it to `_` if none does"]
    pub fn timeout(self, limit: Duration) -> Self {
        self.change(|plan| plan.run.timeout = limit)
    }

    /// The service that the step calls, for example `gateway`: all sagas of a worker share its circuit
    /// breaker, its rate and the budget of its retries, see
    /// [`DependencyPolicy`](crate::engine::DependencyPolicy). Waiting for it costs no attempt. Default: none.
    #[must_use = "a handle is how later steps take the output; bind it to `_` if none does"]
    pub fn calls(self, dependency: &str) -> Self {
        self.change(|plan| plan.dependency = Some(dependency.into()))
    }

    /// For how long, from its first use, the participant remembers the step's idempotency key. After
    /// that the key is never sent again on the chance that it did nothing: the step's [`Step::probe`] is
    /// asked first, and when that proves that nothing happened, the next attempt takes a new key
    /// ([`StepContext::generation`](crate::StepContext::generation)). Default: as long as attempts go on.
    #[must_use = "a handle is how later steps take the output; bind it to `_` if none does"]
    pub fn key_horizon(self, horizon: Duration) -> Self {
        self.change(|plan| plan.run.key_horizon = Some(horizon))
    }

    /// The participant answers a key that has failed with the same failure for ever, as some payment
    /// gateways do. Before another attempt the step's [`Step::probe`] is then asked whether the failed one
    /// had its effect after all; when it certainly had none, the next attempt takes a new key.
    #[must_use = "a handle is how later steps take the output; bind it to `_` if none does"]
    pub fn replays_errors(self) -> Self {
        self.change(|plan| plan.replays_errors = true)
    }

    fn change(self, change: impl FnOnce(&mut StepPlan)) -> Self {
        change(&mut self.draft.borrow_mut().plans[self.index]);
        self
    }
}

impl<T, K: Undone> StepHandle<'_, T, K> {
    /// When failed compensations are repeated. Default [`RetryPolicy::patient`].
    #[must_use = "a handle is how later steps take the output; bind it to `_` if none does"]
    pub fn compensation_retry(self, policy: RetryPolicy) -> Self {
        self.change(|plan| plan.compensate.get_or_insert_with(patient).retry = policy)
    }

    /// How long one attempt of the compensation may take. Default 30 s.
    #[must_use = "a handle is how later steps take the output; bind it to `_` if none does"]
    pub fn compensation_timeout(self, limit: Duration) -> Self {
        self.change(|plan| plan.compensate.get_or_insert_with(patient).timeout = limit)
    }
}

impl<T, K: Undone> StepHandle<'_, T, K> {
    /// For how long, from its first use, the participant remembers the compensation's idempotency key.
    /// After that it is not sent again: a human is called. Default: as long as attempts go on, which is
    /// right for compensations that look first what there is to undo.
    #[must_use = "a handle is how later steps take the output; bind it to `_` if none does"]
    pub fn compensation_key_horizon(self, horizon: Duration) -> Self {
        self.change(|plan| plan.compensate.get_or_insert_with(patient).key_horizon = Some(horizon))
    }

    /// A request that was lost on its way may be carried out after its compensation found nothing to
    /// undo. For this long after such a compensation the step's [`Step::probe`] is asked now and then
    /// (after 1 min, 10 min, 1 h, 24 h, and at the end) whether that has happened; if so, the step is
    /// compensated again. The saga is over meanwhile, for whoever waits for it.
    ///
    /// [`Probe::Unknown`](crate::Probe::Unknown) means "not so far" here, and at the end "it did not come": a
    /// participant that cannot be asked is an error of the probe.
    ///
    /// Not needed where the participant refuses what comes after its compensation. Default: no watch.
    #[must_use = "a handle is how later steps take the output; bind it to `_` if none does"]
    pub fn watch_for_late_effects(self, watch: Duration) -> Self {
        self.change(|plan| plan.watch = Some(watch))
    }
}

impl<T, K> Clone for StepHandle<'_, T, K> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T, K> Copy for StepHandle<'_, T, K> {}

impl<T, K> fmt::Debug for StepHandle<'_, T, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StepHandle({})", self.draft.borrow().plans[self.index].name)
    }
}

macro_rules! output_source {
    ($($kind:ident)+) => {$(
        impl<'id, T: Checkpoint> Source<'id> for StepHandle<'id, T, $kind> {
            type Value = T;

            fn resolver(self, reads: &mut Vec<usize>) -> Resolver<T> {
                reads.push(self.index);
                output_resolver(self.index)
            }
        }
    )+};
}

output_source!(Query Compensatable Pivot Retryable Sleep Signal Publish Lock Child);

impl<'id, T: Checkpoint> Source<'id> for StepHandle<'id, T, BestEffort> {
    type Value = Soft<T>;

    fn resolver(self, reads: &mut Vec<usize>) -> Resolver<Soft<T>> {
        reads.push(self.index);
        soft_resolver(self.index)
    }
}
