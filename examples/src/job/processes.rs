//! The job's own processes: the gateway, and workers to be killed. Each is this program with another
//! subcommand, and goes with this one.

use std::path::Path;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use super::JobError;
use super::worker::Places;

/// A child process, killed when it is dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
}

impl Process {
    /// Kills it as a power failure would (SIGKILL), and waits until it is gone.
    ///
    /// # Errors
    /// When it cannot be killed.
    pub async fn kill(&mut self) -> Result<(), JobError> {
        Ok(self.child.kill().await?)
    }

    /// Tells it to stop, by closing its standard input, and waits until it has.
    ///
    /// # Errors
    /// When it ends badly.
    pub async fn stop(mut self) -> Result<(), JobError> {
        drop(self.child.stdin.take());
        let status = self.child.wait().await?;
        if status.success() { Ok(()) } else { Err(format!("a worker ended with {status}").into()) }
    }
}

fn own_program() -> Result<Command, JobError> {
    let mut command = Command::new(std::env::current_exe()?);
    command.stdin(Stdio::piped()).kill_on_drop(true);
    Ok(command)
}

/// Starts the gateway, and returns where it listens.
///
/// # Errors
/// When it does not start.
pub async fn gateway(ledger: &Path, fault_rate: f64, seed: u64) -> Result<(Process, String), JobError> {
    let mut command = own_program()?;
    command.arg("gateway").arg("--ledger").arg(ledger);
    command.args(["--fault-rate", &fault_rate.to_string(), "--seed", &seed.to_string()]);
    let mut child = command.stdout(Stdio::piped()).spawn()?;
    let stdout = child.stdout.take().ok_or("the gateway has no output")?;
    let url = BufReader::new(stdout).lines().next_line().await?.ok_or("the gateway did not start")?;
    Ok((Process { child }, url))
}

/// Starts a worker.
///
/// # Errors
/// When it does not start.
pub fn worker(places: &Places, name: &str) -> Result<Process, JobError> {
    let mut command = own_program()?;
    command.arg("worker").args(["--database-url", &places.database_url, "--gateway-url", &places.gateway_url]);
    let child = command.args(["--name", name]).stdout(Stdio::null()).spawn()?;
    Ok(Process { child })
}
