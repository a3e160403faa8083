//! How the campaign went.

use std::collections::BTreeMap;

use comfy_table::Table;
use comfy_table::presets::ASCII_MARKDOWN;
use serde::Serialize;

/// How the campaign went.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Report {
    /// Checkouts that were initiated.
    pub requests: usize,
    /// Of these, completed.
    pub completed: usize,
    /// Of these, rolled back.
    pub rolled_back: usize,
    /// How often the server was killed.
    pub kills: usize,
    /// How often clients had to send a request again.
    pub sent_again: usize,
    /// Payments that were paid back.
    pub refunds: usize,
    /// Sagas that saw to late webhooks.
    pub late_payments: usize,
    /// Events that arrived, copies included.
    pub events: usize,
    /// Of these, copies.
    pub event_copies: usize,
    /// By scenario: completed, and rolled back.
    pub scenarios: BTreeMap<String, (usize, usize)>,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// What the audit found.
    pub findings: Vec<String>,
}

/// The report as a table.
#[must_use]
pub fn table(report: &Report) -> String {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN);
    table.set_header(["", "count"]);
    let rows = [
        ("checkouts", report.requests.to_string()),
        ("completed", report.completed.to_string()),
        ("rolled back", report.rolled_back.to_string()),
        ("server killed", report.kills.to_string()),
        ("requests sent again", report.sent_again.to_string()),
        ("payments paid back", report.refunds.to_string()),
        ("late webhooks seen to", report.late_payments.to_string()),
        ("events, copies included", report.events.to_string()),
        ("of these copies", report.event_copies.to_string()),
        ("seconds", format!("{:.1}", report.seconds)),
        ("audit findings", report.findings.len().to_string()),
    ];
    for (name, count) in rows {
        table.add_row([name.to_owned(), count]);
    }
    let mut scenarios = Table::new();
    scenarios.load_style(ASCII_MARKDOWN);
    scenarios.set_header(["payment", "completed", "rolled back"]);
    for (name, (completed, rolled_back)) in &report.scenarios {
        scenarios.add_row([name.clone(), completed.to_string(), rolled_back.to_string()]);
    }
    format!("{table}\n\n{scenarios}")
}
