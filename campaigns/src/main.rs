//! Fault campaigns: `campaigns run`.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use campaigns::arena;
use campaigns::classes::Class;
use campaigns::report::{ClassReport, ledger_line, to_json};
use campaigns::simulation;
use campaigns::worker::{Work, work};
use clap::{Args, Parser, Subcommand};

#[derive(Parser)]
#[command(about = "Real workers, a real Postgres, real faults, and a checker that trusts none of them")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs campaigns.
    Run(Run),
    /// A worker process, started by a campaign.
    #[command(hide = true)]
    Worker(Work),
}

#[derive(Args)]
struct Run {
    /// Only this class; can be given more than once. Default: all.
    #[arg(long)]
    class: Vec<Class>,
    /// The first seed; later runs count on from it.
    #[arg(long)]
    seed: Option<u64>,
    /// Go on with new seeds for this many hours.
    #[arg(long)]
    long: Option<f64>,
    /// How many times the faults of a quick run each run does.
    #[arg(long, default_value_t = 1)]
    scale: u64,
    /// How long the faults of one run may take, in seconds.
    #[arg(long, default_value_t = 240)]
    limit: u64,
    /// Writes counts to this file.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Appends a line for each run to this file.
    #[arg(long)]
    ledger: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Run(run) => campaign(run).await,
        Command::Worker(told) => {
            tracing_subscriber::fmt().with_max_level(tracing::Level::DEBUG).with_writer(std::io::stderr).init();
            match work(&told).await {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    eprintln!("{error}");
                    ExitCode::FAILURE
                }
            }
        }
    }
}

async fn campaign(run: Run) -> ExitCode {
    if let (&[Class::Simulation], Some(seed), None) = (&*run.class, run.seed, run.long) {
        return if simulation::tell(seed) { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let classes = if run.class.is_empty() { Class::ALL.to_vec() } else { run.class.clone() };
    let first = run.seed.unwrap_or_else(|| fastrand::u64(..u64::from(u32::MAX)));
    let until = run.long.map(|hours| Instant::now() + Duration::from_secs_f64(hours * 3_600.0));
    let (mut reports, mut passed) = (Vec::new(), true);
    for round in 0.. {
        for class in &classes {
            let seed = first + round * class.seeds(run.scale);
            match arena::run(*class, seed, run.scale, Duration::from_secs(run.limit)).await {
                Ok(report) => {
                    passed &= report.passed();
                    passed &= note(&run, &report);
                    reports.push(report);
                }
                Err(error) => {
                    passed = false;
                    complain(*class, &error);
                }
            }
            if let Some(path) = &run.json {
                passed &= write(path, &to_json(&reports).to_string());
            }
        }
        if until.is_none_or(|until| Instant::now() >= until) {
            break;
        }
    }
    if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn complain(class: Class, error: &dyn std::error::Error) {
    eprintln!("{class}: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        eprintln!("  because: {error}");
        cause = error.source();
    }
}

fn write(path: &Path, text: &str) -> bool {
    std::fs::write(path, text).inspect_err(|error| eprintln!("{}: {error}", path.display())).is_ok()
}

/// Appends the run to the ledger of runs, where there is one.
fn note(run: &Run, report: &ClassReport) -> bool {
    let Some(path) = &run.ledger else { return true };
    let line = ledger_line(report, commit(), &chrono::Utc::now().to_rfc3339());
    let file = OpenOptions::new().create(true).append(true).open(path);
    let written = file.and_then(|mut file| writeln!(file, "{line}"));
    written.inspect_err(|error| eprintln!("{}: {error}", path.display())).is_ok()
}

/// What is tested: asked once, for the first line in the ledger is a change of its own.
fn commit() -> &'static str {
    static COMMIT: OnceLock<String> = OnceLock::new();
    COMMIT.get_or_init(|| {
        let asked = std::process::Command::new("git").args(["describe", "--always", "--dirty", "--abbrev=12"]).output();
        let text = asked.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default();
        if text.is_empty() { "unknown".to_owned() } else { text }
    })
}
