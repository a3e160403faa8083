//! What really happens: attempts, and effects that stand or are on their way.

use std::time::Duration;

use saga_core::machine::{Attempt, Direction, ProbeAnswer, Report};
use saga_core::{Class, Effect, Fault, Op};

use super::{Run, WATCH, payload};

impl Run {
    /// The effect of an attempt of which nobody knows happens, or not; or it is still on its way, where
    /// the participant does not refuse what comes late.
    pub(super) fn land(&mut self, index: usize) {
        // The same key, once.
        if !self.state.planned(&self.plan, index).kind.has_effect() || self.standing.contains(&index) {
            return;
        }
        if self.rng.bool() {
            self.late.remove(&index);
            self.standing.insert(index);
        } else if self.state.planned(&self.plan, index).watch.is_some() && self.rng.bool() {
            let after = if self.rng.bool() { Duration::from_micros(self.rng.u64(0..200)) } else { self.lateness() };
            self.late.insert(index, self.now.after(after));
        }
    }

    pub(super) fn lateness(&mut self) -> Duration {
        WATCH.mul_f64(self.rng.f64())
    }

    pub(super) fn pass(&mut self, time: Duration) {
        self.now = self.now.after(time);
        let landed: Vec<usize> = self.late.iter().filter(|(_, at)| **at <= self.now).map(|(index, _)| *index).collect();
        for index in landed {
            self.late.remove(&index);
            self.standing.insert(index);
        }
    }

    pub(super) fn attempt(&mut self, attempt: Attempt) -> Report {
        match attempt.op {
            Op::Run => self.run_step(attempt.step),
            Op::Probe => match self.rng.u8(0..4) {
                0 => self.failed(Class::Transient, Effect::Unknown),
                // Whoever is asked about a late effect knows what has come so far.
                1 if self.state.direction() != Direction::RolledBack => Report::Probed(ProbeAnswer::Unknown),
                _ if self.standing.contains(&attempt.step) => Report::Probed(ProbeAnswer::Applied(payload())),
                _ if self.late.contains_key(&attempt.step) => Report::Probed(ProbeAnswer::Unknown),
                _ => Report::Probed(ProbeAnswer::NotApplied),
            },
            Op::Compensate => {
                if self.rng.u8(0..4) > 0 {
                    self.standing.remove(&attempt.step);
                    return Report::Compensated;
                }
                if self.rng.bool() {
                    self.standing.remove(&attempt.step);
                }
                let class = if self.rng.u8(0..6) == 0 { Class::Terminal } else { Class::Transient };
                self.failed(class, Effect::Unknown)
            }
        }
    }

    pub(super) fn run_step(&mut self, index: usize) -> Report {
        let has_effect = self.state.planned(&self.plan, index).kind.has_effect();
        match self.rng.u8(0..10) {
            0 => self.failed(Class::Transient, Effect::NotApplied),
            1 => self.failed(Class::Terminal, Effect::NotApplied),
            2 => {
                self.land(index);
                self.failed(Class::Transient, Effect::Unknown)
            }
            3 => {
                self.land(index);
                self.failed(Class::Terminal, Effect::Unknown)
            }
            _ => {
                if has_effect {
                    self.standing.insert(index);
                }
                // The same key, once.
                self.late.remove(&index);
                Report::Done(payload())
            }
        }
    }

    pub(super) fn failed(&mut self, class: Class, effect: Effect) -> Report {
        Report::Failed { fault: Fault { class, effect, message: "as drawn".to_owned() }, retry_after: None }
    }
}
