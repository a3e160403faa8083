//! Fault campaigns: a simulation; then real workers, a real Postgres, and faults; and the checker.

use std::path::{Path, PathBuf};

use crate::failure::Failure;
use crate::prepare;
use crate::stage::{Stages, cargo};

/// What to run.
#[derive(clap::Args)]
pub(crate) struct Prove {
    /// Only this class (F3 or sim, F5, F7 …); can be given more than once. Default: all.
    #[arg(long)]
    class: Vec<String>,
    /// The first seed. Default: a random one, which is printed. With `--class sim` alone: only this seed, and its
    /// story.
    #[arg(long)]
    seed: Option<u64>,
    /// Goes on with new seeds for this many hours. Default: one round, within minutes.
    #[arg(long, value_name = "HOURS")]
    long: Option<f64>,
    /// Writes counts to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Appends a line for each run to `reliability/ledger.jsonl`.
    #[arg(long)]
    record: bool,
}

pub(crate) fn run(prove: &Prove) -> Result<(), Failure> {
    // A simulation needs no server.
    let simulates = |class: &String| class == "sim" || class.eq_ignore_ascii_case("F3");
    if prove.class.is_empty() || !prove.class.iter().all(simulates) {
        prepare::run()?;
    }
    let mut stages = Stages::default();
    if prove.class.is_empty() {
        let model = ["test", "--quiet", "-p", "campaigns", "--test", "lease_model", "--test", "lost_answers"];
        stages.run("the model of leases, and lost answers", cargo().args(model))?;
    }
    let mut command = cargo();
    command.args(["run", "--quiet", "-p", "campaigns"]);
    if prove.long.is_some() {
        command.arg("--release");
    }
    command.args(["--", "run"]);
    for class in &prove.class {
        command.args(["--class", class]);
    }
    if let Some(seed) = prove.seed {
        command.args(["--seed", &seed.to_string()]);
    }
    if let Some(hours) = prove.long {
        command.args(["--long", &hours.to_string()]);
    }
    if let Some(file) = &prove.json {
        command.arg("--json").arg(file);
    }
    if prove.record {
        let ledger = Path::new(env!("CARGO_MANIFEST_DIR")).join("../reliability/ledger.jsonl");
        command.arg("--ledger").arg(ledger);
    }
    stages.run("fault campaigns", &mut command)
}
