//! A user's step bound to the source of its input, with the types erased: what the engine runs.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use super::lock::Locks;
use super::publish::Event;
use super::source::{Outputs, Resolver};
use crate::checkpoint::{Checkpoint, CheckpointError, Digest, Payload};
use crate::fault::StepError;
use crate::id::Op;
use crate::step::{Compensation, Outcome, Probe, Step, StepContext};
use crate::time::Timestamp;

type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What an attempt brought back when it did not fail.
#[derive(Debug)]
pub(crate) enum Success {
    Output(Payload),
    Probed(Probe<Payload>),
    Compensated,
}

/// One attempt, its input decoded, ready to run.
pub(crate) struct Prepared {
    /// The fingerprint of the step's input.
    pub(crate) input: Digest,
    pub(crate) run: Box<dyn FnOnce(StepContext) -> BoxFuture<'static, Result<Success, StepError>> + Send>,
}

pub(crate) trait BoundStep: Send + Sync {
    /// Decodes what the operation needs.
    fn prepare(&self, op: Op, index: usize, outputs: &Outputs<'_>) -> Result<Prepared, CheckpointError>;

    /// Works out a step that needs no attempt: a decision, or a time.
    fn evaluate(&self, outputs: &Outputs<'_>, now: Timestamp) -> Result<Evaluated, CheckpointError>;

    /// Whether the payload is an output that the step could have left.
    fn accepts(&self, output: &Payload) -> Result<(), CheckpointError>;
}

/// What a step that needs no attempt came to.
#[derive(Debug)]
pub(crate) enum Evaluated {
    /// It is done, with this output.
    Done(Payload),
    /// It is done at this time, if there is one, or when something else has come.
    Until(Option<Timestamp>),
    /// It is taken once for each of so many items.
    Items(usize),
    /// It publishes this event.
    Publishes(Event<Payload>),
    /// It asks for these entities, and waits for them for so long.
    Locks { keys: Vec<String>, at_most: Duration },
    /// It runs a saga of its own, with this input.
    Delegates(Payload),
}

/// A step that needs no attempt, see [`BoundStep::evaluate`].
pub(crate) enum Pure {
    /// Whether the steps that it guards are taken.
    When(Resolver<bool>),
    /// For how long to wait.
    Sleep(Resolver<Duration>),
    /// Until when to wait.
    SleepUntil(Resolver<Timestamp>),
    /// For a signal, and for how long.
    Signal { at_most: Resolver<Option<Duration>>, accepts: fn(&Payload) -> Result<(), CheckpointError> },
    /// The event to publish.
    Publish(Resolver<Result<Event<Payload>, CheckpointError>>),
    /// The entities to lock.
    Lock { keys: Resolver<Vec<String>>, at_most: Duration },
    /// The input of a child saga.
    Child { input: Resolver<Result<Payload, CheckpointError>>, accepts: fn(&Payload) -> Result<(), CheckpointError> },
}

impl BoundStep for Pure {
    fn prepare(&self, _op: Op, _index: usize, outputs: &Outputs<'_>) -> Result<Prepared, CheckpointError> {
        // The machine asks for attempts of steps that have some; this is one that has an answer instead.
        let input = match self.evaluate(outputs, Timestamp::from_micros(0))? {
            Evaluated::Done(output) => output,
            Evaluated::Delegates(input) => input,
            Evaluated::Until(_) | Evaluated::Items(_) | Evaluated::Publishes(_) | Evaluated::Locks { .. } => {
                Payload::null()
            }
        };
        let digest = input.digest();
        Ok(Prepared { input: digest, run: Box::new(|_| Box::pin(async { Ok(Success::Output(input)) })) })
    }

    fn evaluate(&self, outputs: &Outputs<'_>, now: Timestamp) -> Result<Evaluated, CheckpointError> {
        Ok(match self {
            Self::When(condition) => Evaluated::Done(condition.resolve(outputs)?.encode()?),
            Self::Sleep(time) => Evaluated::Until(Some(now.after(time.resolve(outputs)?))),
            Self::SleepUntil(time) => Evaluated::Until(Some(time.resolve(outputs)?)),
            Self::Signal { at_most, .. } => Evaluated::Until(at_most.resolve(outputs)?.map(|most| now.after(most))),
            Self::Publish(event) => Evaluated::Publishes(event.resolve(outputs)??),
            Self::Lock { keys, at_most } => {
                let mut keys = keys.resolve(outputs)?;
                keys.sort_unstable();
                keys.dedup();
                Evaluated::Locks { keys, at_most: *at_most }
            }
            Self::Child { input, .. } => Evaluated::Delegates(input.resolve(outputs)??),
        })
    }

    fn accepts(&self, output: &Payload) -> Result<(), CheckpointError> {
        match self {
            Self::When(_) => bool::decode(output).map(drop),
            Self::Sleep(_) | Self::SleepUntil(_) | Self::Publish(_) => <()>::decode(output),
            Self::Lock { .. } => Locks::decode(output).map(drop),
            Self::Signal { accepts, .. } | Self::Child { accepts, .. } => accepts(output),
        }
    }
}

type Undo<S> = for<'a> fn(
    &'a S,
    &'a StepContext,
    <S as Step>::Input,
    Outcome<<S as Step>::Output>,
) -> BoxFuture<'a, Result<(), StepError>>;

pub(crate) struct Bound<S: Step> {
    step: Arc<S>,
    input: Resolver<S::Input>,
    undo: Option<Undo<S>>,
}

impl<S: Step> Bound<S> {
    pub(crate) fn new(step: S, input: Resolver<S::Input>) -> Self {
        Self { step: Arc::new(step), input, undo: None }
    }
}

impl<S: Compensation> Bound<S> {
    pub(crate) fn compensatable(step: S, input: Resolver<S::Input>) -> Self {
        let undo: Undo<S> = |step, cx, input, outcome| step.compensate(cx, input, outcome);
        Self { undo: Some(undo), ..Self::new(step, input) }
    }
}

impl<S: Step> BoundStep for Bound<S> {
    fn prepare(&self, op: Op, index: usize, outputs: &Outputs<'_>) -> Result<Prepared, CheckpointError> {
        prepare(&self.step, self.undo, self.input.resolve(outputs)?, op, outputs.step(index).output())
    }

