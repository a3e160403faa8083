//! The table: a line for each engine and schedule.

use crate::engine::Name;
use crate::judge::{Verdict, counts};
use crate::script::Schedule;
use crate::value_name;

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
    let shown = verdicts.iter().filter(|verdict| !verdict.missed).count();
    let columns: Vec<String> = counts(verdicts).map(|(_, count)| count.to_string()).collect();
    format!("| {} | {} | {shown} | {} |", value_name(schedule), engine.label(), columns.join(" | "))
}
