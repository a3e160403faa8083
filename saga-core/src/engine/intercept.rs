//! What stands around every attempt: a host's own layer between the engine and its steps.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;

use crate::definition::{Prepared, Success};
use crate::fault::StepError;
use crate::step::StepContext;

/// Stands around every attempt that an engine makes: of steps, of probes, of compensations. As the middleware
/// of a web framework does, it sees the attempt before it begins and after it has ended, and may make it
/// later, or not at all: to hand on trace contexts, to wait for a place, to inject failures on a
/// staging system.
///
/// Waits and decisions are no attempts, and pass it by. What it does counts as part of the attempt: it
/// stands under its time limit, and its panic is the attempt's.
///
/// What it answers is what is journalled, so it must be the truth: a [`StepError`] that says "no effect" for a
/// call that was made loses that effect.
///
/// ```
/// use saga_core::engine::{Answer, Call, Interceptor};
/// use saga_core::{async_trait, StepContext, StepError};
///
/// /// Lets nobody call anybody at night.
/// #[derive(Debug)]
/// struct Curfew;
///
/// #[async_trait]
/// impl Interceptor for Curfew {
///     async fn intercept(&self, cx: &StepContext, call: Call) -> Result<Answer, StepError> {
///         if cx.now().to_utc().format("%H").to_string() == "03" {
///             return Err(StepError::unsent("nobody is called at three"));
///         }
///         call.make(cx).await
///     }
/// }
/// ```
#[async_trait]
pub trait Interceptor: fmt::Debug + Send + Sync + 'static {
    /// Makes the attempt with [`Call::make`], or answers in its place.
    async fn intercept(&self, cx: &StepContext, call: Call) -> Result<Answer, StepError>;
}

type Made = Pin<Box<dyn Future<Output = Result<Success, StepError>> + Send>>;

/// An attempt that has not been made. Dropped, it has certainly had no effect.
pub struct Call(Box<dyn FnOnce(StepContext) -> Made + Send>);

impl Call {
    pub(crate) fn new(prepared: Prepared) -> Self {
        Self(prepared.run)
    }

    /// Makes the attempt. The future owns all that it needs: it may be handed to a task.
    pub fn make(self, cx: &StepContext) -> impl Future<Output = Result<Answer, StepError>> + Send + 'static {
        let made = (self.0)(cx.clone());
        async move { made.await.map(Answer) }
    }

    /// As [`Call::make`]. Nothing is done before the future is polled.
    pub(crate) fn begin(self, cx: StepContext) -> Made {
        (self.0)(cx)
    }

    /// The same attempt with these around it, the first one outermost.
    pub(crate) fn within(self, interceptors: &[Arc<dyn Interceptor>]) -> Self {
        interceptors.iter().rev().fold(self, |call, interceptor| {
            let interceptor = interceptor.clone();
            Self(Box::new(|cx| Box::pin(async move { interceptor.intercept(&cx, call).await.map(|answer| answer.0) })))
        })
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Call")
    }
}

/// What an attempt brought back when it did not fail. Only an attempt that was made has one.
#[derive(Debug)]
pub struct Answer(pub(crate) Success);
