//! What a comparison tells: a table, JSON and a chart.

use std::path::Path;

use comfy_table::Table;
use comfy_table::presets::ASCII_MARKDOWN;
use serde::Serialize;

use crate::{Figures, draw};

/// One of those compared, in one case.
#[derive(Clone, Debug, Serialize)]
pub struct Contender {
    name: String,
    /// How many rounds went well.
    rounds: usize,
    /// Each figure is the median of the rounds; none when no round went well.
    figures: Option<Figures>,
}

impl Contender {
    /// From its rounds.
    #[must_use]
    pub fn new(name: &str, rounds: &[Figures]) -> Self {
        Self { name: name.to_owned(), rounds: rounds.len(), figures: medians(rounds) }
    }

    fn rate(&self) -> f64 {
        self.figures.map_or(0.0, |figures| figures.sagas_per_s)
    }
}

/// So many steps, so many callers.
#[derive(Clone, Debug, Serialize)]
pub struct Case {
    steps: usize,
    at_once: usize,
    floor: Contender,
    ours: Contender,
    peers: Vec<Contender>,
    /// Throughput of ours, of the floor's.
    throughput: Option<f64>,
    /// Median latency of ours, of the floor's.
    p50: Option<f64>,
    /// The peer with the highest throughput.
    best_peer: Option<String>,
    /// Throughput of ours, of that peer's.
    throughput_of_best_peer: Option<f64>,
    /// Median latency of ours, of that of the peer with the lowest.
    p50_of_best_peer: Option<f64>,
}

impl Case {
    /// Works out the ratios.
    #[must_use]
    pub fn new(steps: usize, at_once: usize, floor: Contender, ours: Contender, peers: Vec<Contender>) -> Self {
        let best = peers.iter().filter(|peer| peer.figures.is_some()).max_by(|a, b| a.rate().total_cmp(&b.rate()));
        let least = peers.iter().filter_map(|peer| Some(peer.figures?.p50_ms)).min_by(f64::total_cmp);
        let of = |theirs: &Contender| Some(ours.figures?.sagas_per_s / theirs.figures?.sagas_per_s);
        Self {
            throughput: of(&floor),
            p50: ours.figures.zip(floor.figures).map(|(ours, floor)| ours.p50_ms / floor.p50_ms),
            best_peer: best.map(|peer| peer.name.clone()),
            throughput_of_best_peer: best.and_then(of),
            p50_of_best_peer: ours.figures.zip(least).map(|(ours, least)| ours.p50_ms / least),
            steps,
            at_once,
            floor,
            ours,
            peers,
        }
    }

    /// In the order of the table and the chart.
    fn contenders(&self) -> impl Iterator<Item = &Contender> {
        [&self.floor, &self.ours].into_iter().chain(&self.peers)
    }

    fn add_to(&self, table: &mut Table) {
        let ratio = |ratio: Option<f64>| ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}"));
        for contender in self.contenders() {
            let mut row = vec![self.steps.to_string(), self.at_once.to_string(), contender.name.clone()];
            row.extend(contender.figures.map_or_else(
                || vec!["-".to_owned(); 5],
                |figures| {
                    vec![
                        format!("{:.0}", figures.sagas_per_s),
                        format!("{:.2}", figures.p50_ms),
                        format!("{:.2}", figures.p99_ms),
                        format!("{:.0}", figures.client_us_per_saga),
                        format!("{:.0}", figures.server_us_per_saga),
                    ]
                },
            ));
            if contender.name == self.ours.name {
                let all = [self.throughput, self.p50, self.throughput_of_best_peer, self.p50_of_best_peer];
                let told = if self.peers.is_empty() { 2 } else { all.len() };
                row.extend(all.into_iter().take(told).map(ratio));
            }
            table.add_row(row);
        }
    }
}

/// Writes `compare.md`, `compare.json` and `compare.svg`, and gives the text of the first.
///
/// # Errors
/// When a file cannot be written.
pub fn report(out: &Path, note: &str, cases: &[Case]) -> Result<String, Box<dyn std::error::Error>> {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN);
    let figures = ["sagas/s", "p50 ms", "p99 ms", "client us/saga", "server us/saga"];
    let ratios = ["throughput / floor", "p50 / floor", "throughput / best peer", "p50 / best peer"];
    let with_peers = cases.iter().any(|case| !case.peers.is_empty());
    let ratios = if with_peers { &ratios[..] } else { &ratios[..2] };
    table.set_header(["steps", "at once", ""].iter().chain(&figures).chain(ratios));
    for case in cases {
        case.add_to(&mut table);
    }
    let text = format!("{}\n{note}\n\n{table}\n", machine());
    std::fs::create_dir_all(out)?;
    std::fs::write(out.join("compare.md"), &text)?;
    std::fs::write(out.join("compare.json"), serde_json::to_string_pretty(cases)?)?;
    let names: Vec<&str> = cases.iter().take(1).flat_map(Case::contenders).map(|each| each.name.as_str()).collect();
    let bars: Vec<_> = cases
        .iter()
        .map(|case| {
            let rates = case.contenders().map(Contender::rate).collect();
            (format!("{} steps, {} at once", case.steps, case.at_once), rates)
        })
        .collect();
    draw(&out.join("compare.svg"), "Durable no-op sagas per second on Postgres", &names, &bars)?;
    Ok(text)
}

fn medians(rounds: &[Figures]) -> Option<Figures> {
    let median = |figure: fn(&Figures) -> f64| {
        let mut all: Vec<f64> = rounds.iter().map(figure).collect();
        all.sort_by(f64::total_cmp);
        all.get(all.len() / 2).copied()
    };
    Some(Figures {
        sagas_per_s: median(|figures| figures.sagas_per_s)?,
        p50_ms: median(|figures| figures.p50_ms)?,
        p99_ms: median(|figures| figures.p99_ms)?,
        client_us_per_saga: median(|figures| figures.client_us_per_saga)?,
        server_us_per_saga: median(|figures| figures.server_us_per_saga)?,
    })
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
