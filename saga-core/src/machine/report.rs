//! What an attempt reports becomes a record here: whether to try again, and when.

use std::time::Duration;

use super::next::Attempt;
use super::record::{AttentionReason, ProbeAnswer, Record};
use super::state::{Direction, SagaState};
use crate::checkpoint::Payload;
use crate::definition::{Kind, Plan};
use crate::fault::{Class, Fault};
use crate::id::Op;
use crate::limits::Limits;
use crate::time::Timestamp;

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// The step completed, with this output.
    Done(Payload),
    /// The probe answered.
    Probed(ProbeAnswer),
    /// The compensation is done.
    Compensated,
    /// It failed.
    Failed {
        /// How.
        fault: Fault,
        /// The least wait that the participant asked for.
        retry_after: Option<Duration>,
    },
}

/// What the machine needs from outside to decide about retries: it has no clock and no dice.
#[derive(Clone, Copy, Debug)]
pub struct Moment<'a> {
    /// The journal's time.
    pub now: Timestamp,
    /// A number from 0 to 1, drawn for this decision.
    pub chance: f64,
    /// The engine's limits.
    pub limits: &'a Limits,
}

impl SagaState {
    /// The record of how `attempt` ended.
    #[must_use]
    pub fn report(&self, plan: &Plan, attempt: Attempt, report: Report, moment: Moment<'_>) -> Record {
        let step = self.steps()[attempt.step].name().clone();
        match report {
            Report::Done(output) => Record::Done { step, output },
            Report::Probed(answer) => Record::Probed { step, answer },
            Report::Compensated => Record::Compensated { step },
            Report::Failed { fault, retry_after } => {
                let mut fault = fault.cut(moment.limits.error_max_bytes);
                if fault.class == Class::Transient && self.turns() >= moment.limits.turns_max {
                    fault.message.push_str(&format!("; not tried again: turns_max ({}) is reached", self.turns()));
                }
                let retry_at = (fault.class == Class::Transient)
                    .then(|| self.retry_at(plan, attempt, retry_after, moment))
                    .flatten();
                Record::Failed { step, op: attempt.op, fault, retry_at }
            }
        }
    }

    /// The records of a worker having gone away while attempts were under way. `crashed` tells
    /// whether its lease lapsed; a step that goes on crashing its workers is set aside as poison.
    #[must_use]
    pub fn interrupt(&self, plan: &Plan, crashed: bool, moment: Moment<'_>) -> Vec<Record> {
        let mut records = Vec::new();
        for (index, step) in self.steps().iter().enumerate() {
            let Some(op) = step.in_flight() else { continue };
            let tally = step.tally(op);
            let attempt = Attempt { step: index, op, number: tally.attempts };
            let poison = crashed && tally.crashes + 1 >= moment.limits.crashes_max;
            // What is given up quietly needs no human: the saga has an answer to it of its own.
            let yields = op == Op::Probe || plan.steps()[index].kind == Kind::BestEffort && op == Op::Run;
            let retry_at = if poison && yields || self.retry_at(plan, attempt, None, moment).is_none() {
                None
            } else {
                Some(moment.now)
            };
            records.push(Record::Interrupted { step: step.name().clone(), op, crashed, retry_at });
            if poison && retry_at.is_some() {
                records.push(Record::NeedsAttention {
                    step: Some(step.name().clone()),
                    op,
                    reason: AttentionReason::Poison,
                    error: format!("the worker died {} times during this step", tally.crashes + 1),
                });
            }
        }
        records
    }

    /// When the next attempt is due; none when there is none.
    fn retry_at(
        &self,
        plan: &Plan,
        attempt: Attempt,
        at_least: Option<Duration>,
        moment: Moment<'_>,
    ) -> Option<Timestamp> {
        // A step that is still in flight when its saga turns back is not tried again.
        if attempt.op == Op::Run && self.direction() == Direction::Backward {
            return None;
        }
        if self.turns() >= moment.limits.turns_max {
            return None;
        }
        let attempts = self.steps()[attempt.step].tally(attempt.op).since_granted;
        let retry = &plan.policy(attempt.step, attempt.op).retry;
        let delay = retry.delay(attempts, moment.chance).max(at_least.unwrap_or_default());
        retry.allows_another(attempts).then(|| moment.now.after(delay))
    }
}
