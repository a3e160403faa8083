//! Requests that are carried out late.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use saga_core::machine::Record;
use saga_core::{SagaId, StepName};

use super::interceptor::{CURRENT, Who};
use super::tape::Entry;
use super::{Sim, verb};

/// How long what is carried out late may take, on virtual time.
const LANDING_MAX: Duration = Duration::from_secs(600);

/// A request on its way.
pub(crate) struct LateCall {
    /// Whose request it is; none when it was made outside of any attempt.
    who: Option<Who>,
    what: String,
    run: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl fmt::Debug for LateCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LateCall({})", self.what)
    }
}

impl LateCall {
    pub(crate) fn of_attempt(who: Who, run: impl Future<Output = ()> + Send + 'static) -> Self {
        let what = format!("{}{}", verb(who.op), who.label);
        Self { who: Some(who), what, run: Box::pin(run) }
    }

    pub(crate) fn of_call(name: &str, who: Option<Who>, run: impl FnOnce() + Send + 'static) -> Self {
        Self { who, what: format!("call {name}"), run: Box::pin(async move { run() }) }
    }
}

impl Sim {
    /// Keeps the request for later.
    pub(crate) fn later(&self, call: LateCall) {
        self.locked().late.push(call);
    }

    /// Carries out what was on its way for steps that are now compensated.
    pub(crate) fn land(self: &Arc<Self>, saga: SagaId, records: &[Record]) {
        let undone: Vec<&StepName> = records.iter().filter_map(undone).collect();
        if !undone.is_empty() {
            let is_due = |who: &Who| who.saga == saga && undone.iter().any(|step| step.as_str() == who.step);
            self.land_those(|call| call.who.as_ref().is_some_and(is_due));
        }
    }

    /// Carries out all that is on its way. False when there was nothing.
    pub(crate) fn land_all(self: &Arc<Self>) -> bool {
        self.land_those(|_| true)
    }

    /// Whether something is being carried out late at the moment.
    pub(crate) fn is_landing(&self) -> bool {
        self.locked().landing > 0
    }

    fn land_those(self: &Arc<Self>, is_due: impl Fn(&LateCall) -> bool) -> bool {
        let due: Vec<LateCall> = {
            let mut state = self.locked();
            let due: Vec<LateCall> = state.late.extract_if(.., |call| is_due(call)).collect();
            state.landing += u32::try_from(due.len()).unwrap_or(u32::MAX);
            due
        };
        let some = !due.is_empty();
        for call in due {
            let sim = self.clone();
            tokio::spawn(async move {
                sim.note(Entry::fault(format!("{} is carried out now", call.what)));
                let run = sim.foreign.hold(call.run);
                // Whatever becomes of it, nobody waits for an answer any more.
                match call.who {
                    Some(who) => tokio::time::timeout(LANDING_MAX, CURRENT.scope(who, run)).await.ok(),
                    None => tokio::time::timeout(LANDING_MAX, run).await.ok(),
                };
                sim.locked().landing -= 1;
                sim.written.notify_one();
            });
        }
        some
    }
}

fn undone(record: &Record) -> Option<&StepName> {
    match record {
        Record::Compensated { step, .. } => Some(step),
        _ => None,
    }
}
