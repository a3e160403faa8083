//! What a comparison tells: a table, JSON and a chart.

use std::path::Path;

use comfy_table::Table;
use comfy_table::presets::ASCII_MARKDOWN;
use serde::{Deserialize, Serialize};

use crate::{Figures, draw};

/// What is measured: so many steps, so many callers, on this journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Case {
    /// `postgres` or `sqlite`.
    pub journal: &'static str,
    /// Steps of each saga.
    pub steps: usize,
    /// Callers at once.
    pub at_once: usize,
}

/// One contender in one case.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Record {
    /// `ours`, `floor`, `commit-per-step`, or a peer's name and version.
    pub engine: String,
    /// `postgres` or `sqlite`.
    pub journal: String,
    /// Steps of each saga.
    pub steps: usize,
    /// Callers at once.
    pub concurrency: usize,
    /// How many rounds went well.
    pub rounds: usize,
    /// Medians of those rounds; none when no round went well.
    #[serde(flatten)]
    pub figures: Option<Figures>,
    /// Throughput, of the floor's: for ours.
    pub ratio_to_floor: Option<f64>,
    /// Median latency, of the floor's: for ours.
    pub p50_to_floor: Option<f64>,
    /// Throughput, of the best peer's: for ours, where peers ran.
    pub ratio_to_best_peer: Option<f64>,
}

/// The name of this engine.
pub const OURS: &str = "ours";
/// The name of the floor.
pub const FLOOR: &str = "floor";
/// The name of the floor that shares no commits.
pub const COMMIT_PER_STEP: &str = "commit-per-step";

impl Record {
    fn new(case: Case, engine: &str, rounds: &[Figures]) -> Self {
        Self {
            engine: engine.to_owned(),
            journal: case.journal.to_owned(),
            steps: case.steps,
            concurrency: case.at_once,
            rounds: rounds.len(),
            figures: Figures::medians(rounds),
            ratio_to_floor: None,
            p50_to_floor: None,
            ratio_to_best_peer: None,
        }
    }

    fn rate(&self) -> Option<f64> {
        self.figures.map(|figures| figures.sagas_per_s)
    }

    fn row(&self) -> Vec<String> {
        let number = |value: Option<f64>, digits: usize| value.map_or_else(String::new, |v| format!("{v:.digits$}"));
        let figure = |figure: fn(&Figures) -> Option<f64>| self.figures.as_ref().and_then(figure);
        vec![
            self.journal.clone(),
            self.steps.to_string(),
            self.concurrency.to_string(),
            self.engine.clone(),
            self.rate().map_or_else(|| "failed".to_owned(), |rate| format!("{rate:.0}")),
            number(figure(|figures| Some(figures.p50_ms)), 2),
            number(figure(|figures| Some(figures.p99_ms)), 2),
            number(figure(|figures| figures.commits_per_saga), 2),
            number(figure(|figures| figures.round_trips_per_saga), 2),
            number(figure(|figures| figures.wal_bytes_per_saga), 0),
            number(figure(|figures| Some(figures.client_us_per_saga)), 0),
            number(figure(|figures| figures.server_us_per_saga), 0),
            number(self.ratio_to_floor, 2),
            number(self.p50_to_floor, 2),
            number(self.ratio_to_best_peer, 1),
        ]
    }
}

const HEADER: [&str; 15] = [
    "journal",
    "steps",
    "at once",
    "",
    "sagas/s",
    "p50 ms",
    "p99 ms",
    "commits",
    "round trips",
    "WAL bytes",
    "client us",
    "server us",
    "of the floor",
    "p50, of the floor's",
    "times the best peer",
];

/// The records of one case, with the ratios worked out. The contenders stand in the order of the table.
#[must_use]
pub fn compared(case: Case, contenders: &[(String, Vec<Figures>)]) -> Vec<Record> {
    let mut records: Vec<_> = contenders.iter().map(|(engine, rounds)| Record::new(case, engine, rounds)).collect();
    let floor = records.iter().find(|record| record.engine == FLOOR).and_then(|record| record.figures);
    let of_us = [OURS, FLOOR, COMMIT_PER_STEP];
    let peers = records.iter().filter(|record| !of_us.contains(&record.engine.as_str()));
    let best = peers.filter_map(Record::rate).max_by(f64::total_cmp);
    if let Some(ours) = records.iter_mut().find(|record| record.engine == OURS) {
        let both = ours.figures.zip(floor);
        ours.ratio_to_floor = both.map(|(ours, floor)| ours.sagas_per_s / floor.sagas_per_s);
        ours.p50_to_floor = both.map(|(ours, floor)| ours.p50_ms / floor.p50_ms);
        ours.ratio_to_best_peer = ours.rate().zip(best).map(|(ours, best)| ours / best);
    }
    records
}

/// Writes `compare.md`, `compare.json` and a chart for each journal, and gives the text of the first.
///
/// # Errors
/// When a file cannot be written.
pub fn report(out: &Path, note: &str, records: &[Record]) -> Result<String, Box<dyn std::error::Error>> {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN);
    table.set_header(HEADER);
    table.add_rows(records.iter().map(Record::row));
    let text = format!("{}\n{note}\n\n{table}\n", machine());
    std::fs::create_dir_all(out)?;
    std::fs::write(out.join("compare.md"), &text)?;
    std::fs::write(out.join("compare.json"), serde_json::to_string_pretty(records)?)?;
    for journal in ["postgres", "sqlite"] {
        chart(out, journal, records)?;
    }
    Ok(text)
}

fn chart(out: &Path, journal: &str, records: &[Record]) -> Result<(), Box<dyn std::error::Error>> {
    let records: Vec<&Record> = records.iter().filter(|record| record.journal == journal).collect();
    let (mut names, mut cases): (Vec<&str>, Vec<(usize, usize)>) = (Vec::new(), Vec::new());
    for record in &records {
        let case = (record.steps, record.concurrency);
        if !names.contains(&record.engine.as_str()) {
            names.push(&record.engine);
        }
        if !cases.contains(&case) {
            cases.push(case);
        }
    }
    let rate = |name: &str, (steps, at_once): (usize, usize)| {
        let is_it = |record: &&&Record| record.engine == name && record.steps == steps && record.concurrency == at_once;
        records.iter().find(is_it).and_then(|record| record.rate()).unwrap_or_default()
    };
    let bars: Vec<_> = cases
        .iter()
        .map(|&case| {
            let (steps, at_once) = case;
            (format!("{steps} steps, {at_once} at once"), names.iter().map(|name| rate(name, case)).collect())
        })
        .collect();
    if bars.is_empty() {
        return Ok(());
    }
    draw(
        &out.join(format!("compare-{journal}.svg")),
        &format!("Durable no-op sagas per second ({journal})"),
        &names,
        &bars,
    )
}

/// What the figures were measured on.
fn machine() -> String {
    let model = std::fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("model name"))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    });
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    format!("{cores} cores, {}; engine and database share them.", model.as_deref().unwrap_or("of an unknown model"))
}
