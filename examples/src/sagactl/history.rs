//! A saga's history for people: what was done for each step, when, how long it took, how it ended.

use std::fmt::Write as _;

use saga_core::engine::HistoryTurn;
use saga_core::machine::{ProbeAnswer, Record};
use saga_core::{Op, StepName, Timestamp};
use serde_json::{Value, json};

/// One attempt, or one decision, of a saga's history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The step; empty for the saga as a whole.
    pub step: String,
    /// What was done: `run #1`, `compensate #2`, `retry by ann` …
    pub what: String,
    /// When it began, in milliseconds after the saga.
    pub at_ms: u128,
    /// How long it took, once it has ended.
    pub took_ms: Option<u128>,
    /// How it ended, if it has.
    pub end: String,
}

impl Attempt {
    pub(crate) fn to_json(&self) -> Value {
        json!({ "step": self.step, "what": self.what, "at_ms": self.at_ms, "took_ms": self.took_ms, "end": self.end })
    }
}

/// Pairs the intents of a history with their ends.
#[must_use]
pub fn attempts(turns: &[HistoryTurn]) -> Vec<Attempt> {
    let began = turns.first().map_or(Timestamp::from_micros(0), |turn| turn.at);
    let mut found = Attempts { began, all: Vec::new() };
    for turn in turns {
        for record in &turn.records {
            found.take(turn.at, record);
        }
    }
    found.all
}

struct Attempts {
    began: Timestamp,
    all: Vec<Attempt>,
}

impl Attempts {
    fn take(&mut self, at: Timestamp, record: &Record) {
        match record {
            Record::Begun { step, op, attempt, .. } => self.push(step.as_str(), format!("{op} #{attempt}"), at, ""),
            Record::Done { step, .. } => self.end(step, Op::Run, at, "done"),
            Record::Failed { step, op, fault, .. } => self.end(step, *op, at, &format!("failed: {}", fault.message)),
            Record::Interrupted { step, op, crashed, .. } => {
                self.end(step, *op, at, if *crashed { "the worker crashed" } else { "the worker stopped" });
            }
            Record::Probed { step, answer } => self.end(step, Op::Probe, at, answered(answer)),
            Record::Watched { step, answer, .. } => self.end(step, Op::Probe, at, answered(answer)),
            Record::Compensated { step, .. } => self.end(step, Op::Compensate, at, "undone"),
            Record::Sleeping { step, until } => {
                let until = until.map_or("for a signal".to_owned(), |until| format!("until {}", until.to_utc()));
                self.push(step.as_str(), format!("waits {until}"), at, "");
            }
            Record::Locking { step, keys, until } => {
                let what = format!("waits for {} until {}", keys.join(", "), until.to_utc());
                self.push(step.as_str(), what, at, "");
            }
            Record::Delegated { step, child } => {
                self.push(step.as_str(), format!("waits for its child saga {child}"), at, "")
            }
            Record::Recalled { step } => {
                self.push(step.as_str(), "compensate: its child saga is told".to_owned(), at, "")
            }
            Record::Reopened => self.push("", "its parent turns back".to_owned(), at, ""),
            Record::Released => self.push("", "its parent is done".to_owned(), at, ""),
            Record::FollowedUp { id, by } => self.push("", format!("{by} sees to the late signal {id}"), at, ""),
            Record::FannedOut { step, items } => self.push(step.as_str(), format!("{items} items"), at, ""),
            Record::SoftFailed { step } => self.push(step.as_str(), "went on without it".to_owned(), at, ""),
            Record::TurnedBack { step } => {
                let because = step.as_ref().map_or(String::new(), |step| format!(", because of {step}"));
                self.push("", format!("turned back{because}"), at, "");
            }
            Record::Halted { cause } => self.push("", cause.to_string(), at, ""),
            Record::CancelRefused { actor, reason } => {
                self.push("", format!("cancellation by {actor} came too late: {reason}"), at, "");
            }
            Record::RetriedNow { actor, reason } => self.push("", format!("retry now by {actor}"), at, reason),
            Record::Signalled { name, .. } => self.push("", format!("signal {name}"), at, ""),
            Record::Unread { id, error } => self.push("", format!("message {id} was not taken: {error}"), at, ""),
            Record::NeedsAttention { step, op, reason, error } => {
                let step = step.as_ref().map_or("", StepName::as_str);
                self.push(step, format!("{op} waits for a human ({reason})"), at, error);
            }
            Record::Resolved { step, resolution, actor, reason, .. } => {
                let step = step.as_ref().map_or("", StepName::as_str);
                self.push(step, format!("{} by {actor}", resolution.as_str()), at, reason);
            }
            Record::Completed => self.push("", "completed".to_owned(), at, ""),
            Record::RolledBack => self.push("", "rolled back".to_owned(), at, ""),
            Record::Started { .. } => self.push("", "started".to_owned(), at, ""),
        }
    }

    fn push(&mut self, step: &str, what: String, at: Timestamp, end: &str) {
        let at_ms = at.since(self.began).as_millis();
        self.all.push(Attempt { step: step.to_owned(), what, at_ms, took_ms: None, end: end.to_owned() });
    }

    fn end(&mut self, step: &StepName, op: Op, at: Timestamp, how: &str) {
        let at_ms = at.since(self.began).as_millis();
        let open = |attempt: &&mut Attempt| {
            let same = attempt.what.starts_with(op.as_str()) || op == Op::Run && attempt.what.starts_with("waits");
            attempt.step == step.as_str() && same && attempt.end.is_empty()
        };
        match self.all.iter_mut().rev().find(open) {
            Some(attempt) => {
                attempt.took_ms = Some(at_ms.saturating_sub(attempt.at_ms));
                how.clone_into(&mut attempt.end);
            }
            // A decision, a gathered list: done without an attempt.
            None => self.push(step.as_str(), how.to_owned(), at, ""),
        }
    }
}

fn answered(answer: &ProbeAnswer) -> &'static str {
    match answer {
        ProbeAnswer::Applied(_) => "it happened",
        ProbeAnswer::NotApplied => "it did not happen",
        ProbeAnswer::Unknown => "it cannot be told",
    }
}

/// The attempts by step, in the order in which the steps began.
#[must_use]
pub fn tree(attempts: &[Attempt]) -> String {
    let mut steps: Vec<&str> = Vec::new();
    for attempt in attempts {
        if !steps.contains(&attempt.step.as_str()) {
            steps.push(&attempt.step);
        }
    }
    let mut text = String::new();
    for step in steps {
        let _infallible = writeln!(text, "{}", if step.is_empty() { "the saga" } else { step });
        let of_step: Vec<&Attempt> = attempts.iter().filter(|attempt| attempt.step == step).collect();
        for (nth, attempt) in of_step.iter().enumerate() {
            let branch = if nth + 1 == of_step.len() { "└" } else { "├" };
            let took = attempt.took_ms.map_or(String::new(), |took| format!(", {took} ms"));
            let end = if attempt.end.is_empty() { String::new() } else { format!(": {}", attempt.end) };
            let _infallible = writeln!(text, "{branch} +{} ms  {}{took}{end}", attempt.at_ms, attempt.what);
        }
    }
    text
}
