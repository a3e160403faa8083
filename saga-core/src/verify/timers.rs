//! Nothing before its time: attempts that were put off, and waits.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Evidence, Invariant, Violation};
use crate::definition::Kind;
use crate::id::{Op, StepName};
use crate::machine::{Record, Resolution};
use crate::time::Timestamp;

/// How far a worker's reckoning of the journal's time may be ahead of it.
const TOLERANCE: Duration = Duration::from_millis(2);

pub(super) fn check(evidence: &Evidence<'_>, found: &mut Vec<Violation>) {
    let mut due: BTreeMap<&StepName, Timestamp> = BTreeMap::new();
    for turn in evidence.turns {
        let by_now = turn.at.after(TOLERANCE);
        for record in &turn.records {
            let early = match record {
                Record::Failed { step, retry_at, .. } | Record::Interrupted { step, retry_at, .. } => {
                    put_off(&mut due, step, *retry_at)
                }
                Record::Sleeping { step, until } => put_off(&mut due, step, *until),
                Record::Begun { step, op, .. } => {
                    let early = due.remove(step).filter(|due| *due > by_now);
                    // A question to the participant is no other attempt of the step.
                    early.filter(|_| *op != Op::Probe).map(|due| (step, due))
                }
                Record::Done { step, .. } => {
                    let sleeps = |at: usize| evidence.plan.steps()[at].kind == Kind::Sleep;
                    let waits = evidence.plan.find(step).is_some_and(sleeps);
                    due.remove(step).filter(|due| waits && *due > by_now).map(|due| (step, due))
                }
                Record::Resolved { step: Some(step), resolution: Resolution::Retry, .. } => {
                    put_off(&mut due, step, None)
                }
                // What has failed goes on at once; what waits for a time of its own does not.
                Record::RetriedNow { .. } => {
                    let kind = |step: &StepName| evidence.plan.find(step).map(|at| evidence.plan.steps()[at].kind);
                    due.retain(|step, _| kind(step).is_some_and(Kind::is_pure));
                    None
                }
                // On the way back nothing waits for its time any more.
                Record::TurnedBack { .. } | Record::Halted { .. } => {
                    due.clear();
                    None
                }
                _ => None,
            };
            if let Some((step, due)) = early {
                let finding = format!("it was due at {due} and went on at {}", turn.at);
                found.push(Violation::new(Invariant::Timers, finding).at_step(step));
            }
        }
    }
}

fn put_off<'a>(
    due: &mut BTreeMap<&'a StepName, Timestamp>,
    step: &'a StepName,
    until: Option<Timestamp>,
) -> Option<(&'a StepName, Timestamp)> {
    match until {
        Some(until) => due.insert(step, until),
        None => due.remove(step),
    };
    None
}
