//! Definitions: typed for those who write them, a pure [`Plan`] for the machine.

mod bound;
mod builder;
mod child;
mod diagram;
mod error;
mod for_each;
mod include;
mod late;
mod lock;
mod outline;
mod plan;
mod publish;
mod source;

use std::cell::RefCell;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

pub(crate) use bound::{BoundStep, Evaluated, Prepared, Success};
pub use builder::{
    BestEffort, Compensatable, Parallel, Pivot, Query, Retryable, Returns, SagaBuilder, Signal, Sleep, StepHandle,
    Undone, When,
};
pub use child::Child;
pub use diagram::Format;
pub(crate) use diagram::draw;
pub use error::BuildError;
pub use for_each::{ForEach, ForEachOf};
pub use include::Included;
pub use late::LateSignal;
pub use lock::{Lock, Locks};
pub use outline::{Outline, OutlineDiff, StepOutline};
pub use plan::{Kind, Plan, Policy, StepPlan};
pub use publish::{Event, Publish};
pub(crate) use source::Outputs;
use source::Resolver;
pub use source::{Guarded, InputHandle, Mapped, Soft, Source};

use crate::checkpoint::{Checkpoint, CheckpointError, Payload};
use crate::codec::Codec;
use crate::machine::SagaState;

/// A saga's definition: what it is called, its version, its steps. Cheap to clone.
///
/// `I` is the saga's input, `O` its output: both can be journalled, for any saga may be the child of another.
///
/// Every step says what it is to the saga:
///
/// * `query`: no effect, never undone;
/// * `compensatable`: undone when the saga turns back, last first;
/// * `pivot`: the point of no return, at most one;
/// * `retryable`: after the pivot, repeated until done;
/// * `best_effort`: its failure is recorded, and the saga goes on.
///
/// Along every path: compensatable steps, then perhaps the pivot, then retryable ones; queries and
/// best-effort steps anywhere.
///
/// ```
/// use saga_core::{step_fn, Definition, Outcome, StepError};
///
/// let transfer = Definition::build("transfer", 1, |saga, amount| {
///     let debit = step_fn(async |_cx, amount: i64| Ok(amount))
///         .compensate(async |_cx, _amount: i64, _outcome: Outcome<i64>| Ok(()));
///     let debited = saga.compensatable("debit", debit, amount);
///     let credit = step_fn(async |_cx, amount: i64| match amount {
///         ..=0 => Err(StepError::rejected("nothing to transfer")),
///         amount => Ok(format!("{amount} moved")),
///     });
///     let credited = saga.pivot("credit", credit, debited);
///     saga.returns(credited)
/// })?;
/// println!("{}", transfer.to_mermaid());
/// # Ok::<(), saga_core::BuildError>(())
/// ```
pub struct Definition<I, O> {
    blueprint: Arc<Blueprint>,
    output: Arc<Resolver<O>>,
    types: PhantomData<fn(I) -> O>,
}

/// A definition without its types: what the engine registers and runs.
#[derive(Clone)]
pub(crate) struct Blueprint {
    pub(crate) name: Arc<str>,
    pub(crate) version: u32,
    pub(crate) plan: Plan,
    pub(crate) steps: Vec<Arc<dyn BoundStep>>,
    pub(crate) outline: Outline,
    /// Definitions whose sagas are started by those of this one: children, and what sees to late signals.
    pub(crate) related: Vec<Arc<Self>>,
    /// What sees to signals that come too late; none for a dead letter.
    pub(crate) late: Option<Arc<Self>>,
    /// What a saga returns, for the parent of one that is a child.
    pub(crate) encode_output: EncodeOutput,
    /// What becomes of payloads in the journal; none leaves them as they are.
    pub(crate) codec: Option<Arc<dyn Codec>>,
}

type EncodeOutput = Arc<dyn Fn(&SagaState) -> Result<Payload, CheckpointError> + Send + Sync>;

