//! How far a checkout has come, step by step, as its history tells.

use saga_core::engine::HistoryTurn;
use saga_core::machine::Record;
use saga_core::{Op, Plan, StepName};

use super::schema::{StepContext, StepContextStatus};

/// What became of each step, and when attempts were repeated.
pub(super) fn steps(plan: &Plan, history: &[HistoryTurn]) -> (Vec<StepContext>, Vec<String>) {
    let mut steps: Vec<StepContext> = Vec::new();
    let mut retries = Vec::new();
    for turn in history {
        let at = turn.at.to_utc().to_rfc3339();
        for record in &turn.records {
            for step in passed_over(plan, record) {
                let (step, ended_at) = (step.to_string(), Some(at.clone()));
                steps.push(StepContext {
                    step,
                    status: StepContextStatus::Skipped,
                    attempts: 0,
                    error: None,
                    ended_at,
                });
            }
            let (step, status, error) = match record {
                Record::Begun { step, op: Op::Run, attempt, .. } => {
                    if *attempt > 1 {
                        retries.push(at.clone());
                    }
                    (step, StepContextStatus::Started, None)
                }
                Record::Locking { step, .. } | Record::Sleeping { step, .. } => {
                    (step, StepContextStatus::Started, None)
                }
                Record::Done { step, .. } => (step, StepContextStatus::Succeeded, None),
                Record::Failed { step, op: Op::Run, fault, .. } => {
                    (step, StepContextStatus::Failed, Some(fault.message.clone()))
                }
                Record::Compensated { step, .. } => (step, StepContextStatus::Compensated, None),
                _ => continue,
            };
            let known = steps.iter().position(|known| known.step == step.as_str());
            let at_step = known.unwrap_or_else(|| {
                let (step, status) = (step.to_string(), StepContextStatus::Started);
                steps.push(StepContext { step, status, attempts: 0, error: None, ended_at: None });
                steps.len() - 1
            });
            let known = &mut steps[at_step];
            known.attempts += u32::from(matches!(record, Record::Begun { .. }));
            known.status = status;
            known.error = error.or(known.error.take());
            known.ended_at = (status != StepContextStatus::Started).then(|| at.clone());
        }
    }
    (steps, retries)
}

/// The steps that are not taken because of this decision: cash, nothing to pay, nothing to wait for.
fn passed_over<'p>(plan: &'p Plan, record: &Record) -> Vec<&'p StepName> {
    let Record::Done { step, output } = record else { return Vec::new() };
    let Some(decided) = plan.find(step).filter(|_| output.as_json() == "false") else { return Vec::new() };
    let mut over = vec![decided];
    for (index, step) in plan.steps().iter().enumerate() {
        // A guard comes before what it guards.
        if step.guard.is_some_and(|guard| over.contains(&guard)) {
            over.push(index);
        }
    }
    over.into_iter().skip(1).map(|index| &plan.steps()[index].name).collect()
}
