//! Other engines, each in a process of its own: the binary of `benches/peers`, which has dependencies of its own
//! and is therefore no member of this workspace.

use std::error::Error;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde::Deserialize;
use tokio::process::Command;

use crate::{Figures, Load};

/// Who can be compared: as the binary calls it, the crate whose version is told, and where its journal is.
const ENGINES: [(&str, &str, &str); 5] = [
    ("dbos", "dbos", "postgres"),
    ("durare", "durare", "postgres"),
    ("underway", "underway", "postgres"),
    ("duroxide-pg", "duroxide-pg", "postgres"),
    ("durare-sqlite", "durare", "sqlite"),
];

/// For starting, for the tables of the engine, and for what goes wrong.
const OVERHEAD_MAX: Duration = Duration::from_secs(60);

/// One of them.
#[derive(Clone, Debug)]
pub struct Peer {
    engine: &'static str,
    package: &'static str,
    journal: &'static str,
    version: String,
}

impl Peer {
    /// Its name and version.
    #[must_use]
    pub fn label(&self) -> String {
        format!("{} {}", self.package, self.version)
    }
}

/// The built binary.
#[derive(Clone, Debug)]
pub struct Peers {
    binary: PathBuf,
    peers: Vec<Peer>,
}

/// What cargo tells of a build, as far as we listen.
#[derive(Deserialize)]
struct Built {
    executable: Option<PathBuf>,
}

impl Peers {
    /// Builds the binary, if need be.
    ///
    /// # Errors
    /// When it does not build.
    pub async fn build() -> Result<Self, Box<dyn Error>> {
        let package = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers");
        let target = std::env::var_os("CARGO_TARGET_DIR")
            .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/peers"), PathBuf::from);
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
        let built = Command::new(cargo)
            .args(["build", "--release", "--locked", "--message-format", "json-render-diagnostics"])
            .arg("--target-dir")
            .arg(target)
            .current_dir(&package)
            .stderr(Stdio::inherit())
            .output()
            .await?;
        if !built.status.success() {
            return Err("the peers do not build".into());
        }
        let messages = String::from_utf8(built.stdout)?;
        let binary = messages.lines().rev().find_map(|line| serde_json::from_str::<Built>(line).ok()?.executable);
        let lock = std::fs::read_to_string(package.join("Cargo.lock"))?;
        let peers = ENGINES.iter().map(|&(engine, package, journal)| {
            Ok(Peer { engine, package, journal, version: version(&lock, package)? })
        });
        Ok(Self { binary: binary.ok_or("cargo built no binary")?, peers: peers.collect::<Result<_, String>>()? })
    }

    /// Those with this journal.
    #[must_use]
    pub fn on(&self, journal: &str) -> Vec<Peer> {
        self.peers.iter().filter(|peer| peer.journal == journal).cloned().collect()
    }

    /// Runs one of them on this fresh database, or new file.
    ///
    /// # Errors
    /// When it fails, or does not end.
    pub async fn run(&self, peer: &Peer, url: &str, steps: usize, load: Load) -> Result<Figures, Box<dyn Error>> {
        let child = Command::new(&self.binary)
            .args(["--engine", peer.engine, "--url", url])
            .args(["--steps", &steps.to_string(), "--at-once", &load.at_once.to_string()])
            .args(["--seconds", &load.lasting.as_secs_f64().to_string()])
            .stderr(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let most = OVERHEAD_MAX + 2 * load.patience.max(load.lasting);
        let ran = tokio::time::timeout(most, child.wait_with_output()).await.map_err(|_| "it did not end")??;
        if !ran.status.success() {
            let said = String::from_utf8_lossy(&ran.stderr);
            return Err(said.lines().last().unwrap_or("it failed and said nothing").to_owned().into());
        }
        Ok(serde_json::from_slice(&ran.stdout)?)
    }
}

/// Which version of a package the lock file names.
fn version(lock: &str, package: &str) -> Result<String, String> {
    let name = format!("name = \"{package}\"");
    let mut lines = lock.lines().skip_while(|line| *line != name);
    let version = lines.nth(1).and_then(|line| line.strip_prefix("version = \"")?.strip_suffix('"'));
    version.map(str::to_owned).ok_or_else(|| format!("the lock file of the peers names no version of {package}"))
}
