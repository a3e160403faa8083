//! What may never be, and is looked for wherever an operation begins and where the saga ends.

use saga_core::machine::{Direction, Halt, Phase, ProbeAnswer, Record, Resolution};
use saga_core::{Effect, Kind, Op};

use super::Run;

impl Run {
    /// S06: one key for each generation; a new one only with the proof that the old one did nothing, and
    /// an old one never sent again where it would be answered with its old failure, or is forgotten.
    pub(super) fn check_key(&mut self, index: usize, attempt: u32, generation: u32) {
        let (known, planned) = (&self.state.steps()[index], self.state.planned(&self.plan, index));
        let mut doubt = false;
        for record in self.durable.iter().flatten().chain(&self.turn) {
            match record {
                Record::Failed { step, op: Op::Run, fault, .. } if self.index(step) == index => {
                    doubt |= fault.effect == Effect::Unknown;
                }
                Record::Interrupted { step, op: Op::Run, .. } if self.index(step) == index => doubt = true,
                Record::Probed { step, answer: ProbeAnswer::NotApplied }
                | Record::Resolved { step: Some(step), resolution: Resolution::NotApplied, .. }
                    if self.index(step) == index =>
                {
                    doubt = false;
                }
                _ => {}
            }
        }
        doubt &= planned.kind.has_effect();
        if generation != known.generation() {
            assert_eq!(generation, known.generation() + 1);
            assert!(!doubt, "a new key without proof");
            self.seen.push("a new key");
        } else if attempt > 1 {
            assert!(!planned.replays_errors, "a key whose failure is replayed was sent again");
            let forgotten =
                known.keyed_at().zip(planned.run.key_horizon).is_some_and(|(at, h)| at.after(h) <= self.now);
            assert!(!(forgotten && doubt), "a key was sent again that may be forgotten");
        }
    }

    /// Promises 4 and 5, where an operation begins.
    pub(super) fn check_begin(&self, step: usize, op: Op) {
        let phase = |index: usize| self.state.steps()[index].phase();
        let gone_by = |index: usize| {
            matches!(phase(index), Phase::Done | Phase::SoftFailed | Phase::Skipped)
                || self.state.is_passed_over(&self.plan, index)
        };
        assert!(!self.state.is_passed_over(&self.plan, step), "a step began that its guard passes over");
        match op {
            Op::Run => {
                assert_ne!(self.state.direction(), Direction::Backward, "a step began on the way back");
                let halted = self.state.halted().is_some() && self.state.direction() == Direction::Forward;
                let in_doubt = self.state.planned(&self.plan, step).kind == Kind::Pivot
                    && self.state.steps()[step].maybe_applied();
                assert!(!halted || in_doubt, "a step began though the saga is to turn back");
                let planned = self.state.planned(&self.plan, step);
                assert!(planned.after.iter().all(|&before| gone_by(before)), "too early");
                if self.state.steps()[step].item().is_some() {
                    let origin = self.state.origin(step);
                    assert_eq!(phase(origin), Phase::Open, "an item began before its list was there");
                    let running = self.state.items(origin).filter(|item| item.phase() == Phase::Running).count();
                    assert!(running < planned.each.unwrap().get(), "more items at once than asked for");
                }
            }
            Op::Probe if self.state.direction() == Direction::RolledBack => assert_eq!(phase(step), Phase::Undone),
            Op::Probe if phase(step) == Phase::Waiting => {}
            Op::Probe => assert!(matches!(phase(step), Phase::Unknown | Phase::ProbeWaiting)),
            Op::Compensate => {
                assert_eq!(self.state.direction(), Direction::Backward);
                assert!(self.owed.contains(&step), "compensates what never began");
                for other in 0..self.state.steps().len() {
                    assert_ne!(phase(other), Phase::Running, "a step is still in flight");
                    let undone_first = self.plan.is_before(self.state.origin(step), self.state.origin(other))
                        && self.state.is_owed(&self.plan, other);
                    assert!(!undone_first, "out of order");
                }
            }
        }
    }

    /// Promises 5 to 7, where the saga ends.
    pub(super) fn check_end(&mut self) {
        assert!(!self.state.needs_attention(), "an end with something open");
        // Promise 10: what was signalled was taken once, or is still there.
        let came = self.durable.iter().flatten().filter(|record| matches!(record, Record::Signalled { .. })).count();
        let took = |(index, step): (usize, &saga_core::machine::StepState)| {
            let waited = self.state.planned(&self.plan, index).signal.is_some();
            waited && step.output().is_some_and(|output| output.as_json() != "null")
        };
        let taken = self.state.steps().iter().enumerate().filter(|step| took(*step)).count();
        let supplied = self.durable.iter().flatten().filter(|record| {
            matches!(record, Record::Resolved { step: Some(step), resolution: Resolution::Supply(_), .. }
                if self.state.planned(&self.plan, self.index(step)).signal.is_some())
        });
        let followed = |record: &&Record| matches!(record, Record::FollowedUp { .. });
        let followed = self.durable.iter().flatten().filter(followed).count();
        assert!(self.state.untaken_signals().is_empty(), "a signal that nobody sees to");
        assert_eq!(came, taken - supplied.count() + followed, "a signal is lost or doubled");
        let recalled = self
            .durable
            .iter()
            .flatten()
            .any(|record| matches!(record, Record::Halted { cause: Halt::Recalled } | Record::Reopened));
        match self.state.direction() {
            Direction::Completed => {
                assert!(!recalled, "a child that was to be undone is done");
                self.seen.push("completed");
                for index in 0..self.state.steps().len() {
                    let (step, phase) = (self.state.planned(&self.plan, index), self.state.steps()[index].phase());
                    match step.kind {
                        _ if self.state.is_passed_over(&self.plan, index) => {
                            assert_eq!(phase, Phase::Pending);
                            self.seen.push("passed over");
                        }
                        Kind::When | Kind::Sleep | Kind::Signal | Kind::Publish | Kind::Lock => {
                            assert!(matches!(phase, Phase::Done | Phase::Skipped))
                        }
                        Kind::Compensatable | Kind::Pivot | Kind::Child => {
                            assert_eq!(phase, Phase::Done, "{}", step.name)
                        }
                        Kind::Query | Kind::Retryable => assert!(matches!(phase, Phase::Done | Phase::Skipped)),
                        Kind::BestEffort => {
                            assert!(matches!(phase, Phase::Done | Phase::SoftFailed | Phase::Skipped));
                        }
                    }
                    let fans_out = step.each.is_some() && self.state.steps()[index].item().is_none();
                    if step.kind.has_effect() && phase == Phase::Done && !fans_out {
                        assert!(self.standing.contains(&index), "{} is done and has no effect", step.name);
                    }
                }
            }
            Direction::RolledBack => {
                self.seen.push("rolled back");
                for index in 0..self.state.steps().len() {
                    let step = self.state.planned(&self.plan, index);
                    if step.compensate.is_some() || step.kind == Kind::Pivot {
                        assert!(!self.standing.contains(&index), "{} still stands", step.name);
                        assert!(!self.late.contains_key(&index), "{} comes too late", step.name);
                    }
                }
            }
            other => panic!("ended while {other:?}"),
        }
    }
}
