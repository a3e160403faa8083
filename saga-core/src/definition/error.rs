//! What `build` refuses.

use crate::id::StepName;

/// A definition breaks a rule that the compiler cannot check. Each says which steps to change.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The saga has no step.
    #[error("the saga has no steps: add at least one")]
    Empty,
    /// A name cannot be used.
    #[error("the name {name:?} cannot be used: it must have 1 to 100 bytes, no control characters and no brackets")]
    BadName {
        /// The name as given.
        name: String,
    },
    /// Versions are counted from one.
    #[error("the version must be 1 or higher, and at most 2147483647")]
    BadVersion,
    /// Two steps have the same name.
    #[error("two steps are called {step}: the journal knows steps by name, so give each its own")]
    DuplicateName {
        /// The name used twice.
        step: StepName,
    },
    /// The saga has two points of no return.
    #[error("both {first} and {second} are pivots: a saga has one point of no return")]
    TwoPivots {
        /// The pivot declared first.
        first: StepName,
        /// The pivot declared second.
        second: StepName,
    },
    /// There is one point of no return, not one for each item. (The typed builder cannot produce it.)
    #[error("the pivot {pivot} is taken for each item of a list: a saga has one point of no return")]
    PivotForEach {
        /// The pivot.
        pivot: StepName,
    },
    /// A step takes the output of a step in another branch of its parallel group.
    #[error(
        "the step {step} reads the output of {reads}, which runs in another branch and may not be done: move one of them"
    )]
    ReadsOtherBranch {
        /// The step that reads.
        step: StepName,
        /// The step that is read.
        reads: StepName,
    },
    /// A step takes the output of a step that is taken only under a condition.
    #[error("{reader} reads the output of {reads}, which is taken only under a condition: read what `when` returns")]
    ReadsGuarded {
        /// The step that reads, or the saga's output.
        reader: String,
        /// The step that is read.
        reads: StepName,
    },
    /// The pivot runs beside another step.
    #[error("the pivot {pivot} runs in parallel with {beside}: move it out of the parallel group")]
    PivotInParallel {
        /// The pivot.
        pivot: StepName,
        /// A step that may run at the same time.
        beside: StepName,
    },
    /// A compensatable step cannot be undone where it stands.
    #[error("the compensatable step {step} does not come before the pivot {pivot}: make it retryable, or move it")]
    CompensatableAfterPivot {
        /// The step.
        step: StepName,
        /// The pivot.
        pivot: StepName,
    },
    /// A compensatable step cannot be undone where it stands.
    #[error("the compensatable step {step} does not come before the retryable step {retryable}, which is never undone")]
    CompensatableAfterRetryable {
        /// The step.
        step: StepName,
        /// The retryable step.
        retryable: StepName,
    },
    /// A retryable step could never be undone if the pivot then fails.
    #[error("the retryable step {step} does not come after the pivot {pivot}: make it compensatable, or move it")]
    RetryableBeforePivot {
        /// The step.
        step: StepName,
        /// The pivot.
        pivot: StepName,
    },
    /// A saga asks for entity locks once, all or nothing.
    #[error("the steps {first} and {second} both lock entities: lock all of them in one step")]
    TwoLocks {
        /// The one.
        first: StepName,
        /// The other.
        second: StepName,
    },
    /// A child saga must be able to be undone for as long as its parent lives.
    #[error(
        "the child saga {child} of the step {step} cannot be undone after its step {fixed}: start it as a follow-up, or include it"
    )]
    ChildCannotBeUndone {
        /// The step of the parent.
        step: StepName,
        /// The name of the child's definition.
        child: String,
        /// The child's pivot, or first retryable step.
        fixed: StepName,
    },
    /// A compensatable step has no compensation policy. (The typed builder cannot produce it.)
    #[error("the compensatable step {step} has no compensation")]
    NoCompensation {
        /// The step.
        step: StepName,
    },
}
