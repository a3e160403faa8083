//! The whole comparison: the engine beside its floors and beside other engines, and what holds beyond throughput.

use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Args;

use crate::failure::Failure;
use crate::prepare;
use crate::stage::{Stages, cargo};

/// How much of it.
#[derive(Args)]
pub(crate) struct Bench {
    /// Some five minutes: only the floors, and shorter rounds.
    #[arg(long)]
    short: bool,
    /// Writes the records of the comparison to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

pub(crate) fn run(bench: &Bench) -> Result<(), Failure> {
    prepare::run()?;
    let mut stages = Stages::default();
    let records = compare(&mut stages, if bench.short { Extent::Short } else { Extent::Whole })?;
    if let Some(file) = &bench.json {
        let not_copied = |source| Failure::NoCounts { file: file.display().to_string(), source };
        std::fs::copy(&records, file).map_err(not_copied)?;
    }
    if !bench.short {
        let findings = target().join("reach.json");
        stages.run("what holds beyond throughput", program("reach").arg("--json").arg(findings))?;
    }
    Ok(())
}

/// How much is compared.
pub(crate) enum Extent<'a> {
    /// All cases, beside other engines.
    Whole,
    /// All cases, beside the floors alone, in shorter rounds.
    Short,
    /// One case, beside the floors alone.
    Case { journal: &'a str, steps: u64, at_once: u64 },
}

/// Runs the comparison, and tells where its records are.
pub(crate) fn compare(stages: &mut Stages, extent: Extent<'_>) -> Result<PathBuf, Failure> {
    let mut command = program("compare");
    let (stage, folder) = match extent {
        Extent::Whole => {
            command.arg("--peers");
            ("the comparison", "compare")
        }
        Extent::Short => {
            command.args(["--seconds", "1"]);
            ("the comparison", "compare")
        }
        Extent::Case { journal, steps, at_once } => {
            command.args(["--journal", journal]);
            command.args(["--steps", &steps.to_string(), "--at-once", &at_once.to_string()]);
            ("one case again", "compare-again")
        }
    };
    let out = target().join(folder);
    stages.run(stage, command.arg("--out").arg(&out))?;
    Ok(out.join("compare.json"))
}

fn program(name: &str) -> Command {
    let mut command = cargo();
    command.args(["bench", "--package", "benches", "--bench", name, "--"]);
    command
}

/// Absolute: benchmarks run in the folder of their package.
fn target() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target")
}
