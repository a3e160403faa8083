//! A definition within a definition: its steps are inlined under a prefix, and belong to the saga that
//! includes them.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use super::bound::{BoundStep, Evaluated, Prepared};
use super::builder::SagaBuilder;
use super::plan::StepPlan;
use super::source::{Brand, Outputs, Resolver, Source};
use super::{Blueprint, Definition};
use crate::checkpoint::{Checkpoint, CheckpointError, Payload};
use crate::id::{Op, StepName};
use crate::time::Timestamp;

impl<'id> SagaBuilder<'id> {
    /// Includes another definition: its steps come next, named `prefix/step`, and what it returns can be
    /// read like a step's output. It keeps its policies, and has neither a version nor a deadline of its
    /// own: its steps are part of this definition's outline.
    ///
    /// ```
    /// use saga_core::{step_fn, Definition, Source};
    ///
    /// let greet = Definition::build("greet", 1, |saga, name| {
    ///     let hello = saga.query("hello", step_fn(async |_cx, name: String| Ok(format!("hello {name}"))), name);
    ///     saga.returns(hello)
    /// })?;
    /// let welcome = Definition::build("welcome", 1, |saga, name| {
    ///     let greeting = saga.include("door", &greet, name);
    ///     let led = step_fn(async |_cx, greeting: String| Ok(format!("{greeting}, come in")));
    ///     let led = saga.query("lead-in", led, greeting);
    ///     saga.returns(led)
    /// })?;
    /// assert_eq!(welcome.plan().steps()[0].name.as_str(), "door/hello");
    /// # Ok::<(), saga_core::BuildError>(())
    /// ```
    pub fn include<I, O, S>(&self, prefix: &str, definition: &Definition<I, O>, input: S) -> Included<'id, O>
    where
        I: Checkpoint,
        O: Send + 'static,
        S: Source<'id, Value = I>,
    {
        let mut input_reads = Vec::new();
        let input = input.resolver(&mut input_reads);
        let input = Arc::new(Resolver::new(move |outputs| input.resolve(outputs)?.encode()));
        let blueprint = definition.blueprint();
        let base = self.draft.borrow().plans.len();
        self.inline(prefix, blueprint, base, &input, &input_reads);
        let returns = blueprint.plan.returns().iter().map(|read| base + read).collect();
        Included { base, input, input_reads, returns, output: definition.output.clone(), brand: PhantomData }
    }

    fn inline(
        &self,
        prefix: &str,
        blueprint: &Blueprint,
        base: usize,
        input: &Arc<Resolver<Payload>>,
        input_reads: &[usize],
    ) {
        let mut draft = self.draft.borrow_mut();
        let (frontier, guard) = (draft.frontier.clone(), draft.guard);
        let mut ends: Vec<usize> = (base..base + blueprint.plan.steps().len()).collect();
        for (step, bound) in blueprint.plan.steps().iter().zip(&blueprint.steps) {
            let after = match step.after.as_slice() {
                [] => frontier.clone(),
                after => after.iter().map(|before| base + before).collect(),
            };
            ends.retain(|end| !after.contains(end));
            let mut reads: Vec<usize> = step.reads.iter().map(|read| base + read).collect();
            reads.extend_from_slice(input_reads);
            draft.plans.push(StepPlan {
                name: StepName::from(&*format!("{prefix}/{}", step.name)),
                after,
                reads,
                guard: step.guard.map(|guard| base + guard).or(guard),
                ..step.clone()
            });
            draft.bound.push(Arc::new(Inlined { step: bound.clone(), base, input: input.clone() }));
        }
        draft.frontier = ends;
        draft.related.extend(blueprint.related.iter().cloned());
    }
}

/// What an included definition returns, see [`SagaBuilder::include`].
pub struct Included<'id, O> {
    base: usize,
    input: Arc<Resolver<Payload>>,
    input_reads: Vec<usize>,
    returns: Vec<usize>,
    output: Arc<Resolver<O>>,
    brand: Brand<'id>,
}

impl<O> Clone for Included<'_, O> {
    fn clone(&self) -> Self {
        let Self { base, input, input_reads, returns, output, brand } = self;
        let (input, output, brand) = (input.clone(), output.clone(), *brand);
        Self { base: *base, input, input_reads: input_reads.clone(), returns: returns.clone(), output, brand }
    }
}

impl<O> fmt::Debug for Included<'_, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Included(from {})", self.base)
    }
}

impl<'id, O: Send + 'static> Source<'id> for Included<'id, O> {
    type Value = O;

    fn resolver(self, reads: &mut Vec<usize>) -> Resolver<O> {
        let Self { base, input, input_reads, returns, output, .. } = self;
        reads.extend(input_reads);
        reads.extend(returns);
        Resolver::new(move |outputs| {
            let input = input.resolve(outputs)?;
            output.resolve(&outputs.included(base, &input))
        })
    }
}

/// A step of an included definition: it sees that definition's input and steps.
struct Inlined {
    step: Arc<dyn BoundStep>,
    base: usize,
    input: Arc<Resolver<Payload>>,
}

impl BoundStep for Inlined {
    fn prepare(&self, op: Op, index: usize, outputs: &Outputs<'_>) -> Result<Prepared, CheckpointError> {
        let input = self.input.resolve(outputs)?;
        self.step.prepare(op, index - self.base, &outputs.included(self.base, &input))
    }

    fn evaluate(&self, outputs: &Outputs<'_>, now: Timestamp) -> Result<Evaluated, CheckpointError> {
        let input = self.input.resolve(outputs)?;
        self.step.evaluate(&outputs.included(self.base, &input), now)
    }

    fn accepts(&self, output: &Payload) -> Result<(), CheckpointError> {
        self.step.accepts(output)
    }
}
