//! What an attempt reports becomes a record here: whether to try again, and when.

use std::time::Duration;

use super::next::{Attempt, out_of_time};
use super::phase::Phase;
use super::record::{AttentionReason, ProbeAnswer, Record};
use super::state::{Direction, SagaState};
use crate::checkpoint::{Digest, Payload};
use crate::definition::{Kind, Plan};
use crate::fault::{Class, Effect, Fault};
use crate::id::Op;
use crate::limits::Limits;
use crate::seeded::seeded;
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
            Report::Probed(answer) if self.is_watching(attempt) => {
                let settled = answer != ProbeAnswer::Unknown;
                let watch_at = self.watch_at(plan, attempt.step, moment.now).filter(|_| !settled);
                Record::Watched { step, answer, watch_at }
            }
            Report::Probed(answer) => Record::Probed { step, answer },
            Report::Compensated => {
                let watch_at = self.watch_at(plan, attempt.step, moment.now);
                Record::Compensated { step, watch_at }
            }
            Report::Failed { .. } if seeded("M6") && attempt.op == Op::Compensate => {
                Record::Compensated { step, watch_at: None }
            }
            Report::Failed { fault, retry_after } => {
                let mut fault = fault.cut(moment.limits.error_max_bytes);
                if fault.class == Class::Transient && self.turns() >= moment.limits.turns_max {
                    fault.message.push_str(&format!("; not tried again: turns_max ({}) is reached", self.turns()));
                }
                let retry_at = (fault.class == Class::Transient)
                    .then(|| self.retry_at(plan, attempt, fault.effect, retry_after, moment))
                    .flatten();
                // A question about a late effect that failed now is asked again at its next time.
                let watch_at = self.watch_at(plan, attempt.step, moment.now);
                if self.is_watching(attempt) && retry_at.is_none() && watch_at.is_some() {
                    return Record::Watched { step, answer: ProbeAnswer::Unknown, watch_at };
                }
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
            let yields = op == Op::Probe || self.planned(plan, index).kind == Kind::BestEffort && op == Op::Run;
            let retry_at = if poison && yields || self.retry_at(plan, attempt, Effect::Unknown, None, moment).is_none()
            {
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
        effect: Effect,
        at_least: Option<Duration>,
        moment: Moment<'_>,
    ) -> Option<Timestamp> {
        // A step that is still in flight when its saga turns back is not tried again.
        let turns_back = self.direction() == Direction::Backward || self.is_halted_forward();
        if attempt.op == Op::Run && turns_back || self.turns() >= moment.limits.turns_max {
            return None;
        }
        let (step, policy) = (&self.steps()[attempt.step], self.policy(plan, attempt.step, attempt.op));
        let tally = step.tally(attempt.op);
        // What is asked for is granted up to the policy's longest delay: nobody parks a saga for a year.
        let at_least = at_least.unwrap_or_default().min(policy.retry.cap_max());
        let delay = policy.retry.delay(tally.since_granted, moment.chance).max(at_least);
        let at = moment.now.after(delay);
        if out_of_time(tally.since, policy.retry.within_max(), at) || !policy.retry.allows_another(tally.since_granted)
        {
            return None;
        }
        // What nobody would ask about, and could not be sent again, is given up.
        let planned = self.planned(plan, attempt.step);
        let doubtful = step.maybe_applied() || effect == Effect::Unknown;
        let cannot_resend = planned.replays_errors || out_of_time(step.keyed_at(), policy.key_horizon, at);
        let gives_up = attempt.op == Op::Run && planned.kind == Kind::BestEffort && doubtful && cannot_resend;
        (!gives_up).then_some(at)
    }

    fn is_watching(&self, attempt: Attempt) -> bool {
        self.steps()[attempt.step].phase() == Phase::Watching
    }

    /// Whether the saga is to turn back and has not yet.
    pub(super) fn is_halted_forward(&self) -> bool {
        self.halted().is_some() && self.direction() == Direction::Forward
    }

    /// How long the attempt may take: the least of its own limit, of what is left of the limit over all
    /// attempts, and of what is left until the saga's deadline, which compensations do not know.
    #[must_use]
    pub fn time_limit(&self, plan: &Plan, attempt: Attempt, now: Timestamp) -> Duration {
        let policy = self.policy(plan, attempt.step, attempt.op);
        let since = self.steps()[attempt.step].tally(attempt.op).since;
        let over_all = since.zip(policy.retry.within_max()).map(|(since, within)| since.after(within));
        let deadline = self.deadline(plan).filter(|_| attempt.op == Op::Run);
        let deadline =
            if seeded("M9") { plan.deadline().map(|after| self.started_at().after(after)) } else { deadline };
        let left = over_all.into_iter().chain(deadline).map(|until| until.since(now)).min();
        left.map_or(policy.timeout, |left| left.min(policy.timeout))
    }

    /// The intent of an attempt that begins now.
    #[must_use]
    pub fn intent(&self, plan: &Plan, index: usize, op: Op, input: Digest, now: Timestamp) -> Record {
        let step = &self.steps()[index];
        let generation = if op == Op::Run { self.next_generation(plan, index) } else { step.generation() };
        Record::Begun {
            step: step.name().clone(),
            op,
            attempt: step.tally(op).attempts + 1,
            generation,
            at: self.policy(plan, index, op).counts_time().then_some(now),
            input,
        }
    }
}
