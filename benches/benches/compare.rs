//! The engine beside its floor: the same rows in the same transactions, written by no engine.
//!
//! `cargo bench -p benches --bench compare -- [--steps 3,9] [--at-once 1,64,1000] [--seconds 3] [--rounds 3]
//! [--out target/compare]`. Both run in turns on one private Postgres with its default durability; what is
//! told is the median of the rounds. Writes `compare.md`, `compare.json` and `compare.svg`.

#![allow(missing_docs, reason = "a program")]

use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;

use benches::{Cpu, Floor, draw, measure, noop, run_saga};
use clap::Parser;
use comfy_table::Table;
use comfy_table::presets::ASCII_MARKDOWN;
use indicatif::{ProgressBar, ProgressStyle};
use saga_core::{Engine, Limits};
use saga_postgres::PostgresJournal;
use serde::Serialize;
use sqlx::{Connection as _, PgConnection};

#[derive(Parser)]
struct Args {
    /// Steps of each saga.
    #[arg(long, value_delimiter = ',', default_values_t = [3, 9])]
    steps: Vec<usize>,
    /// Callers at once.
    #[arg(long = "at-once", value_delimiter = ',', default_values_t = [1, 64, 1000])]
    at_once: Vec<usize>,
    /// How long each round of each contender is measured, in seconds.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// How often each is measured.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Where the results go.
    #[arg(long, default_value = "target/compare")]
    out: PathBuf,
    /// What `cargo bench` passes.
    #[arg(long, hide = true)]
    bench: bool,
}

const CONTENDERS: [&str; 2] = ["floor", "saga-postgres"];

/// What one contender does in one case; each figure is a median.
#[derive(Clone, Copy, Debug, Default, Serialize)]
struct Figures {
    sagas_per_s: f64,
    p50_ms: f64,
    p99_ms: f64,
    client_us_per_saga: f64,
    server_us_per_saga: f64,
}

#[derive(Debug, Serialize)]
struct Case {
    steps: usize,
    at_once: usize,
    floor: Figures,
    ours: Figures,
    /// Throughput, of the floor's.
    throughput: f64,
    /// Median latency, of the floor's.
    p50: f64,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    let cluster = saga_testkit::postgres::Cluster::start_private().await?;
    let database = cluster.database().await?;
    let mut probe = PgConnection::connect(database.url()).await?;
    let bar = ProgressBar::new((args.steps.len() * args.at_once.len() * args.rounds * CONTENDERS.len()) as u64);
    bar.set_style(ProgressStyle::with_template("{bar:40} {pos}/{len} {msg}")?);
    let mut cases = Vec::new();
    for &steps in &args.steps {
        let floor = Floor::open(database.url(), steps).await?;
        for &at_once in &args.at_once {
            let (mut floors, mut ours) = (Vec::new(), Vec::new());
            for round in 1..=args.rounds {
                bar.set_message(format!("{steps} steps, {at_once} at once, round {round}"));
                floors.push(floor_round(&floor, at_once, &args, &mut probe).await?);
                bar.inc(1);
                ours.push(our_round(database.url(), steps, at_once, &args, &mut probe).await?);
                bar.inc(1);
            }
            let (floor, ours) = (medians(&floors), medians(&ours));
            let (throughput, p50) = (ours.sagas_per_s / floor.sagas_per_s, ours.p50_ms / floor.p50_ms);
            cases.push(Case { steps, at_once, floor, ours, throughput, p50 });
        }
    }
    bar.finish_and_clear();
    report(&args, &cases)
}

async fn floor_round(
    floor: &Floor,
    at_once: usize,
    args: &Args,
    probe: &mut PgConnection,
) -> Result<Figures, Box<dyn Error>> {
    let floor = floor.clone();
    let saga = move |key: String| {
        let floor = floor.clone();
        async move { floor.saga(key).await }
    };
    round(saga, at_once, args, probe).await
}

