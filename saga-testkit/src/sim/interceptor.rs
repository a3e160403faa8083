//! Around every attempt: what becomes of it.

use std::sync::Arc;

use saga_core::engine::{Answer, Call, Interceptor};
use saga_core::{Op, SagaId, StepContext, StepError, async_trait};

use super::fate::Fate;
use super::late::LateCall;
use super::process::Process;
use super::tape::Entry;
use super::tell::pace;
use super::{Sim, verb};

tokio::task_local! {
    /// The attempt in which the user's code runs at the moment.
    pub(crate) static CURRENT: Who;
    /// The process that it runs in.
    pub(crate) static PROCESS: Arc<Process>;
}

/// An attempt, by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Who {
    pub(crate) saga: SagaId,
    /// The step, with its definition in front when that is a child's.
    pub(crate) label: String,
    pub(crate) step: String,
    pub(crate) op: Op,
    /// Whether it is carried out late, when nobody waits for it any more.
    pub(crate) late: bool,
}

/// Stands between the engine and the user's steps.
#[derive(Debug)]
pub(crate) struct SimInterceptor {
    pub(crate) sim: Arc<Sim>,
    /// Where the attempts are made.
    pub(crate) process: Arc<Process>,
}

#[async_trait]
impl Interceptor for SimInterceptor {
    async fn intercept(&self, cx: &StepContext, call: Call) -> Result<Answer, StepError> {
        let who = self.sim.who(cx);
        let Some(fate) = self.sim.visit_attempt(&who) else { return self.made(who, cx, call).await };
        match fate {
            Fate::Refused => Err(StepError::rejected("refused, as scheduled")),
            Fate::Unsent => Err(StepError::unsent("not sent, as scheduled")),
            Fate::RequestLost => Err(StepError::retry("the request was lost, as scheduled")),
            Fate::UnknownWithout => Err(StepError::fatal("nobody knows, as scheduled")),
            Fate::AnswerLost => {
                self.made(who, cx, call).await.ok();
                Err(StepError::retry("the answer was lost, as scheduled"))
            }
            Fate::UnknownWith => {
                self.made(who, cx, call).await.ok();
                Err(StepError::fatal("nobody knows, as scheduled"))
            }
            Fate::TimedOut => {
                self.made(who, cx, call).await.ok();
                std::future::pending().await
            }
            Fate::Late => {
                self.later(who, cx, call);
                Err(StepError::retry("no answer, as scheduled"))
            }
            Fate::UnknownLate => {
                self.later(who, cx, call);
                Err(StepError::fatal("nobody knows, as scheduled"))
            }
            // What an attempt cannot come to is not scheduled for one.
            Fate::CrashBefore | Fate::CrashAfter | Fate::Early | Fate::Twice | Fate::TooLate | Fate::Never => {
                self.made(who, cx, call).await
            }
        }
    }
}

impl SimInterceptor {
    async fn made(&self, who: Who, cx: &StepContext, call: Call) -> Result<Answer, StepError> {
        let name = format!("{}{}", verb(who.op), who.label);
        let answer =
            self.sim.foreign.hold(PROCESS.scope(self.process.clone(), CURRENT.scope(who, call.make(cx)))).await;
        self.sim.note(Entry::new(format!("{name}: {}", pace(&answer))));
        answer
    }

    fn later(&self, who: Who, cx: &StepContext, call: Call) {
        let made = call.make(cx);
        self.sim.later(LateCall::of_attempt(Who { late: true, ..who }, async move { drop(made.await) }));
    }
}
