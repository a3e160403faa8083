//! The server of the initiate flow, see `examples::server`.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use examples::failure::told;
use examples::server::{Config, STAND_IN, Server, TokenFor, token};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

#[derive(Parser)]
#[command(about = "Initiates checkouts of a services marketplace, over HTTP")]
struct Cli {
    #[command(subcommand)]
    part: Part,
}

#[derive(Subcommand)]
enum Part {
    /// Serves until SIGTERM or SIGINT.
    Serve {
        #[command(flatten)]
        config: Box<Config>,
        /// Log lines as JSON.
        #[arg(long, env = "INITIATE_LOG_JSON")]
        log_json: bool,
    },
    /// Prints a token that a server with the same settings takes.
    Token {
        #[command(flatten)]
        token: TokenFor,
        #[command(flatten)]
        config: Box<Config>,
    },
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> ExitCode {
    let done = match Cli::parse().part {
        Part::Serve { config, log_json } => serve(&config, log_json).await,
        Part::Token { token: wanted, config } => {
            token(&config, &wanted).map(|token| println!("{token}")).map_err(Into::into)
        }
    };
    let Err(error) = done else { return ExitCode::SUCCESS };
    told(&*error)
}

async fn serve(config: &Config, log_json: bool) -> Result<(), Failure> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into());
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if log_json {
        log.json().init()
    } else {
        log.init()
    }
    // Before the server is bound: a signal that comes early is not lost.
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let server = Server::bind(config).await?;
    println!("http://{}", server.address());
    if server.stand_in().is_some() {
        tracing::warn!("INSECURE: secrets that everybody knows, and a vendor that takes no money, at {STAND_IN}");
    }
    let stop = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    server.run(stop).await?;
    Ok(())
}
