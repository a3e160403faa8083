//! Everything that runs.

use std::process::Command;

use saga_testkit::postgres::{Cluster, ClusterError};

use crate::failure::Failure;
use crate::prepare;
use crate::stage::{Stages, cargo};

pub(crate) fn run(fast: bool) -> Result<(), Failure> {
    prepare::run()?;
    let mut stages = Stages::default();
    // All targets but the benchmarks.
    stages.run("tests", cargo().args(["test", "--workspace", "--lib", "--bins", "--tests", "--examples"]))?;
    stages.run("documentation tests", cargo().args(["test", "--workspace", "--doc"]))?;
    if fast {
        stages.leave_out("the main job", "as --fast asks");
        return Ok(());
    }
    let long = ["test", "-p", "saga-postgres", "--test", "server", "--", "--ignored"];
    stages.run("long tests", cargo().args(long))?;
    stages.run("the main job on SQLite", &mut main_job())?;
    let runtime = tokio::runtime::Runtime::new().map_err(|source| Failure::NoRuntime { source })?;
    // The server lives as long as the cluster is held.
    let (_cluster, database) = runtime.block_on(async {
        let cluster = Cluster::start().await?;
        let database = cluster.database().await?;
        Ok::<_, ClusterError>((cluster, database))
    })?;
    let on_postgres = ["--database-url", database.url(), "--workers", "3"];
    stages.run("the main job on Postgres, three workers", main_job().args(on_postgres))
}

fn main_job() -> Command {
    let mut command = cargo();
    command.args(["run", "--release", "--quiet", "-p", "examples", "--bin", "confirm-checkout", "--"]);
    command
}