impl<I: Checkpoint, O: Checkpoint> Definition<I, O> {
    /// Builds the definition `name` in this version. The closure declares the steps and ends with
    /// [`SagaBuilder::returns`].
    ///
    /// A changed definition needs a new version: sagas that are under way finish on theirs.
    ///
    /// # Errors
    /// A [`BuildError`] that names the rule broken and the steps to change.
    pub fn build<F>(name: &str, version: u32, declare: F) -> Result<Self, BuildError>
    where
        F: for<'id> FnOnce(&SagaBuilder<'id>, InputHandle<'id, I>) -> Returns<'id, O>,
    {
        if name.is_empty() || name.len() > 100 || name.chars().any(char::is_control) {
            return Err(BuildError::BadName { name: name.to_owned() });
        }
        if version == 0 || i32::try_from(version).is_err() {
            return Err(BuildError::BadVersion);
        }
        let draft = RefCell::new(builder::Draft::default());
        let returns = {
            let saga = SagaBuilder { draft: &draft, brand: PhantomData };
            let Returns { output, reads, .. } = declare(&saga, InputHandle { brand: PhantomData, value: PhantomData });
            (output, reads)
        };
        let (output, reads) = returns;
        let builder::Draft { plans, bound, deadline, related, late, .. } = draft.into_inner();
        let plan = Plan::new(plans, reads)?.with_deadline(deadline);
        check_children(&plan, &related)?;
        let outline = Outline::of(name, version, &plan);
        let name = name.into();
        let output = Arc::new(output);
        let encode_output = encode(output.clone());
        let (steps, codec) = (bound, None);
        let blueprint = Blueprint { name, version, plan, steps, outline, related, late, encode_output, codec };
        Ok(Self { blueprint: Arc::new(blueprint), output, types: PhantomData })
    }
}

fn encode<O: Checkpoint>(output: Arc<Resolver<O>>) -> EncodeOutput {
    Arc::new(move |state| output.resolve(&Outputs::of(state))?.encode())
}

/// A child can be undone for as long as its parent lives: it must not pass a point of no return.
fn check_children(plan: &Plan, related: &[Arc<Blueprint>]) -> Result<(), BuildError> {
    for step in plan.steps() {
        let Some((name, version)) = &step.child else { continue };
        let child = related.iter().find(|child| child.name == *name && child.version == *version);
        if let Some(fixed) = child.and_then(|child| child.plan.point_of_no_return()) {
            let (step, child) = (step.name.clone(), name.to_string());
            return Err(BuildError::ChildCannotBeUndone { step, child, fixed: fixed.name.clone() });
        }
    }
    Ok(())
}

impl<I, O> Definition<I, O> {
    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.blueprint.name
    }

    /// The version.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.blueprint.version
    }

    /// Its steps and their order, as the machine sees them.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.blueprint.plan
    }

    /// What makes this definition itself: names, kinds and order. Two definitions with equal
    /// outlines can continue each other's sagas.
    #[must_use]
    pub fn outline(&self) -> &Outline {
        &self.blueprint.outline
    }

    /// A [Mermaid](https://mermaid.js.org) flowchart: steps forward, compensations beside them.
    #[must_use]
    pub fn to_mermaid(&self) -> String {
        diagram::draw(&self.blueprint, None, Format::Mermaid)
    }

    /// The same picture as a [Graphviz](https://graphviz.org) digraph.
    #[must_use]
    pub fn to_dot(&self) -> String {
        diagram::draw(&self.blueprint, None, Format::Dot)
    }

    /// Seals the payloads of this definition's sagas in the journal, see [`codec`](crate::codec). It is no
    /// part of what a version is compared by: sagas that are under way go on, sealed from here on.
    #[must_use]
    pub fn with_codec(mut self, codec: Arc<dyn Codec>) -> Self {
        Arc::make_mut(&mut self.blueprint).codec = Some(codec);
        self
    }

    pub(crate) fn blueprint(&self) -> &Arc<Blueprint> {
        &self.blueprint
    }

    pub(crate) fn output(&self, state: &SagaState) -> Result<O, CheckpointError> {
        self.output.resolve(&Outputs::of(state))
    }
}

impl<I, O> Clone for Definition<I, O> {
    fn clone(&self) -> Self {
        Self { blueprint: self.blueprint.clone(), output: self.output.clone(), types: PhantomData }
    }
}

impl<I, O> fmt::Debug for Definition<I, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Definition({} v{})", self.blueprint.name, self.blueprint.version)
    }
}

impl fmt::Debug for Blueprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Blueprint({} v{})", self.name, self.version)
    }
}
