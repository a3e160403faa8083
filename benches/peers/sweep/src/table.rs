//! The table: a line for each engine and schedule.

use crate::engine::Name;
use crate::judge::Verdict;
use crate::script::Schedule;

const HEAD: &str = "\
| schedule | engine | runs | calls made again | doubled without keys | doubled with keys | left, nobody told \
| left, error says so | left, open for a human | missing | no end | two ends |
|---|---|---|---|---|---|---|---|---|---|---|---|";

/// The head of the table.
pub fn head() -> &'static str {
    HEAD
}

/// A line.
pub fn line(schedule: Schedule, engine: Name, verdicts: &[Verdict]) -> String {
    let shown: Vec<&Verdict> = verdicts.iter().filter(|verdict| !verdict.missed).collect();
    let sum = |of: fn(&Verdict) -> u32| shown.iter().map(|verdict| of(verdict)).sum::<u32>();
    let counts = [
        sum(|verdict| verdict.again),
        sum(|verdict| verdict.doubled_without_keys),
        sum(|verdict| verdict.doubled),
        sum(|verdict| verdict.left_untold),
        sum(|verdict| verdict.left_told),
        sum(|verdict| verdict.left_open),
        sum(|verdict| verdict.missing),
        sum(|verdict| u32::from(verdict.stuck)),
        sum(|verdict| u32::from(verdict.two_ends)),
    ];
    let counts: Vec<String> = counts.iter().map(u32::to_string).collect();
    let schedule = format!("{schedule:?}").to_lowercase();
    format!("| {schedule} | {} | {} | {} |", engine.label(), shown.len(), counts.join(" | "))
}