    fn evaluate(&self, outputs: &Outputs<'_>, _now: Timestamp) -> Result<Evaluated, CheckpointError> {
        // The machine asks only for what is worked out here; whatever it asks of a step is its input.
        self.input.resolve(outputs)?.encode().map(Evaluated::Done)
    }

    fn accepts(&self, output: &Payload) -> Result<(), CheckpointError> {
        S::Output::decode(output).map(drop)
    }
}

/// A step that is taken once for each item of a list.
pub(crate) struct Each<S: Step> {
    step: Arc<S>,
    items: Resolver<Vec<S::Input>>,
    undo: Option<Undo<S>>,
}

impl<S: Step> Each<S> {
    pub(crate) fn new(step: S, items: Resolver<Vec<S::Input>>) -> Self {
        Self { step: Arc::new(step), items, undo: None }
    }
}

impl<S: Compensation> Each<S> {
    pub(crate) fn compensatable(step: S, items: Resolver<Vec<S::Input>>) -> Self {
        let undo: Undo<S> = |step, cx, input, outcome| step.compensate(cx, input, outcome);
        Self { undo: Some(undo), ..Self::new(step, items) }
    }
}

impl<S: Step> BoundStep for Each<S> {
    fn prepare(&self, op: Op, index: usize, outputs: &Outputs<'_>) -> Result<Prepared, CheckpointError> {
        let state = outputs.step(index);
        let nth = state.item().and_then(|item| usize::try_from(item).ok());
        let item = nth.map(|nth| self.items.resolve(outputs).map(|items| items.into_iter().nth(nth)));
        let item = item.transpose()?.flatten();
        let item = item.ok_or_else(|| CheckpointError::Missing { step: state.name().clone() })?;
        prepare(&self.step, self.undo, item, op, state.output())
    }

    fn evaluate(&self, outputs: &Outputs<'_>, _now: Timestamp) -> Result<Evaluated, CheckpointError> {
        self.items.resolve(outputs).map(|items| Evaluated::Items(items.len()))
    }

    fn accepts(&self, output: &Payload) -> Result<(), CheckpointError> {
        S::Output::decode(output).map(drop)
    }
}

/// One attempt of a step with this input; `output` is what it left, once it is done.
fn prepare<S: Step>(
    step: &Arc<S>,
    undo: Option<Undo<S>>,
    input: S::Input,
    op: Op,
    output: Option<&Payload>,
) -> Result<Prepared, CheckpointError> {
    let digest = input.digest()?;
    let step = step.clone();
    let run: Box<dyn FnOnce(StepContext) -> BoxFuture<'static, _> + Send> = match op {
        Op::Run => Box::new(move |cx| {
            Box::pin(async move {
                let output = step.run(&cx, input).await?;
                encode(&output).map(Success::Output)
            })
        }),
        Op::Probe => Box::new(move |cx| {
            Box::pin(async move {
                Ok(Success::Probed(match step.probe(&cx, input).await? {
                    Probe::Applied(output) => Probe::Applied(encode(&output)?),
                    Probe::NotApplied => Probe::NotApplied,
                    Probe::Unknown => Probe::Unknown,
                    Probe::Unsupported => Probe::Unsupported,
                }))
            })
        }),
        Op::Compensate => {
            let outcome = match output {
                Some(output) => Outcome::Done(S::Output::decode(output)?),
                None => Outcome::Unknown,
            };
            Box::new(move |cx| {
                Box::pin(async move {
                    if let Some(undo) = undo {
                        undo(&step, &cx, input, outcome).await?;
                    }
                    Ok(Success::Compensated)
                })
            })
        }
    };
    Ok(Prepared { input: digest, run })
}

/// The effect has happened: an output that cannot be written down leaves the step's fate unknown.
fn encode(output: &impl Checkpoint) -> Result<Payload, StepError> {
    output.encode().map_err(|error| StepError::fatal(format!("the output cannot be journalled: {error}")))
}
