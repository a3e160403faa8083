//! What is claimed, proven again: seeded bugs are caught, explorations leave nothing out, and neither simulated workers
//! nor real ones on a real Postgres break an invariant, whatever faults there are.

use std::path::{Path, PathBuf};

use crate::failure::Failure;
use crate::fuzz;
use crate::prepare;
use crate::proof::Proof;
use crate::stage::{Stages, cargo};

/// That seeded bugs are caught.
const SEEDED: &str = "seeded";
/// That everything which can go wrong with the checkouts was tried.
const EXPLORE: &str = "explore";

/// What to run.
#[derive(clap::Args)]
pub(crate) struct Prove {
    /// Only this class (F3 or sim, F5, F7 …, `seeded`, `explore`); can be given more than once. Default: all.
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
    if let Some(file) = &prove.json {
        // What an earlier run counted is not this one's.
        match std::fs::remove_file(file) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                return Err(Failure::NoCounts { file: file.display().to_string(), source });
            }
            Ok(()) | Err(_) => {}
        }
    }
    // Only campaigns with real parts need servers.
    let real =
        |class: &String| !matches!(class.as_str(), SEEDED | EXPLORE | "sim") && !class.eq_ignore_ascii_case("F3");
    if prove.class.is_empty() || prove.class.iter().any(real) {
        prepare::run()?;
        prepare::campaigns()?;
    }
    let mut stages = Stages::default();
    // What fails does not keep the others from being told.
    let mut failed = Vec::new();
    if prove.class.is_empty() {
        let model = ["test", "--quiet", "-p", "campaigns", "--test", "lease_model", "--test", "lost_answers"];
        failed.push(stages.run("the model of leases, and lost answers", cargo().args(model)));
    }
    let mut proof = Proof::default();
    let wants = |class: &str| prove.class.is_empty() || prove.class.iter().any(|wanted| wanted == class);
    if wants(SEEDED) {
        failed.push(proof.seeded(&mut stages));
    }
    if wants(EXPLORE) {
        failed.push(proof.explored(&mut stages, prove.long.is_some()));
    }
    let campaigns: Vec<&String> = prove.class.iter().filter(|class| *class != SEEDED && *class != EXPLORE).collect();
    if prove.class.is_empty() || !campaigns.is_empty() {
        failed.push(fault_campaigns(prove, &campaigns, &mut stages));
    }
    if prove.class.is_empty() {
        failed.push(fuzz::long(prove.long, &mut stages));
    }
    failed.push(prove.json.as_deref().map_or(Ok(()), |file| proof.write(file)));
    failed.into_iter().collect()
}

fn fault_campaigns(prove: &Prove, classes: &[&String], stages: &mut Stages) -> Result<(), Failure> {
    let mut command = cargo();
    command.args(["run", "--quiet", "-p", "campaigns"]);
    if prove.long.is_some() {
        command.arg("--release");
    }
    command.args(["--", "run"]);
    for class in classes {
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
