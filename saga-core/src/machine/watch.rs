//! After the end: a compensation that may have come before the effect is watched for a while, and
//! what comes late is compensated as well.
//!
//! A participant of one's own refuses what comes late by itself (a tombstone under the key). Others do
//! not: a request that was lost on its way may be carried out hours after its compensation found
//! nothing to undo. So the saga, though it is over for whoever waits for it, asks again, more and more
//! rarely, for as long as the step says.

use std::time::Duration;

use super::phase::{Event, Phase};
use super::record::{ProbeAnswer, Record};
use super::state::{Direction, IllegalRecord, SagaState};
use crate::definition::Plan;
use crate::id::{Op, StepName};
use crate::time::Timestamp;

/// When the participant is asked, counted from the compensation; and once more at the very end.
const OFFSETS: [Duration; 4] = [
    Duration::from_secs(60),
    Duration::from_secs(10 * 60),
    Duration::from_secs(60 * 60),
    Duration::from_secs(24 * 60 * 60),
];

/// How long after the `nth` question (counted from zero; the zeroth is the compensation itself) the
/// next one is due; none when that was the last.
fn pause(watch: Duration, nth: usize) -> Option<Duration> {
    let offset = |nth: usize| OFFSETS.get(nth).copied().unwrap_or(watch).min(watch);
    let before = if nth == 0 { Duration::ZERO } else { offset(nth - 1) };
    (before < watch).then(|| offset(nth).saturating_sub(before))
}

impl SagaState {
    /// When the participant of a step is to be asked (again) whether the effect came late.
    pub(super) fn watch_at(&self, plan: &Plan, index: usize, now: Timestamp) -> Option<Timestamp> {
        let step = &self.steps()[index];
        // What is known to have happened, and was undone, does not happen again under its key.
        let watch = self.planned(plan, index).watch.filter(|_| step.maybe_applied())?;
        pause(watch, step.watches() as usize).map(|pause| now.after(pause))
    }

    /// Whether the record may come after the end: questions about late effects and their answers, a
    /// parent's last word, and what came too late.
    pub(super) fn may_follow_end(&self, record: &Record) -> bool {
        if matches!(record, Record::Reopened | Record::Released) {
            return self.is_retained();
        }
        let (Record::Begun { step, op: Op::Probe, .. }
        | Record::Failed { step, op: Op::Probe, .. }
        | Record::Interrupted { step, op: Op::Probe, .. }
        | Record::NeedsAttention { step: Some(step), op: Op::Compensate, .. }
        | Record::Watched { step, .. }) = record
        else {
            // Messages are taken in whenever they come; and a saga may be set aside as a whole.
            return matches!(
                record,
                Record::CancelRefused { .. }
                    | Record::Signalled { .. }
                    | Record::FollowedUp { .. }
                    | Record::Unread { .. }
                    | Record::NeedsAttention { step: None, .. }
                    | Record::Resolved { step: None, .. }
            );
        };
        let phase = self.find(step).map(|index| self.steps()[index].phase());
        self.direction() == Direction::RolledBack && matches!(phase, Some(Phase::Undone | Phase::Watching))
    }

    pub(super) fn compensated(&mut self, step: &StepName, watch_at: Option<Timestamp>) -> Result<(), IllegalRecord> {
        let index = self.shift(step, Event::Undo)?;
        let state = &mut self.steps[index];
        state.due = watch_at;
        state.trouble_mut().watches = u32::from(watch_at.is_some());
        Ok(())
    }

    pub(super) fn watched(
        &mut self,
        step: &StepName,
        answer: &ProbeAnswer,
        watch_at: Option<Timestamp>,
    ) -> Result<(), IllegalRecord> {
        let late = match answer {
            ProbeAnswer::Applied(output) => Some(output.clone()),
            ProbeAnswer::NotApplied | ProbeAnswer::Unknown => None,
        };
        let event = if late.is_some() { Event::LateEffect } else { Event::Quiet };
        let index = self.shift(step, event)?;
        let state = &mut self.steps[index];
        state.due = watch_at;
        state.trouble_mut().watches += u32::from(watch_at.is_some());
        if let Some(output) = late {
            state.output = Some(output);
            state.maybe_applied = false;
            self.direction = Direction::Backward;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_come_more_and_more_rarely_and_once_more_at_the_end() {
        let all = |watch: u64| {
            let (mut at, mut times) = (Duration::ZERO, Vec::new());
            while let Some(pause) = pause(Duration::from_secs(watch), times.len()) {
                at += pause;
                times.push(at.as_secs());
            }
            times
        };
        assert_eq!(all(30), [30]);
        assert_eq!(all(600), [60, 600]);
        assert_eq!(all(48 * 3600), [60, 600, 3600, 24 * 3600, 48 * 3600]);
    }
}
