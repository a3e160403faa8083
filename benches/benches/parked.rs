//! One worker and very many parked sagas: what they cost in memory, and what they cost a new saga.
//!
//! `cargo bench -p benches --bench parked -- [--sagas 1000000]`. Postgres is a private server of its own with
//! its default durability.

#![allow(missing_docs, reason = "a program")]

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use benches::noop;
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use saga_core::{Definition, Engine, Source as _};
use saga_postgres::PostgresJournal;
use tokio::task::JoinSet;

#[derive(Parser)]
struct Args {
    /// How many sagas are parked.
    #[arg(long, default_value_t = 1_000_000)]
    sagas: u64,
    /// How many sagas one latency is the median of.
    #[arg(long, default_value_t = 500)]
    samples: usize,
    /// What `cargo bench` passes.
    #[arg(long, hide = true)]
    bench: bool,
}

/// How many callers park sagas at a time.
const CALLERS: u64 = 2_000;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    let cluster = saga_testkit::postgres::Cluster::start().await?;
    let database = cluster.database().await?;
    let journal = PostgresJournal::connect(database.url()).await?;
    let (sleeper, quick) = (sleeper()?, noop(3)?);
    let engine = Engine::builder(journal).register(&sleeper).register(&quick).open().await?;
    latency(&engine, &quick, "warm-up", args.samples).await?;
    let empty = latency(&engine, &quick, "empty", args.samples).await?;
    println!("empty journal: {} KiB resident, p50 {:.2} ms for 3 steps", resident()?, millis(empty));
    let bar = ProgressBar::new(args.sagas);
    bar.set_style(ProgressStyle::with_template("{bar:40} {pos}/{len} parked, {per_sec}, {msg}")?);
    for quarter in 1..=4 {
        park(&engine, &sleeper, args.sagas * (quarter - 1) / 4..args.sagas * quarter / 4, &bar).await?;
        while engine.in_flight() > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // What the last burst of starts has left is given back first.
        tokio::time::sleep(Duration::from_secs(2)).await;
        let p50 = latency(&engine, &quick, &format!("at {quarter}"), args.samples).await?;
        let (parked, resident, times) =
            (args.sagas * quarter / 4, resident()?, p50.as_secs_f64() / empty.as_secs_f64());
        // Also where there is no terminal to draw a bar on.
        bar.suspend(|| {
            println!(
                "{parked} parked: {resident} KiB resident, p50 {:.2} ms, {times:.2} of the empty journal's",
                millis(p50)
            );
        });
    }
    bar.finish_and_clear();
    engine.shutdown(Duration::from_secs(10)).await;
    Ok(())
}

/// Sleeps for a month.
fn sleeper() -> Result<Definition<u64, ()>, saga_core::BuildError> {
    Definition::build("sleeper", 1, |saga, n| {
        let slept = saga.sleep("a-month", n.map(|n: u64| Duration::from_secs(30 * 24 * 3600 + n)));
        saga.returns(slept)
    })
}

async fn park(
    engine: &Engine,
    sleeper: &Definition<u64, ()>,
    which: std::ops::Range<u64>,
    bar: &ProgressBar,
) -> Result<(), Box<dyn Error>> {
    let mut callers = JoinSet::new();
    let next = Arc::new(std::sync::atomic::AtomicU64::new(which.start));
    for _ in 0..CALLERS {
        let (engine, sleeper, next, bar, end) = (engine.clone(), sleeper.clone(), next.clone(), bar.clone(), which.end);
        callers.spawn(async move {
            loop {
                let nth = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                if nth >= end {
                    return Ok::<_, saga_core::engine::StartError>(());
                }
                engine.start(&sleeper, &nth.to_string(), nth).await?;
                bar.inc(1);
            }
        });
    }
    while let Some(done) = callers.join_next().await {
        done??;
    }
    Ok(())
}

/// The median of sagas that run one after the other.
async fn latency(
    engine: &Engine,
    quick: &Definition<String, String>,
    label: &str,
    samples: usize,
) -> Result<Duration, Box<dyn Error>> {
    let mut took = Vec::with_capacity(samples);
    for nth in 0..samples {
        let began = Instant::now();
        engine.start(quick, &format!("{label} {nth}"), String::new()).await?.outcome().await?;
        took.push(began.elapsed());
    }
    took.sort_unstable();
    Ok(took[samples / 2])
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// This process's resident memory in KiB, as Linux tells it.
fn resident() -> Result<u64, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS in /proc/self/status")?;
    Ok(line.trim().trim_end_matches(" kB").trim().parse()?)
}
