//! The server's process: started, killed, and started again, always on the same address.

use std::fs::{File, OpenOptions};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use clap::{Args, Parser};
use tokio::process::{Child, Command};
use tokio::time::Instant;

use super::CampaignError;
use super::scenario::PAYMENT_WAIT_MS;
use crate::job::worker::wait_for_parent;
use crate::server::{Config, READY, Server};

/// How long a server may take to be ready, on a busy machine.
const READY_MAX: Duration = Duration::from_secs(60);
/// Below the ports that systems give to those who ask for any: nobody takes it while the server is down.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// The server's settings, for the campaign's own subcommand.
#[derive(Args, Clone, Debug)]
pub struct ServerArgs {
    #[command(flatten)]
    config: Box<Config>,
}

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    server: ServerArgs,
}

/// Serves until standard input ends, which it does with the parent process.
///
/// # Errors
/// When the server does not start.
pub async fn serve(args: &ServerArgs) -> Result<(), CampaignError> {
    let server = Server::bind(&args.config).await?;
    server.run(wait_for_parent()).await?;
    Ok(())
}

/// A fifth of all payments are to fail, one after the other when they are repeated: that is no reason to leave the
/// vendor alone for half a minute each time.
pub(super) const POLICIES: &str = r#"{"payment_requirement": {"breaker": {"failures": 10, "open_for_ms": 300}}}"#;

/// Where the server's parts are.
#[derive(Clone, Debug)]
pub(super) struct Places {
    pub(super) address: SocketAddr,
    pub(super) database_url: String,
    pub(super) vendor_url: String,
    pub(super) events: [String; 2],
    pub(super) log: PathBuf,
    pub(super) policies: PathBuf,
}

impl Places {
    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The settings, as the server's process has them.
    pub(super) fn config(&self) -> Result<Config, CampaignError> {
        let line = std::iter::once("server".to_owned()).chain(self.flags());
        Ok(*Line::try_parse_from(line)?.server.config)
    }

    fn flags(&self) -> Vec<String> {
        let [events, sink] = &self.events;
        let wait = PAYMENT_WAIT_MS.to_string();
        let address = self.address.to_string();
        let policies = self.policies.to_string_lossy();
        let flags = [
            "--insecure-dev",
            "--listen",
            &address,
            "--database-url",
            &self.database_url,
            "--vendor-url",
            &self.vendor_url,
            events,
            sink,
            "--payment-wait-ms",
            &wait,
            "--policies",
            &policies,
            "--lease-ttl-ms",
            "1000",
            "--answer-within-ms",
            "2000",
            "--request-timeout-ms",
            "5000",
        ];
        flags.into_iter().map(str::to_owned).collect()
    }
}

/// An address that nobody uses.
pub(super) fn free_address() -> Result<SocketAddr, CampaignError> {
    let mut rng = fastrand::Rng::new();
    for _ in 0..100 {
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", rng.u16(PORTS))) {
            return Ok(listener.local_addr()?);
        }
    }
    Err("there is no free port".into())
}

/// A server's process, killed when it is dropped.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
}

impl Process {
    pub(super) fn start(places: &Places) -> Result<Self, CampaignError> {
        let log = append(&places.log)?;
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("server").args(places.flags()).kill_on_drop(true);
        command.env("RUST_LOG", "warn").env("NO_COLOR", "1");
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(log);
        Ok(Self { child: command.spawn()? })
    }

    /// Kills it as a power failure would (SIGKILL), and waits until it is gone.
    pub(super) async fn kill(&mut self) -> Result<(), CampaignError> {
        Ok(self.child.kill().await?)
    }

    /// Tells it to stop, by closing its standard input, and waits until it has.
    pub(super) async fn stop(mut self) -> Result<(), CampaignError> {
        drop(self.child.stdin.take());
        let status = self.child.wait().await?;
        if status.success() { Ok(()) } else { Err(format!("the server ended with {status}").into()) }
    }

    /// Waits until it can work.
    pub(super) async fn ready(&mut self, places: &Places) -> Result<(), CampaignError> {
        let until = Instant::now() + READY_MAX;
        let url = format!("{}{READY}", places.url());
        while Instant::now() < until {
            if reqwest::get(&url).await.is_ok_and(|answer| answer.status().is_success()) {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                return Err(format!("the server ended with {status}, see {}", places.log.display()).into());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Err("the server does not get ready".into())
    }
}

fn append(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}
