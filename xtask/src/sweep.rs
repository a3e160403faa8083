//! The zombie-and-crash sweep on equivalent programs in other engines, which is built on request only.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::failure::Failure;
use crate::prepare;
use crate::stage::{Stages, cargo};

/// How much of it.
#[derive(Args)]
pub(crate) struct Sweep {
    /// Appends a line for each engine and schedule to `reliability/peers.jsonl`.
    #[arg(long)]
    record: bool,
    /// What else the sweep is told: `-- --engine steno --schedule zombie --details`, say; `-- --help` lists it.
    #[arg(last = true, value_name = "ARGUMENT")]
    rest: Vec<String>,
}

pub(crate) fn run(sweep: &Sweep) -> Result<(), Failure> {
    prepare::run()?;
    let mut command = cargo();
    command.arg("run").arg("--manifest-path").arg(root("benches/peers/sweep/Cargo.toml"));
    // Beside the comparison with the same peers, and not in the folder of what is built every day.
    command.arg("--target-dir").arg(root("target/peers")).arg("--");
    if sweep.record {
        command.arg("--ledger").arg(root("reliability/peers.jsonl"));
    }
    Stages::default().run("the sweep of other engines", command.args(&sweep.rest))
}

/// Absolute, wherever the chore was called.
fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}
