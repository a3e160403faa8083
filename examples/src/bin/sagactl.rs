//! The operator's command line, for the checkouts of the main job and of the initiate server.

use std::process::ExitCode;

use clap::Parser;
use examples::failure::told;
use examples::job::worker::Places;
use examples::sagactl::{Command, run};
use examples::server;

#[derive(Parser)]
#[command(about = "Finds sagas, shows what happened to them, and decides about those that wait for a human")]
struct Cli {
    /// The journal's database: `sqlite://FILE` or `postgres://…`.
    #[arg(long, env = "SAGA_DATABASE_URL")]
    database_url: String,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[tokio::main]
async fn main() -> ExitCode {
    let Cli { database_url, json, command } = Cli::parse();
    // It decides, and runs nothing: the gateway is never called from here.
    let places = Places { database_url, gateway_url: "http://127.0.0.1:9".to_owned() };
    let answer = async {
        let (engine, _) = places.engine().await?;
        let engine = server::for_operators(engine, &places.database_url).await?.client_only().open().await?;
        Ok::<_, examples::job::JobError>(run(&engine, command, json).await?)
    };
    match answer.await {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => told(&*error),
    }
}
