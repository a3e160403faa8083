//! The worker processes of a campaign, each with a log of its own.

use std::fs::{File, OpenOptions};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::{Child, Command};

use crate::error::{CampaignError, io};
use crate::sagas::Holds;

/// How a worker is started.
#[derive(Clone, Debug)]
pub struct Launch {
    /// The program: this one.
    pub program: PathBuf,
    /// The journal, as workers reach it.
    pub database_url: String,
    /// The ledger.
    pub ledger: SocketAddr,
    /// Where logs go.
    pub logs: PathBuf,
    /// Whether a proxy pools transactions.
    pub pooling: bool,
    /// What a worker in this place finds in its environment.
    pub environment: fn(usize) -> Vec<(String, String)>,
}

/// Some workers, each in its place. They are killed with this.
#[derive(Debug)]
pub struct Workers {
    launch: Launch,
    places: Vec<Child>,
    started: u64,
}

impl Workers {
    /// Starts this many. Every fourth holds few of the definitions.
    ///
    /// # Errors
    /// When a process cannot be started.
    pub fn start(launch: Launch, count: usize) -> Result<Self, CampaignError> {
        let mut workers = Self { launch, places: Vec::new(), started: 0 };
        for place in 0..count {
            let worker = workers.spawn(place, usual(place))?;
            workers.places.push(worker);
        }
        Ok(workers)
    }

    fn spawn(&mut self, place: usize, holds: Holds) -> Result<Child, CampaignError> {
        self.started += 1;
        let holds = holds.as_str();
        let log = self.log(place)?;
        let Launch { program, database_url, ledger, pooling, environment, .. } = &self.launch;
        let mut command = Command::new(program);
        command.arg("worker").args(["--database-url", database_url, "--ledger", &ledger.to_string()]);
        command.args(["--holds", holds, "--name", &format!("worker-{place}-{holds}-{}", self.started)]);
        command.envs(environment(place));
        if *pooling {
            command.arg("--pooling");
        }
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(log).kill_on_drop(true);
        command.spawn().map_err(io("starting a worker"))
    }

    fn log(&self, place: usize) -> Result<File, CampaignError> {
        let path = self.launch.logs.join(format!("worker-{place}.log"));
        OpenOptions::new().create(true).append(true).open(path).map_err(io("opening a worker's log"))
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.places.len()
    }

    /// Kills one as a power failure would, and starts another in its place.
    ///
    /// # Errors
    /// When a process cannot be killed or started.
    pub async fn kill(&mut self, place: usize) -> Result<(), CampaignError> {
        self.places[place].kill().await.map_err(io("killing a worker"))?;
        self.places[place] = self.spawn(place, usual(place))?;
        Ok(())
    }

    /// Stops one, which hands back what it holds, or kills it; and starts one in its place that holds this.
    ///
    /// # Errors
    /// When a process cannot be stopped or started.
    pub async fn replace(&mut self, place: usize, holds: Holds, grace: Duration) -> Result<(), CampaignError> {
        stop(&mut self.places[place], grace).await?;
        self.places[place] = self.spawn(place, holds)?;
        Ok(())
    }

    /// Sends one a signal, such as `STOP` or `CONT`.
    ///
    /// # Errors
    /// When the signal cannot be sent.
    pub async fn signal(&self, place: usize, signal: &str) -> Result<(), CampaignError> {
        let Some(pid) = self.places[place].id() else { return Ok(()) };
        let sent = Command::new("kill").args([format!("-{signal}"), pid.to_string()]).status().await;
        sent.map(drop).map_err(io("sending a signal to a worker"))
    }

    /// Starts those again that ended by themselves, and returns how many did.
    ///
    /// # Errors
    /// When a process cannot be looked at or started.
    pub fn revive(&mut self) -> Result<u64, CampaignError> {
        let mut ended = 0;
        for place in 0..self.places.len() {
            if self.places[place].try_wait().map_err(io("looking at a worker"))?.is_some() {
                ended += 1;
                self.places[place] = self.spawn(place, usual(place))?;
            }
        }
        Ok(ended)
    }

    /// Tells all of them to stop, and kills what does not within this time.
    ///
    /// # Errors
    /// When a process cannot be waited for.
    pub async fn stop(&mut self, grace: Duration) -> Result<(), CampaignError> {
        for worker in &mut self.places {
            drop(worker.stdin.take());
        }
        for worker in &mut self.places {
            stop(worker, grace).await?;
        }
        Ok(())
    }
}

/// Tells one to stop, and kills it when it does not within this time.
async fn stop(worker: &mut Child, grace: Duration) -> Result<(), CampaignError> {
    drop(worker.stdin.take());
    if tokio::time::timeout(grace, worker.wait()).await.is_err() {
        worker.kill().await.map_err(io("killing a worker that does not stop"))?;
    }
    Ok(())
}

/// Every fourth holds few of the definitions.
fn usual(place: usize) -> Holds {
    if place % 4 == 3 { Holds::Few } else { Holds::All }
}
