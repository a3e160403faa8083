//! The table: a line for each engine and schedule.

use crate::engine::Name;
use crate::judge::{Counts, Verdict};
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
    let shown = verdicts.iter().filter(|verdict| !verdict.missed).count();
    let counts = Counts::of(verdicts);
    let columns = [
        counts.again,
        counts.doubled_without_keys,
        counts.doubled,
        counts.left_untold,
        counts.left_told,
        counts.left_open,
        counts.missing,
        counts.stuck,
        counts.two_ends,
    ];
    let columns: Vec<String> = columns.iter().map(u32::to_string).collect();
    format!("| {schedule} | {} | {shown} | {} |", engine.label(), columns.join(" | "))
}
