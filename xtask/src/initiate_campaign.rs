//! The campaign against the initiate server: on SQLite with events over HTTP, and on Postgres with events in NATS.

use clap::Args;
use saga_testkit::nats::NatsServer;
use saga_testkit::postgres::{Cluster, ClusterError};

use crate::failure::Failure;
use crate::prepare;
use crate::stage::{Stages, cargo};

/// How much is done on each.
#[derive(Args)]
pub(crate) struct Campaign {
    /// How many checkouts.
    #[arg(long, default_value_t = 500)]
    requests: usize,
    /// How often the server is killed.
    #[arg(long, default_value_t = 50)]
    kills: usize,
    /// The seed of the payments and of the moments at which the server is killed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The profile to build with.
    #[arg(long, default_value = "release")]
    profile: String,
}

pub(crate) fn run(campaign: &Campaign) -> Result<(), Failure> {
    prepare::run()?;
    let mut stages = Stages::default();
    stages.run("the initiate campaign on SQLite", &mut command(campaign))?;
    let runtime = tokio::runtime::Runtime::new().map_err(|source| Failure::NoRuntime { source })?;
    // The servers live as long as they are held.
    let (_cluster, database) = runtime.block_on(async {
        let cluster = Cluster::start().await?;
        let database = cluster.database().await?;
        Ok::<_, ClusterError>((cluster, database))
    })?;
    let nats = runtime.block_on(NatsServer::start())?;
    let outside = ["--database-url", database.url(), "--nats-url", &nats.url()];
    stages.run("the initiate campaign on Postgres, with NATS", command(campaign).args(outside))
}

fn command(campaign: &Campaign) -> std::process::Command {
    let mut command = cargo();
    command.args([
        "run",
        "--profile",
        &campaign.profile,
        "--quiet",
        "-p",
        "examples",
        "--bin",
        "initiate-campaign",
        "--",
    ]);
    command.args(["--requests", &campaign.requests.to_string(), "--kills", &campaign.kills.to_string()]);
    command.args(["--seed", &campaign.seed.to_string()]);
    command
}
