//! Processes of their own: this program starts itself with a hidden subcommand. They read and write one line of JSON
//! at a time, and end when whoever started them does.

use std::process::Stdio;
use std::time::Duration;

use serde::de::DeserializeOwned;
use tokio::io::AsyncBufReadExt as _;
use tokio::io::{AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child as Process, ChildStdin, ChildStdout, Command};

use super::{Outcome, Role};

/// One of them.
pub(super) struct Child {
    process: Process,
    told: ChildStdin,
    says: Lines<BufReader<ChildStdout>>,
}

impl Child {
    /// Starts it in this role.
    pub(super) fn start(role: &Role) -> Outcome<Self> {
        let mut process = Command::new(std::env::current_exe()?)
            .args(["worker", &serde_json::to_string(role)?])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let told = process.stdin.take().ok_or("a child without an input")?;
        let says = process.stdout.take().ok_or("a child without an output")?;
        Ok(Self { process, told, says: BufReader::new(says).lines() })
    }

    /// What it says next.
    pub(super) async fn hear<T: DeserializeOwned>(&mut self, at_most: Duration) -> Outcome<T> {
        let line = tokio::time::timeout(at_most, self.says.next_line()).await;
        let line = line.map_err(|_| "a worker process says nothing")??.ok_or("a worker process has ended early")?;
        Ok(serde_json::from_str(&line)?)
    }

    /// Tells it to go on.
    pub(super) async fn go_on(&mut self) -> Outcome<()> {
        Ok(self.told.write_all(b"\n").await?)
    }

    /// Kills it, as `kill -9` does.
    pub(super) async fn kill(&mut self) -> Outcome<()> {
        Ok(self.process.kill().await?)
    }

    /// Lets it end by itself.
    pub(super) async fn end(mut self, at_most: Duration) -> Outcome<()> {
        drop(self.told);
        let ended =
            tokio::time::timeout(at_most, self.process.wait()).await.map_err(|_| "a worker process stays")??;
        if ended.success() { Ok(()) } else { Err(format!("a worker process failed: {ended}").into()) }
    }
}
