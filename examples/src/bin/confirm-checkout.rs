//! The main job: some hundred checkouts against a gateway with faults, while the workers are killed, and
//! an audit of money, orders and stock at the end.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use examples::failure::told;
use examples::gateway::{Faults, Ledger, serve};
use examples::job::JobError;
use examples::job::run::{Settings, run, table};
use examples::job::worker::{self, Places};

#[derive(Parser)]
#[command(about = "Runs checkouts, kills its own workers on the way, and audits what is left")]
struct Cli {
    #[command(flatten)]
    job: Job,
    #[command(subcommand)]
    part: Option<Part>,
}

#[derive(Args)]
struct Job {
    /// A JSON file of carts, instead of those that come with the job.
    #[arg(long)]
    carts: Option<PathBuf>,
    /// How many checkouts.
    #[arg(long, default_value_t = 300)]
    checkouts: usize,
    /// How often a worker is killed with SIGKILL and started again.
    #[arg(long, default_value_t = 5)]
    kills: usize,
    /// How many worker processes there are at a time.
    #[arg(long, default_value_t = 1)]
    workers: usize,
    /// The seed of the gateway's random faults.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The share of gateway calls that lose their answer, and of those that get 503.
    #[arg(long, default_value_t = 0.03)]
    fault_rate: f64,
    /// An empty Postgres database, instead of a SQLite file of its own.
    #[arg(long)]
    database_url: Option<String>,
    /// Work in this directory, which has to be empty, and leave everything there, to be looked at with `sagactl`.
    #[arg(long)]
    keep: Option<PathBuf>,
    /// Also write the result as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Part {
    /// One worker; started by the job.
    #[command(hide = true)]
    Worker {
        #[arg(long)]
        database_url: String,
        #[arg(long)]
        gateway_url: String,
        #[arg(long)]
        name: String,
    },
    /// The gateway; started by the job.
    #[command(hide = true)]
    Gateway {
        #[arg(long)]
        ledger: PathBuf,
        #[arg(long)]
        fault_rate: f64,
        #[arg(long)]
        seed: u64,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    // The workers' ordinary warnings about killed workers would drown the rest: RUST_LOG shows them.
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "off".into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let cli = Cli::parse();
    let done = match cli.part {
        None => job(cli.job).await,
        Some(Part::Worker { database_url, gateway_url, name }) => {
            worker::run(&Places { database_url, gateway_url }, &name).await.map(|()| ExitCode::SUCCESS)
        }
        Some(Part::Gateway { ledger, fault_rate, seed }) => gateway(ledger, fault_rate, seed).await,
    };
    done.unwrap_or_else(|error| told(&*error))
}

async fn job(job: Job) -> Result<ExitCode, JobError> {
    let settings = Settings {
        carts: job.carts,
        checkouts: job.checkouts,
        kills: job.kills,
        workers: job.workers,
        seed: job.seed,
        fault_rate: job.fault_rate,
        database_url: job.database_url,
    };
    let done = match job.keep {
        Some(dir) => {
            std::fs::create_dir_all(&dir)?;
            run(&settings, &dir).await
        }
        None => {
            let dir = tempfile::Builder::new().prefix("confirm-checkout-").tempdir()?;
            let done = run(&settings, dir.path()).await;
            if !matches!(&done, Ok(report) if report.findings.is_empty()) {
                eprintln!("what is left is in {}", dir.keep().display());
            }
            done
        }
    };
    let report = done?;
    println!("{}", table(&report));
    for letter in &report.dead_letters {
        println!("dead letter: {letter}");
    }
    for finding in &report.findings {
        println!("FINDING: {finding}");
    }
    if let Some(path) = job.json {
        std::fs::write(path, serde_json::to_string_pretty(&report)?)?;
    }
    Ok(if report.findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn gateway(ledger: PathBuf, fault_rate: f64, seed: u64) -> Result<ExitCode, JobError> {
    let ledger = Ledger::open(&ledger).await?;
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await?;
    println!("http://{}", listener.local_addr()?);
    // It ends with its parent, whose end closes standard input.
    tokio::select! {
        served = serve(listener, ledger, Faults::new(fault_rate, seed)) => served?,
        () = worker::wait_for_parent() => {}
    }
    Ok(ExitCode::SUCCESS)
}