async fn our_round(
    url: &str,
    steps: usize,
    at_once: usize,
    args: &Args,
    probe: &mut PgConnection,
) -> Result<Figures, Box<dyn Error>> {
    let definition = noop(steps)?;
    let mut limits = Limits::default();
    limits.in_flight_max = at_once.max(limits.in_flight_max);
    let journal = PostgresJournal::connect(url).await?;
    let engine = Engine::builder(journal).register(&definition).limits(limits).open().await?;
    let saga = {
        let engine = engine.clone();
        move |key: String| {
            let (engine, definition) = (engine.clone(), definition.clone());
            async move { run_saga(&engine, &definition, &key).await }
        }
    };
    let figures = round(saga, at_once, args, probe).await;
    engine.shutdown(Duration::from_secs(10)).await;
    figures
}

#[expect(clippy::cast_precision_loss, reason = "counts of a few seconds")]
async fn round<Fut: Future<Output = Result<(), String>> + Send>(
    saga: impl Fn(String) -> Fut + Clone + Send + 'static,
    at_once: usize,
    args: &Args,
    probe: &mut PgConnection,
) -> Result<Figures, Box<dyn Error>> {
    let (warm_up, lasting) = (Duration::from_millis(700), Duration::from_secs_f64(args.seconds));
    let mut marks = Vec::new();
    let measured = measure(saga, at_once, warm_up, lasting, async || {
        marks.push(Cpu::now(probe).await.map_err(|error| error.to_string())?);
        Ok(())
    })
    .await?;
    let [before, after] = marks[..] else { return Err("the run was not marked twice".into()) };
    let sagas = measured.sagas.max(1) as f64;
    let micros = |used: Duration| used.as_secs_f64() * 1e6 / sagas;
    Ok(Figures {
        sagas_per_s: measured.sagas as f64 / measured.took.as_secs_f64(),
        p50_ms: measured.p50.as_secs_f64() * 1e3,
        p99_ms: measured.p99.as_secs_f64() * 1e3,
        client_us_per_saga: micros(after.client.saturating_sub(before.client)),
        server_us_per_saga: micros(after.server.saturating_sub(before.server)),
    })
}

fn medians(rounds: &[Figures]) -> Figures {
    let median = |figure: fn(&Figures) -> f64| {
        let mut all: Vec<f64> = rounds.iter().map(figure).collect();
        all.sort_by(f64::total_cmp);
        all.get(all.len() / 2).copied().unwrap_or_default()
    };
    Figures {
        sagas_per_s: median(|figures| figures.sagas_per_s),
        p50_ms: median(|figures| figures.p50_ms),
        p99_ms: median(|figures| figures.p99_ms),
        client_us_per_saga: median(|figures| figures.client_us_per_saga),
        server_us_per_saga: median(|figures| figures.server_us_per_saga),
    }
}

fn report(args: &Args, cases: &[Case]) -> Result<(), Box<dyn Error>> {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN);
    table.set_header([
        "steps",
        "at once",
        "",
        "sagas/s",
        "p50 ms",
        "p99 ms",
        "client us/saga",
        "server us/saga",
        "throughput",
        "p50",
    ]);
    for case in cases {
        let of = [String::new(), String::new()];
        let ratios = [format!("{:.2}", case.throughput), format!("{:.2}", case.p50)];
        for (name, figures, ratios) in [(CONTENDERS[0], case.floor, of), (CONTENDERS[1], case.ours, ratios)] {
            let row = [case.steps.to_string(), case.at_once.to_string(), name.to_owned()].into_iter();
            let figures = [
                format!("{:.0}", figures.sagas_per_s),
                format!("{:.2}", figures.p50_ms),
                format!("{:.2}", figures.p99_ms),
                format!("{:.0}", figures.client_us_per_saga),
                format!("{:.0}", figures.server_us_per_saga),
            ];
            table.add_row(row.chain(figures).chain(ratios));
        }
    }
    let text = format!("{}\n\n{table}\n", machine());
    println!("{text}");
    std::fs::create_dir_all(&args.out)?;
    std::fs::write(args.out.join("compare.md"), &text)?;
    std::fs::write(args.out.join("compare.json"), serde_json::to_string_pretty(cases)?)?;
    let bars: Vec<_> = cases
        .iter()
        .map(|case| {
            let rates = vec![case.floor.sagas_per_s, case.ours.sagas_per_s];
            (format!("{} steps, {} at once", case.steps, case.at_once), rates)
        })
        .collect();
    draw(&args.out.join("compare.svg"), "Durable no-op sagas per second on Postgres", &CONTENDERS, &bars)
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
