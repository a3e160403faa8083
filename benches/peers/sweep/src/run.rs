//! One run: a saga, its workers, and what is done to them.

use std::process::Stdio;
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, Executor as _};
use tokio::process::{Child, Command};

use saga_testkit::postgres::{Cluster, TestDatabase};

use crate::engine::{Failure, Name};
use crate::judge::Verdict;
use crate::ledger::Server;
use crate::script::{Fault, Script};

/// The saga of every run: each has a database of its own. A UUID, as steno wants it.
const ID: &str = "00000000-0000-4000-8000-000000000001";
/// How long a saga may take to end, once nothing hinders it any more.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a frozen worker may take to say something, once it goes on.
const AFTERWARDS: Duration = Duration::from_secs(3);

/// Who runs, and where.
#[derive(Clone, Copy, Debug)]
pub struct Runner<'a> {
    pub cluster: &'a Cluster,
    pub verbose: bool,
}

impl Runner<'_> {
    /// Runs a script on an engine, on a database of its own.
    pub async fn run(self, engine: Name, script: Script) -> Result<Verdict, Failure> {
        let database = self.cluster.database().await?;
        let server = Server::start(script).await?;
        let scene = Scene { engine, script, server: &server, url: database.url(), verbose: self.verbose };
        let came = scene.play().await?;
        let verdict = Verdict::of(&server.book(), came);
        drop(server);
        remove(&database).await?;
        Ok(verdict)
    }
}

struct Scene<'a> {
    engine: Name,
    script: Script,
    server: &'a Server,
    url: &'a str,
    verbose: bool,
}

impl Scene<'_> {
    /// Plays the script; false when no worker came to its point.
    async fn play(&self) -> Result<bool, Failure> {
        let mut first = self.worker(1)?;
        if self.script.point.is_none() {
            let ended = self.server.told_by(1, PATIENCE).await;
            if ended && matches!(self.script.fault, Some(Fault::Late { .. })) {
                // Until all that is late has landed.
                tokio::time::sleep(crate::ledger::LATE).await;
            }
            first.kill().await?;
            return Ok(true);
        }
        if !self.server.reached(PATIENCE).await {
            first.kill().await?;
            return Ok(false);
        }
        if self.script.zombie {
            self.zombie(&mut first).await?
        } else {
            self.crash(&mut first).await?
        }
        Ok(true)
    }

    async fn crash(&self, first: &mut Child) -> Result<(), Failure> {
        first.kill().await?;
        self.server.release();
        let mut second = self.worker(2)?;
        self.server.told_by(2, PATIENCE).await;
        Ok(second.kill().await?)
    }

    async fn zombie(&self, first: &mut Child) -> Result<(), Failure> {
        signal(first, "STOP").await?;
        let mut second = self.worker(2)?;
        self.server.told_by(2, PATIENCE).await;
        signal(first, "CONT").await?;
        self.server.release();
        self.server.told_by(1, AFTERWARDS).await;
        first.kill().await?;
        // One that nobody could take over while it stood still may have ended by now.
        Ok(second.kill().await?)
    }

    fn worker(&self, number: u32) -> Result<Child, Failure> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["worker", "--url", self.url, "--id", ID, "--worker", &number.to_string()]);
        command.args(["--ledger", &self.server.address().to_string()]);
        command.args(["--engine", &crate::value_name(self.engine)]);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).kill_on_drop(true);
        command.stderr(if self.verbose { Stdio::inherit() } else { Stdio::null() });
        Ok(command.spawn()?)
    }
}

async fn signal(worker: &Child, signal: &str) -> Result<(), Failure> {
    let Some(pid) = worker.id() else { return Err("the worker ended before its time".into()) };
    let sent = Command::new("kill").args([format!("-{signal}"), pid.to_string()]).status().await?;
    if sent.success() { Ok(()) } else { Err("no signal could be sent to a worker".into()) }
}

/// Databases are large, and there are hundreds.
async fn remove(database: &TestDatabase) -> Result<(), Failure> {
    let options: PgConnectOptions = database.url().parse()?;
    let mut connection = options.database("postgres").connect().await?;
    connection.execute(format!("DROP DATABASE \"{}\" WITH (FORCE)", database.name()).as_str()).await?;
    Ok(connection.close().await?)
}
