//! What holds beyond throughput: latency on a schedule, several workers, full tables, a crash, memory, long times,
//! transactional steps, events.
//!
//! `cargo bench -p benches --bench reach -- [--only fair] [--rounds 3] [--seconds 5] [--json FILE] [--short]`. Each
//! scenario has a private Postgres with its default durability.

#![allow(missing_docs, reason = "a program")]

use std::error::Error;
use std::path::PathBuf;

use benches::reach::{Finding, Role, Scenario, Settings, print_findings, run};
use clap::{Parser, Subcommand, ValueEnum as _};
use indicatif::{ProgressBar, ProgressStyle};
use mimalloc::MiMalloc;

/// As hosts that care run: all contenders have the same allocator.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

#[derive(Parser)]
struct Args {
    /// Only these.
    #[arg(long, value_enum)]
    only: Vec<Scenario>,
    /// Also write the findings as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    #[command(flatten)]
    settings: Settings,
    /// What `cargo bench` passes.
    #[arg(long, hide = true)]
    bench: bool,
    #[command(subcommand)]
    process: Option<Process>,
}

#[derive(Subcommand)]
enum Process {
    /// A process that a scenario starts.
    #[command(hide = true)]
    Worker {
        /// What it does, as JSON.
        role: String,
    },
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = Args::parse();
    if let Some(Process::Worker { role }) = args.process {
        return serde_json::from_str::<Role>(&role)?.play().await;
    }
    args.settings.memory_program = Some(env!("CARGO_BIN_EXE_reach-memory").into());
    let all = Scenario::value_variants().iter().copied();
    let wanted: Vec<Scenario> = all.filter(|each| args.only.is_empty() || args.only.contains(each)).collect();
    let (mut findings, mut failed) = (Vec::<Finding>::new(), Vec::new());
    for scenario in wanted {
        let bar = ProgressBar::no_length();
        bar.set_style(ProgressStyle::with_template("{bar:40} {pos}/{len} {prefix}: {msg}")?);
        bar.set_prefix(format!("{scenario:?}").to_lowercase());
        match run(scenario, &args.settings, &bar).await {
            Ok(found) => findings.extend(found),
            Err(error) => failed.push(format!("{scenario:?} could not be measured: {error}")),
        }
        bar.finish_and_clear();
        // What is ended early has told what it knew.
        if let Some(path) = &args.json {
            std::fs::write(path, serde_json::to_string_pretty(&findings)?)?;
        }
    }
    println!("{}", print_findings(&findings));
    if failed.is_empty() { Ok(()) } else { Err(failed.join("; ").into()) }
}
