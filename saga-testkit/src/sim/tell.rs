//! Records and points in words.

use saga_core::Op;
use saga_core::machine::{ProbeAnswer, Record};

use super::point::Point;
use super::verb;

/// A point, for people.
pub(crate) fn point(point: &Point) -> String {
    match point {
        Point::Attempt { step, op, nth: 1 } => format!("{}{step}", verb(*op)),
        Point::Attempt { step, op, nth } => format!("{}{step}, try {nth}", verb(*op)),
        Point::Call { name, nth: 1 } => format!("call {name}"),
        Point::Call { name, nth } => format!("call {name}, time {nth}"),
        Point::Write { nth } => format!("write {nth}"),
        Point::Signal { name, .. } => format!("signal {name}"),
        Point::Publish { topic, nth } => format!("event {nth} of {topic}"),
    }
}

/// What a turn holds, in one line.
pub(crate) fn records(label: &dyn Fn(&str) -> String, records: &[Record]) -> String {
    records.iter().map(|record| tell(label, record)).collect::<Vec<_>>().join("; ")
}

fn tell(label: &dyn Fn(&str) -> String, record: &Record) -> String {
    let may_begin = |step: &str, op: Op, attempt: u32| match attempt {
        1 => format!("{}{} may begin", verb(op), label(step)),
        attempt => format!("{}{} may begin, try {attempt}", verb(op), label(step)),
    };
    let whole = |step: &Option<saga_core::StepName>| step.as_ref().map_or("the saga".to_owned(), |s| label(s.as_str()));
    match record {
        Record::Started { .. } => "the saga starts".to_owned(),
        Record::Begun { step, op, attempt, .. } => may_begin(step.as_str(), *op, *attempt),
        Record::Done { step, .. } => format!("{} done", label(step.as_str())),
        Record::Failed { step, op, retry_at, .. } => {
            let next = if retry_at.is_some() { "to be tried again" } else { "given up" };
            format!("{}{} failed, {next}", verb(*op), label(step.as_str()))
        }
        Record::Interrupted { step, op, .. } => format!("{}{} was interrupted", verb(*op), label(step.as_str())),
        Record::Probed { step, answer } | Record::Watched { step, answer, .. } => {
            format!("{} {}", label(step.as_str()), answered(answer))
        }
        Record::Sleeping { step, .. } => format!("{} waits", label(step.as_str())),
        Record::Locking { step, keys, .. } => format!("{} asks for {}", label(step.as_str()), keys.join(", ")),
        Record::Delegated { step, .. } => format!("{} starts its saga", label(step.as_str())),
        Record::Recalled { step } => format!("{} recalls its saga", label(step.as_str())),
        Record::Reopened => "the saga is to be undone".to_owned(),
        Record::Released => "the saga is final".to_owned(),
        Record::FannedOut { step, items } => format!("{} has {items} items", label(step.as_str())),
        Record::SoftFailed { step } => format!("the saga goes on without {}", label(step.as_str())),
        Record::Halted { cause } => format!("the saga is to turn back: {cause}"),
        Record::CancelRefused { .. } => "it cannot be cancelled any more".to_owned(),
        Record::RetriedNow { .. } => "a human has it tried again at once".to_owned(),
        Record::Signalled { name, .. } => format!("{name} was signalled"),
        Record::FollowedUp { .. } => "a signal came too late: another saga sees to it".to_owned(),
        Record::Unread { .. } => "a message could not be read".to_owned(),
        Record::TurnedBack { step: Some(step) } => format!("the saga turns back because of {}", label(step.as_str())),
        Record::TurnedBack { step: None } => "the saga turns back".to_owned(),
        Record::Compensated { step, .. } => format!("{} undone", label(step.as_str())),
        Record::NeedsAttention { step, op, reason, .. } => {
            format!("{}{} waits for a human: {reason}", verb(*op), whole(step))
        }
        Record::Resolved { step, op, resolution, .. } => {
            format!("a human decides about {}{}: {}", verb(*op), whole(step), resolution.as_str())
        }
        Record::Completed => "the saga is completed".to_owned(),
        Record::RolledBack => "the saga is rolled back".to_owned(),
    }
}

fn answered(answer: &ProbeAnswer) -> &'static str {
    match answer {
        ProbeAnswer::Applied(_) => "was asked about: it happened",
        ProbeAnswer::NotApplied => "was asked about: it did not happen",
        ProbeAnswer::Unknown => "was asked about: nobody can tell",
    }
}

/// How an attempt was answered, for people.
pub(crate) fn pace<T>(answer: &Result<T, saga_core::StepError>) -> String {
    match answer {
        Ok(_) => "ok".to_owned(),
        Err(error) => format!("failed: {error}"),
    }
}
