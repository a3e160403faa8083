//! The pure shape of a definition: steps, their kinds and their order. All that the machine knows.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::error::BuildError;
use crate::id::{Op, StepName};
use crate::retry::RetryPolicy;

/// What a step is to the saga, after Garcia-Molina & Salem (1987) and Richardson's saga structure
/// (compensatable, pivot, retriable), and beside them steps that need no undoing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Has no effect: it is never undone, and its failure turns the saga back.
    Query,
    /// Has an effect that its compensation undoes.
    Compensatable,
    /// The point of no return: once it is done the saga only goes forward.
    Pivot,
    /// After the point of no return: retried until done.
    Retryable,
    /// Its failure is recorded on the saga, which goes on.
    BestEffort,
    /// Decides, by a pure predicate on earlier outputs, whether the steps that it guards are taken.
    When,
    /// Waits for a time.
    Sleep,
    /// Waits for a signal, or until a time.
    Signal,
    /// Publishes an event, with the turn that goes past it.
    Publish,
    /// Waits until entities are locked for the saga, or until a time.
    Lock,
    /// Runs another definition as a saga of its own, which is undone when this one turns back.
    Child,
}

impl Kind {
    /// Whether the step does anything in the world.
    #[must_use]
    pub fn has_effect(self) -> bool {
        match self {
            Self::Compensatable | Self::Pivot | Self::Retryable | Self::BestEffort | Self::Child => true,
            Self::Query | Self::When | Self::Sleep | Self::Signal | Self::Publish | Self::Lock => false,
        }
    }

    /// Whether the step is worked out here, without an attempt.
    #[must_use]
    pub fn is_pure(self) -> bool {
        match self {
            Self::When | Self::Sleep | Self::Signal | Self::Publish | Self::Lock | Self::Child => true,
            Self::Query | Self::Compensatable | Self::Pivot | Self::Retryable | Self::BestEffort => false,
        }
    }

    /// The name in outlines, diagrams and errors.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Query => "query",
            Self::Compensatable => "compensatable",
            Self::Pivot => "pivot",
            Self::Retryable => "retryable",
            Self::BestEffort => "best-effort",
            Self::When => "when",
            Self::Sleep => "sleep",
            Self::Signal => "signal",
            Self::Publish => "publish",
            Self::Lock => "lock",
            Self::Child => "child",
        }
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How one operation of a step is attempted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// When to try again.
    pub retry: RetryPolicy,
    /// How long one attempt may take.
    pub timeout: Duration,
    /// For how long participants remember the operation's key, from its first use: after that it is
    /// not sent again. None when they remember it for as long as attempts go on.
    pub key_horizon: Option<Duration>,
}

impl Policy {
    /// These attempts, each this long at most, under a key that participants remember.
    #[must_use]
    pub const fn new(retry: RetryPolicy, timeout: Duration) -> Self {
        Self { retry, timeout, key_horizon: None }
    }

    /// Whether some limit counts from the time when attempts begin.
    pub(crate) fn counts_time(&self) -> bool {
        self.key_horizon.is_some() || self.retry.within_max().is_some()
    }
}

/// One step, as the machine sees it. Other steps are named by their index in the plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepPlan {
    /// Its name, unique in the plan.
    pub name: StepName,
    /// What it is to the saga.
    pub kind: Kind,
    /// The steps that must have gone by before this one starts. Each has a lower index.
    pub after: Vec<usize>,
    /// The steps whose outputs it reads.
    pub reads: Vec<usize>,
    /// The step that decides whether this one is taken; none when it always is.
    pub guard: Option<usize>,
    /// For a step that is taken once for each item of a list: how many items at a time. Each item has
    /// the step's policies to itself.
    pub each: Option<NonZeroUsize>,
    /// How it is attempted.
    pub run: Policy,
    /// How it is compensated; none when it is never undone.
    pub compensate: Option<Policy>,
    /// Whether its participant answers a key that has failed with the same failure for ever: another
    /// attempt then takes a new key, once it is certain that nothing happened under the old one.
    pub replays_errors: bool,
    /// For how long after a compensation that may have come before the effect the participant is
    /// asked whether the effect came late; none when it refuses what comes late by itself.
    pub watch: Option<Duration>,
    /// The name of the signal that it waits for.
    pub signal: Option<Arc<str>>,
    /// The service that it calls, by the name under which its retries are budgeted.
    pub dependency: Option<Arc<str>>,
    /// The definition that it runs as a saga of its own, by name and version.
    pub child: Option<(Arc<str>, u32)>,
}

impl StepPlan {
    /// A step with these attempts and no compensation, after the steps `after`.
    #[must_use]
    pub fn new(name: impl Into<StepName>, kind: Kind, after: Vec<usize>, run: Policy) -> Self {
        let name = name.into();
        Self {
            name,
            kind,
            after,
            reads: Vec::new(),
            guard: None,
            each: None,
            run,
            compensate: None,
            replays_errors: false,
            watch: None,
            signal: None,
            dependency: None,
            child: None,
        }
    }
}

