//! The books: what the durable records say, kept independently of the machine.

use std::collections::BTreeSet;

use saga_core::machine::{AttentionReason, Halt, ProbeAnswer, Record, Resolution};
use saga_core::{Kind, Op};

use super::Run;

impl Run {
    /// Keeps the books, independently of the machine.
    pub(super) fn note(&mut self, record: &Record) {
        match record {
            Record::Begun { step, op: Op::Run, attempt, generation, .. } => {
                let index = self.index(step);
                self.check_key(index, *attempt, *generation);
                if self.state.planned(&self.plan, index).kind.has_effect() {
                    self.owed.insert(index);
                }
            }
            Record::Begun { op: Op::Compensate, attempt, .. } if *attempt > 1 => self.seen.push("compensation retried"),
            Record::Compensated { step, .. } => {
                let index = self.index(step);
                if self.state.steps()[index].output().is_none() {
                    self.seen.push("unknown step compensated");
                }
                self.owed.remove(&index);
            }
            Record::Probed { step, answer } => {
                let index = self.index(step);
                match answer {
                    ProbeAnswer::Applied(_) => self.seen.push("probe applied"),
                    ProbeAnswer::NotApplied => {
                        if self.state.planned(&self.plan, index).kind == Kind::Pivot {
                            self.seen.push("pivot disproved");
                        }
                        self.seen.push("probe not applied");
                        self.owed.remove(&index);
                    }
                    ProbeAnswer::Unknown => self.seen.push("probe unknown"),
                }
            }
            Record::SoftFailed { .. } => self.seen.push("soft failure"),
            Record::FollowedUp { .. } => self.seen.push("followed up"),
            Record::Recalled { .. } => self.seen.push("child recalled"),
            Record::Reopened => self.seen.push("reopened"),
            Record::Released => self.seen.push("released"),
            Record::Delegated { step, .. } => {
                self.owed.insert(self.index(step));
            }
            Record::Failed { step, .. } if self.kind_of(step) == Kind::Lock => self.seen.push("not locked in time"),
            Record::Done { step, .. } if self.kind_of(step) == Kind::Lock => self.seen.push("locked"),
            // Whether the effect came late could not be found out: a human may have it compensated again.
            Record::Failed { step, op: Op::Probe, retry_at: None, .. }
            | Record::Interrupted { step, op: Op::Probe, retry_at: None, .. } => {
                self.owed.insert(self.index(step));
            }
            Record::Halted { cause } => {
                self.seen.push(if *cause == Halt::Deadline { "halted" } else { "cancelled" });
            }
            Record::CancelRefused { .. } => self.seen.push("cancel refused"),
            Record::RetriedNow { .. } => self.seen.push("retried now"),
            Record::Done { step, output } if self.state.planned(&self.plan, self.index(step)).signal.is_some() => {
                let taken = output.as_json() != "null";
                self.seen.push(if taken { "signal taken" } else { "signal timed out" });
            }
            Record::Watched { step, answer: ProbeAnswer::Applied(_), .. } => {
                self.seen.push("late effect");
                self.owed.insert(self.index(step));
            }
            Record::NeedsAttention { step, op, reason, .. } => {
                self.seen.push("human called");
                if let (Some(step), Op::Compensate) = (step, op) {
                    self.owed.insert(self.index(step));
                }
                if *reason == AttentionReason::KeyExpired {
                    self.seen.push("key expired");
                }
                if *reason == AttentionReason::Poison {
                    self.seen.push("poison");
                }
            }
            _ => {}
        }
    }

    /// What the durable records say is owed: begun, and neither compensated nor disproved since.
    pub(super) fn owed_by_the_books(&self) -> BTreeSet<usize> {
        let mut owed = BTreeSet::new();
        for record in self.durable.iter().flatten() {
            match record {
                Record::Begun { step, op: Op::Run, .. }
                    if self.state.planned(&self.plan, self.index(step)).kind.has_effect() =>
                {
                    owed.insert(self.index(step));
                }
                Record::Resolved { step: Some(step), resolution: Resolution::Supply(_), .. }
                | Record::Watched { step, answer: ProbeAnswer::Applied(_), .. }
                | Record::Failed { step, op: Op::Probe, retry_at: None, .. }
                | Record::Interrupted { step, op: Op::Probe, retry_at: None, .. }
                | Record::NeedsAttention { step: Some(step), op: Op::Compensate, .. } => {
                    owed.insert(self.index(step));
                }
                Record::Compensated { step, .. }
                | Record::Probed { step, answer: ProbeAnswer::NotApplied }
                | Record::Resolved { step: Some(step), resolution: Resolution::NotApplied, .. } => {
                    owed.remove(&self.index(step));
                }
                _ => {}
            }
        }
        owed
    }
}
