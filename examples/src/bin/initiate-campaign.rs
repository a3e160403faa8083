//! The campaign against the initiate server, see `examples::campaign`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use examples::campaign::{CampaignError, Report, ServerArgs, Settings, run, serve, table};
use examples::failure::told;

#[derive(Parser)]
#[command(about = "Initiates checkouts, kills the server on the way, and audits what is left")]
struct Cli {
    #[command(flatten)]
    campaign: Campaign,
    #[command(subcommand)]
    part: Option<Part>,
}

#[derive(Args)]
struct Campaign {
    /// How many checkouts.
    #[arg(long, default_value_t = 500)]
    requests: usize,
    /// How often the server is killed with SIGKILL and started again.
    #[arg(long, default_value_t = 50)]
    kills: usize,
    /// The seed of the payments and of the moments at which the server is killed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// An empty Postgres database, instead of a SQLite file of its own.
    #[arg(long)]
    database_url: Option<String>,
    /// A NATS server with JetStream and no stream yet; without it events go to this process over HTTP.
    #[arg(long)]
    nats_url: Option<String>,
    /// Work in this directory and leave everything there.
    #[arg(long)]
    keep: Option<PathBuf>,
    /// Also write the result as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Part {
    /// The server; started by the campaign.
    #[command(hide = true)]
    Server {
        #[command(flatten)]
        server: ServerArgs,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "off".into());
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_writer(std::io::stderr).init();
    let cli = Cli::parse();
    let done = match cli.part {
        None => campaign(cli.campaign).await,
        Some(Part::Server { server }) => serve(&server).await.map(|()| ExitCode::SUCCESS),
    };
    done.unwrap_or_else(|error| told(&*error))
}

async fn campaign(campaign: Campaign) -> Result<ExitCode, CampaignError> {
    let settings = Settings {
        requests: campaign.requests,
        kills: campaign.kills,
        seed: campaign.seed,
        database_url: campaign.database_url,
        nats_url: campaign.nats_url,
    };
    let report = match &campaign.keep {
        Some(dir) => {
            std::fs::create_dir_all(dir)?;
            run(&settings, dir).await?
        }
        None => in_a_directory_of_its_own(&settings).await?,
    };
    println!("{}", table(&report));
    for finding in &report.findings {
        println!("FINDING: {finding}");
    }
    if let Some(path) = campaign.json {
        std::fs::write(path, serde_json::to_string_pretty(&report)?)?;
    }
    Ok(if report.findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The directory stays when there is something to look at.
async fn in_a_directory_of_its_own(settings: &Settings) -> Result<Report, CampaignError> {
    let dir = tempfile::Builder::new().prefix("initiate-campaign-").tempdir()?;
    let done = run(settings, dir.path()).await;
    if !done.as_ref().is_ok_and(|report| report.findings.is_empty()) {
        let path: &Path = &dir.keep();
        eprintln!("what is left is in {}", path.display());
    }
    done
}
