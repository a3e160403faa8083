#![doc = include_str!("../README.md")]

pub mod checkpoint;
pub mod codec;
pub mod definition;
pub mod engine;
pub mod fault;
pub mod id;
pub mod journal;
pub mod limits;
pub mod machine;
pub mod publish;
pub mod retry;
#[cfg(feature = "seeded-bugs")]
#[doc(hidden)]
pub mod seeded;
#[cfg(not(feature = "seeded-bugs"))]
mod seeded;
pub mod step;
pub mod time;
pub mod verify;

pub use async_trait::async_trait;
pub use checkpoint::{Checkpoint, CheckpointError, Digest, Payload};
pub use definition::{
    BuildError, Definition, Event, InputHandle, Kind, LateSignal, Locks, Plan, SagaBuilder, Soft, Source, StepHandle,
};
pub use engine::{Engine, SagaHandle, SagaOutcome};
pub use fault::{Class, Effect, Fault, StepError};
pub use id::{BadSagaId, Epoch, IdempotencyKey, Op, SagaId, StepName};
pub use limits::Limits;
pub use retry::{Backoff, Jitter, RetryPolicy};
pub use step::{Compensation, FnCompensatable, FnStep, Outcome, Probe, Step, StepContext, step_fn};
pub use time::Timestamp;

/// The example of the project's first page compiles and runs.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct FirstPage;
