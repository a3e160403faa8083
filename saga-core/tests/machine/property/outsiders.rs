//! Who is not the saga: those that tell it something, time, and a human.

use saga_core::machine::{ChildEnd, Mail, Phase, Resolution};
use saga_core::{Class, Effect, Fault, Kind, Op, Timestamp};

use super::{Run, payload};

impl Run {
    pub(super) fn tell(&mut self, mail: Mail) {
        self.told += 1;
        let id = format!("m{}", self.told);
        let record = self.state.receive(&id, mail);
        self.apply(record);
    }

    /// What others tell the saga, if something is to be heard from them.
    pub(super) fn hear(&mut self) -> bool {
        let mut mails = Vec::new();
        if self.state.is_retained() {
            mails.push((None, Mail::Release));
        }
        if self.state.is_retained() || self.state.parent().is_some() && !self.state.direction().is_end() {
            mails.push((None, Mail::Recall));
        }
        for (index, step) in self.state.steps().iter().enumerate() {
            let name = step.name().clone();
            let fault = Fault { class: Class::Terminal, effect: Effect::Unknown, message: "as drawn".to_owned() };
            let rolled_back = Mail::ChildEnded { step: name.clone(), end: ChildEnd::RolledBack(fault) };
            match step.phase() {
                Phase::Delegated => {
                    // What was said and not heard is said again.
                    let done = *self.children.get(&index).unwrap_or(&self.rng.bool());
                    let completed = Mail::ChildEnded { step: name, end: ChildEnd::Completed(payload()) };
                    mails.push((Some(index), if done { completed } else { rolled_back }));
                }
                Phase::Recalling => mails.push((Some(index), rolled_back)),
                Phase::Waiting if self.state.planned(&self.plan, index).kind == Kind::Lock => {
                    mails.push((None, Mail::Locked { step: name, tokens: [("k".to_owned(), 1)].into() }));
                }
                _ => {}
            }
        }
        if mails.is_empty() {
            return false;
        }
        let (child, mail) = mails.swap_remove(self.rng.usize(..mails.len()));
        match (child, &mail) {
            (Some(index), Mail::ChildEnded { end: ChildEnd::Completed(_), .. }) => {
                self.seen.push("child completed");
                self.children.insert(index, true);
                self.standing.insert(index);
            }
            (Some(index), _) => {
                self.seen.push("child rolled back");
                self.children.insert(index, false);
                self.standing.remove(&index);
                self.owed.remove(&index);
            }
            (None, _) => {}
        }
        self.tell(mail);
        true
    }

    /// Nothing is under way: time goes on, or a human decides. There is no third way to wait.
    pub(super) fn wait(&mut self, wake_at: Option<Timestamp>) {
        let blocked: Vec<usize> =
            (0..self.state.steps().len()).filter(|&index| self.state.steps()[index].blocked().is_some()).collect();
        let waits = |step: &saga_core::machine::StepState| step.phase() == Phase::Waiting && step.due().is_none();
        if wake_at.is_none() && blocked.is_empty() && self.state.steps().iter().any(waits) {
            return self.tell(Mail::Signal { name: "s".to_owned(), payload: payload() });
        }
        if self.state.is_put_off() && self.rng.u8(..) < 40 {
            return self.tell(Mail::RetryNow { actor: "ann".to_owned(), reason: "it is back".to_owned() });
        }
        if (wake_at.is_none() || self.rng.bool()) && (blocked.is_empty() || self.rng.bool()) && self.hear() {
            return;
        }
        if let Some(due) = wake_at.filter(|_| blocked.is_empty() || self.rng.bool()) {
            assert!(due > self.now, "woken for nothing");
            self.pass(due.since(self.now));
            return;
        }
        assert!(!blocked.is_empty(), "stuck: {:?}", self.state);
        let index = blocked[self.rng.usize(..blocked.len())];
        self.decide(index);
    }

    /// A human decides truthfully: looks at the world, and does by hand what the decision says.
    pub(super) fn decide(&mut self, index: usize) {
        self.decisions += 1;
        let name = self.state.steps()[index].name().clone();
        let op = self.state.steps()[index].blocked().unwrap();
        let mut choices = vec![Resolution::Retry, Resolution::Probe, Resolution::Skip, Resolution::Supply(payload())];
        if op == Op::Compensate || !self.standing.contains(&index) && !self.late.contains_key(&index) {
            choices.push(Resolution::NotApplied);
        }
        let resolution = loop {
            let choice = choices[self.rng.usize(..choices.len())].clone();
            let tried = self.state.resolve_by_hand(&self.plan, &name, choice.clone(), "ann", "looked");
            if let Ok(record) = tried {
                self.apply(record);
                break choice;
            }
        };
        match (op, resolution) {
            (Op::Compensate, Resolution::Skip | Resolution::NotApplied) => {
                self.seen.push("skipped");
                self.standing.remove(&index);
                self.late.remove(&index);
                self.owed.remove(&index);
            }
            (_, Resolution::Supply(_)) => {
                self.seen.push("supplied");
                self.late.remove(&index);
                self.standing.insert(index);
                self.owed.insert(index);
            }
            (_, Resolution::NotApplied) => {
                self.owed.remove(&index);
            }
            (_, Resolution::Skip) => self.seen.push("skipped"),
            (_, Resolution::Retry | Resolution::Probe) => {}
        }
    }
}
