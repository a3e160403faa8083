//! The same zombie-and-crash sweep on equivalent programs: ours, and three peers as their own documents set them up.
//!
//! `sweep [--engine dbos]… [--schedule crash]… [--runs 24]` starts a private Postgres, runs every script of every
//! schedule on each engine, each with worker processes and a database of its own, and prints a table of what was
//! left behind; `--details` prints each run as a line of JSON, too, and `--ledger FILE` keeps the counts. See
//! `../README.md`, "What a crash leaves".

#![allow(missing_docs, reason = "a program")]

mod engine;
mod judge;
mod ledger;
mod record;
mod run;
mod script;
mod table;
mod worker;

use std::path::PathBuf;
use std::sync::Arc;

use clap::{Parser, Subcommand, ValueEnum};
use engine::{Failure, Name};
use judge::Verdict;
use record::Records;
use run::Runner;
use saga_testkit::postgres::Cluster;
use script::{Schedule, Script};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

#[derive(Parser)]
struct Args {
    #[command(subcommand)]
    role: Option<Role>,
    /// Who; all by default.
    #[arg(long)]
    engine: Vec<Name>,
    /// What; all by default.
    #[arg(long)]
    schedule: Vec<Schedule>,
    /// Runs of each engine on each schedule, at least: every script equally often, and once.
    #[arg(long, default_value_t = 24)]
    runs: usize,
    /// Runs at once.
    #[arg(long, default_value_t = 6)]
    at_once: usize,
    /// Tells of every run.
    #[arg(long)]
    details: bool,
    /// Appends a line for each engine and schedule to this file.
    #[arg(long, value_name = "FILE")]
    ledger: Option<PathBuf>,
    /// Shows what the workers print.
    #[arg(long)]
    verbose: bool,
}

#[derive(Subcommand)]
enum Role {
    /// What the sweep starts, and kills.
    #[command(hide = true)]
    Worker(worker::Work),
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let args = Args::parse();
    match &args.role {
        Some(Role::Worker(work)) => worker::work(work).await,
        None => sweep(&args).await,
    }
}

async fn sweep(args: &Args) -> Result<(), Failure> {
    let cluster = Cluster::shared().await?;
    let runner = Runner { cluster, verbose: args.verbose };
    let engines = if args.engine.is_empty() { Name::ALL.to_vec() } else { args.engine.clone() };
    let schedules = if args.schedule.is_empty() { Schedule::ALL.to_vec() } else { args.schedule.clone() };
    let records = args.ledger.as_deref().map(Records::new).transpose()?;
    let mut lines = Vec::new();
    let mut missed = 0;
    for schedule in schedules {
        for engine in engines.iter().copied() {
            let verdicts = all(args, runner, engine, schedule).await?;
            if let Some(records) = &records {
                records.append(schedule, engine, &verdicts)?;
            }
            missed += verdicts.iter().filter(|verdict| verdict.missed).count();
            let line = table::line(schedule, engine, &verdicts);
            eprintln!("{line}");
            lines.push(line);
        }
    }
    println!("{}\n{}", table::head(), lines.join("\n"));
    match missed {
        0 => Ok(()),
        missed => Err(format!("in {missed} runs no worker came to the point that they are about").into()),
    }
}

/// Every script of a schedule on an engine, some at once.
async fn all(args: &Args, runner: Runner<'static>, engine: Name, schedule: Schedule) -> Result<Vec<Verdict>, Failure> {
    let places = Arc::new(Semaphore::new(args.at_once));
    let mut runs: JoinSet<Result<(Script, Verdict), Failure>> = JoinSet::new();
    let scripts = schedule.scripts();
    let rounds = args.runs.div_ceil(scripts.len()).max(1);
    for script in (0..rounds).flat_map(|_| scripts.clone()) {
        let places = places.clone();
        runs.spawn(async move {
            let _place = places.acquire().await?;
            Ok((script, runner.run(engine, script).await?))
        });
    }
    let mut verdicts = Vec::new();
    while let Some(ran) = runs.join_next().await {
        let (script, verdict) = ran??;
        if args.details || verdict.is_wrong() || verdict.missed {
            let verdict = serde_json::to_string(&verdict)?;
            eprintln!("{} {} {verdict}", value_name(engine), script.told());
        }
        verdicts.push(verdict);
    }
    Ok(verdicts)
}

/// What an argument is called on the command line.
fn value_name<T: ValueEnum>(value: T) -> String {
    value.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}
