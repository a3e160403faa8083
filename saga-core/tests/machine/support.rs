//! Plans and records for tests of single decisions.

use std::time::Duration;

use saga_core::definition::{Policy, StepPlan};
use saga_core::machine::{Record, SagaState};
use saga_core::{Digest, Fault, Kind, Op, Payload, Plan, RetryPolicy, SagaId, Timestamp};

pub(crate) const AT: Timestamp = Timestamp::from_micros(1_000_000);

pub(crate) fn policy() -> Policy {
    Policy::new(RetryPolicy::never(), Duration::from_secs(1))
}

/// A sequence of these steps.
pub(crate) fn plan(kinds: &[(&str, Kind)]) -> Plan {
    let step = |(nth, (name, kind)): (usize, &(&str, Kind))| {
        let after = nth.checked_sub(1).into_iter().collect();
        let compensate = matches!(kind, Kind::Compensatable | Kind::Child).then(policy);
        StepPlan { compensate, ..StepPlan::new(*name, *kind, after, policy()) }
    };
    Plan::new(kinds.iter().enumerate().map(step).collect(), Vec::new()).unwrap()
}

pub(crate) fn payload() -> Payload {
    Payload::from_json("1".to_owned()).unwrap()
}

pub(crate) fn state(plan: &Plan, records: &[Record]) -> SagaState {
    then(SagaState::new(plan, payload(), AT), plan, records)
}

pub(crate) fn then(mut state: SagaState, plan: &Plan, records: &[Record]) -> SagaState {
    for record in records {
        state.apply(plan, record).unwrap();
    }
    state
}

pub(crate) fn begun(step: &str, op: Op, attempt: u32) -> Record {
    Record::Begun { step: step.into(), op, attempt, generation: 0, at: None, input: Digest::of_text("i") }
}

pub(crate) fn done(step: &str) -> Record {
    Record::Done { step: step.into(), output: payload() }
}

pub(crate) fn failed(step: &str, op: Op, fault: Fault) -> Record {
    Record::Failed { step: step.into(), op, fault, retry_at: None }
}

pub(crate) fn unknown() -> Fault {
    Fault::unknown("no answer".to_owned())
}

pub(crate) fn delegated(step: &str) -> Record {
    Record::Delegated { step: step.into(), child: SagaId::new() }
}
