//! What a benchmark prints: a table for people, JSON for programs.

use comfy_table::Table;
use comfy_table::presets::ASCII_MARKDOWN;
use serde::Serialize;

/// One line of the result.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Who ran: `ours`, or a yardstick.
    pub engine: &'static str,
    /// Which journal.
    pub journal: &'static str,
    /// Steps of each saga.
    pub steps: usize,
    /// Callers at once.
    pub concurrency: usize,
    /// Completed sagas per second.
    pub sagas_per_s: f64,
    /// Completed steps per second.
    pub steps_per_s: f64,
    /// Median from start to outcome, in milliseconds.
    pub p50_ms: f64,
    /// 99th percentile from start to outcome, in milliseconds.
    pub p99_ms: f64,
    /// Journal calls per saga: round trips, on Postgres.
    pub round_trips_per_saga: f64,
    /// Turns per saga.
    pub turns_per_saga: f64,
    /// Transactions committed per saga, as Postgres counts them.
    pub commits_per_saga: Option<f64>,
    /// Bytes of write-ahead log per saga, as Postgres counts them.
    pub wal_bytes_per_saga: Option<f64>,
}

/// Prints the rows as a table.
#[must_use]
pub fn print_table(rows: &[Row]) -> String {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN);
    table.set_header([
        "journal",
        "steps",
        "at once",
        "sagas/s",
        "steps/s",
        "p50 ms",
        "p99 ms",
        "turns",
        "round trips",
        "commits",
        "WAL bytes",
    ]);
    for row in rows {
        let optional = |value: Option<f64>, digits| value.map_or_else(|| "-".to_owned(), |v| format!("{v:.digits$}"));
        table.add_row([
            row.journal.to_owned(),
            row.steps.to_string(),
            row.concurrency.to_string(),
            format!("{:.0}", row.sagas_per_s),
            format!("{:.0}", row.steps_per_s),
            format!("{:.2}", row.p50_ms),
            format!("{:.2}", row.p99_ms),
            format!("{:.2}", row.turns_per_saga),
            format!("{:.3}", row.round_trips_per_saga),
            optional(row.commits_per_saga, 3),
            optional(row.wal_bytes_per_saga, 0),
        ]);
    }
    table.to_string()
}

/// The rows as a JSON array.
///
/// # Errors
/// Never; the signature is serde's.
pub fn print_json(rows: &[Row]) -> Result<String, serde_json::Error> {
    serde_json::to_string_pretty(rows)
}
