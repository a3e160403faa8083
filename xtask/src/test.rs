//! Everything that runs.

use saga_testkit::postgres::Cluster;

use crate::postgres;
use crate::stage::{Stages, cargo};

pub(crate) fn run(fast: bool) -> Result<(), String> {
    postgres::prepare()?;
    let mut stages = Stages::default();
    stages.run("tests", cargo().args(["test", "--workspace", "--lib", "--bins", "--tests"]))?;
    stages.run("documentation tests", cargo().args(["test", "--workspace", "--doc"]))?;
    if !fast {
        let job = || {
            let mut command = cargo();
            command.args(["run", "--release", "--quiet", "-p", "examples", "--bin", "confirm-checkout", "--"]);
            command
        };
        stages.run("the main job on SQLite", &mut job())?;
        let runtime = tokio::runtime::Runtime::new().map_err(|error| format!("no runtime: {error}"))?;
        let (cluster, database) = runtime
            .block_on(async {
                let cluster = Cluster::start().await?;
                let database = cluster.database().await?;
                Ok::<_, saga_testkit::postgres::ClusterError>((cluster, database))
            })
            .map_err(|error| format!("no Postgres: {error}"))?;
        let on_postgres = ["--database-url", database.url(), "--workers", "3"];
        stages.run("the main job on Postgres, three workers", job().args(on_postgres))?;
        drop(cluster);
    }
    stages.summary();
    Ok(())
}