/// The steps of a definition in an order that keeps every dependency, checked against the grammar
/// `compensatable* pivot? retryable*` along every path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    steps: Vec<StepPlan>,
    /// For each step, whether each other step comes strictly after it.
    before: Vec<Vec<bool>>,
    returns: Vec<usize>,
    deadline: Option<Duration>,
}

impl Plan {
    /// Checks the steps and their order. `returns` are the steps whose outputs the saga's output
    /// is made of.
    ///
    /// # Errors
    /// A [`BuildError`] that names the first rule broken.
    pub fn new(steps: Vec<StepPlan>, returns: Vec<usize>) -> Result<Self, BuildError> {
        let before = reachability(&steps);
        let plan = Self { steps, before, returns, deadline: None };
        plan.check()?;
        Ok(plan)
    }

    /// The same plan with a deadline: a saga that has not passed its point of no return by then, from
    /// its start, turns back.
    #[must_use]
    pub fn with_deadline(self, deadline: Option<Duration>) -> Self {
        Self { deadline, ..self }
    }

    /// By when, from its start, a saga must have passed its point of no return.
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        self.deadline
    }

    /// The steps, in order of declaration.
    #[must_use]
    pub fn steps(&self) -> &[StepPlan] {
        &self.steps
    }

    /// The steps whose outputs the saga's output is made of.
    #[must_use]
    pub fn returns(&self) -> &[usize] {
        &self.returns
    }

    /// Whether the output of the step is read by another step or by the saga's output.
    #[must_use]
    pub fn is_read(&self, index: usize) -> bool {
        // What is under a condition may be read as an `Option`.
        let perhaps = self.steps[index].guard.is_some();
        perhaps || self.returns.contains(&index) || self.steps.iter().any(|step| step.reads.contains(&index))
    }

    /// The index of the step with this name.
    #[must_use]
    pub fn find(&self, name: &StepName) -> Option<usize> {
        self.steps.iter().position(|step| step.name == *name)
    }

    /// Whether `later` comes strictly after `earlier` on some path.
    #[must_use]
    pub fn is_before(&self, earlier: usize, later: usize) -> bool {
        self.before[earlier][later]
    }

    /// Whether the definition has a pivot.
    #[must_use]
    pub fn has_pivot(&self) -> bool {
        self.steps.iter().any(|step| step.kind == Kind::Pivot)
    }

    /// How `op` of the step is attempted. A probe is attempted as the step itself is.
    #[must_use]
    pub fn policy(&self, step: usize, op: Op) -> &Policy {
        let step = &self.steps[step];
        match op {
            Op::Run | Op::Probe => &step.run,
            Op::Compensate => step.compensate.as_ref().unwrap_or(&step.run),
        }
    }

    fn check(&self) -> Result<(), BuildError> {
        if self.steps.is_empty() {
            return Err(BuildError::Empty);
        }
        self.check_names()?;
        self.check_reads()?;
        self.check_guards()?;
        let pivot = self.check_single_pivot()?;
        for (index, step) in self.steps.iter().enumerate() {
            match step.kind {
                Kind::Compensatable => {
                    if step.compensate.is_none() {
                        return Err(BuildError::NoCompensation { step: step.name.clone() });
                    }
                    self.check_can_still_turn_back(index, pivot)?;
                }
                Kind::Retryable => {
                    if let Some(pivot) = pivot.filter(|&pivot| !self.before[pivot][index]) {
                        return Err(BuildError::RetryableBeforePivot {
                            step: step.name.clone(),
                            pivot: self.steps[pivot].name.clone(),
                        });
                    }
                }
                Kind::Child => self.check_can_still_turn_back(index, pivot)?,
                Kind::Query
                | Kind::Pivot
                | Kind::BestEffort
                | Kind::When
                | Kind::Sleep
                | Kind::Signal
                | Kind::Publish
                | Kind::Lock => {}
            }
        }
        self.check_single_lock()
    }

    /// One set of locks at most, taken all or nothing: that is why sagas cannot wait for each other in a
    /// circle.
    fn check_single_lock(&self) -> Result<(), BuildError> {
        let mut locks = self.steps.iter().filter(|step| step.kind == Kind::Lock);
        match (locks.next(), locks.next()) {
            (Some(first), Some(second)) => {
                Err(BuildError::TwoLocks { first: first.name.clone(), second: second.name.clone() })
            }
            _ => Ok(()),
        }
    }

    /// The step after which a saga of this plan cannot turn back any more.
    #[must_use]
    pub fn point_of_no_return(&self) -> Option<&StepPlan> {
        self.steps.iter().find(|step| matches!(step.kind, Kind::Pivot | Kind::Retryable))
    }

    fn check_names(&self) -> Result<(), BuildError> {
        for (index, step) in self.steps.iter().enumerate() {
            let name = step.name.as_str();
            let unusable = |c: char| c.is_control() || c == '[' || c == ']';
            if name.is_empty() || name.len() > 100 || name.chars().any(unusable) {
                return Err(BuildError::BadName { name: name.to_owned() });
            }
            if self.steps[..index].iter().any(|earlier| earlier.name == step.name) {
                return Err(BuildError::DuplicateName { step: step.name.clone() });
            }
        }
        Ok(())
    }

    /// A step reads only what is certain to be there when it starts.
    fn check_reads(&self) -> Result<(), BuildError> {
        for (index, step) in self.steps.iter().enumerate() {
            if let Some(&read) = step.reads.iter().find(|&&read| !self.before[read][index]) {
                return Err(BuildError::ReadsOtherBranch {
                    step: step.name.clone(),
                    reads: self.steps[read].name.clone(),
                });
            }
        }
        Ok(())
    }

    /// Whether a step is taken only when `guard` decided so.
    fn is_guarded_by(&self, step: Option<usize>, guard: usize) -> bool {
        let mut above = step.and_then(|step| self.steps[step].guard);
        while let Some(next) = above {
            if next == guard {
                return true;
            }
            above = self.steps[next].guard;
        }
        false
    }

    /// What is taken only under a condition is read only under the same one, or as an `Option`.
    fn check_guards(&self) -> Result<(), BuildError> {
        let outside = |reader: Option<usize>, read: usize| {
            let guard = self.steps[read].guard.filter(|_| self.steps[read].kind != Kind::When)?;
            (!self.is_guarded_by(reader, guard)).then_some((reader, read))
        };
        let readers = self.steps.iter().enumerate();
        let readers = readers.flat_map(|(at, step)| step.reads.iter().map(move |&read| (Some(at), read)));
        let returned = self.returns.iter().map(|&read| (None, read));
        match readers.chain(returned).find_map(|(reader, read)| outside(reader, read)) {
            Some((reader, read)) => Err(BuildError::ReadsGuarded {
                reader: reader.map_or_else(|| "the saga's output".to_owned(), |at| self.steps[at].name.to_string()),
                reads: self.steps[read].name.clone(),
            }),
            None => Ok(()),
        }
    }

    /// At most one pivot, and nothing beside it: while its outcome is open no direction is settled,
    /// so no other branch may run.
    fn check_single_pivot(&self) -> Result<Option<usize>, BuildError> {
        let mut pivots = (0..self.steps.len()).filter(|&index| self.steps[index].kind == Kind::Pivot);
        let Some(pivot) = pivots.next() else { return Ok(None) };
        if let Some(second) = pivots.next() {
            return Err(BuildError::TwoPivots {
                first: self.steps[pivot].name.clone(),
                second: self.steps[second].name.clone(),
            });
        }
        if self.steps[pivot].each.is_some() {
            return Err(BuildError::PivotForEach { pivot: self.steps[pivot].name.clone() });
        }
        let beside = |&other: &usize| other != pivot && !self.before[pivot][other] && !self.before[other][pivot];
        match (0..self.steps.len()).find(beside) {
            Some(other) => Err(BuildError::PivotInParallel {
                pivot: self.steps[pivot].name.clone(),
                beside: self.steps[other].name.clone(),
            }),
            None => Ok(Some(pivot)),
        }
    }

    /// A compensatable step must come before the pivot and before every retryable step.
    fn check_can_still_turn_back(&self, index: usize, pivot: Option<usize>) -> Result<(), BuildError> {
        let step = || self.steps[index].name.clone();
        if let Some(pivot) = pivot.filter(|&pivot| !self.before[index][pivot]) {
            return Err(BuildError::CompensatableAfterPivot { step: step(), pivot: self.steps[pivot].name.clone() });
        }
        let too_early = |&other: &usize| self.steps[other].kind == Kind::Retryable && !self.before[index][other];
        match (0..self.steps.len()).find(too_early) {
            Some(other) => {
                Err(BuildError::CompensatableAfterRetryable { step: step(), retryable: self.steps[other].name.clone() })
            }
            None => Ok(()),
        }
    }
}

fn reachability(steps: &[StepPlan]) -> Vec<Vec<bool>> {
    let mut before = vec![vec![false; steps.len()]; steps.len()];
    for (later, step) in steps.iter().enumerate() {
        for &earlier in &step.after {
            debug_assert!(earlier < later, "dependencies point back");
            before[earlier][later] = true;
            for row in &mut before {
                if row[earlier] {
                    row[later] = true;
                }
            }
        }
    }
    before
}
