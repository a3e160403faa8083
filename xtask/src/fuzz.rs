//! The fuzz targets: each is given bytes that were made up from its seeds, for a while.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::failure::Failure;
use crate::stage::Stages;
use crate::tool::Tool;

const FUZZ: Tool = Tool { command: "fuzz", package: "cargo-fuzz", installing: "installing cargo-fuzz" };

/// All targets.
const TARGETS: [&str; 10] =
    ["records", "messages", "sealed", "history", "signals", "outline", "initiate", "webhook", "money", "wire"];

/// How long each target has in a long proof, for each hour of it.
const SECONDS_AN_HOUR: f64 = 60.0;
/// What needs more has no bound.
const MEMORY_MAX_MB: &str = "2048";
/// What needs longer hangs.
const SECONDS_MAX: &str = "20";
/// Larger than every seed.
const BYTES_MAX: &str = "16384";

/// What to run.
#[derive(clap::Args)]
pub(crate) struct Fuzz {
    /// Only these targets. Default: all.
    #[arg(value_parser = TARGETS)]
    targets: Vec<String>,
    /// How long each target has.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Installs cargo-fuzz first, when it is missing.
    #[arg(long)]
    install_tools: bool,
}

pub(crate) fn run(fuzz: &Fuzz) -> Result<(), Failure> {
    let mut stages = Stages::default();
    FUZZ.require(fuzz.install_tools, &mut stages)?;
    if !has_nightly() {
        return Err(Failure::NoNightly);
    }
    let wanted = |target: &&&str| fuzz.targets.is_empty() || fuzz.targets.iter().any(|wanted| wanted == **target);
    TARGETS.iter().filter(wanted).try_for_each(|target| fuzzed(target, fuzz.seconds, &mut stages))
}

/// All targets as a part of a long proof, if there is what it takes.
pub(crate) fn long(hours: Option<f64>, stages: &mut Stages) -> Result<(), Failure> {
    let Some(hours) = hours else { return Ok(()) };
    if !FUZZ.is_installed() || !has_nightly() {
        stages.leave_out("fuzz targets", "cargo-fuzz or a nightly toolchain is not installed");
        return Ok(());
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "some seconds, never below one")]
    let seconds = (hours * SECONDS_AN_HOUR).max(1.0) as u64;
    TARGETS.iter().try_for_each(|target| fuzzed(target, seconds, stages))
}

/// What is found new goes to `fuzz/corpus`, which is not kept; the seeds stay as they are.
fn fuzzed(target: &'static str, seconds: u64, stages: &mut Stages) -> Result<(), Failure> {
    let (dir, corpus, seeds) = (dir(), dir().join("corpus").join(target), dir().join("seeds").join(target));
    std::fs::create_dir_all(&corpus).map_err(|source| Failure::NotStarted { stage: target, source })?;
    let mut command = nightly();
    // No sanitizer: there is no unsafe code here for one to look at, and without it everything is quicker.
    command.args(["fuzz", "run", "--sanitizer", "none", "--fuzz-dir"]).arg(dir);
    command.arg(target).arg(corpus).arg(seeds).arg("--");
    command.arg(format!("-max_total_time={seconds}")).arg(format!("-rss_limit_mb={MEMORY_MAX_MB}"));
    command.arg(format!("-timeout={SECONDS_MAX}")).arg(format!("-max_len={BYTES_MAX}"));
    stages.run(target, command.arg("-print_final_stats=1"))
}

fn has_nightly() -> bool {
    let asked = nightly().arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    asked.is_ok_and(|status| status.success())
}

/// The `cargo` of the nightly toolchain, which alone can instrument.
fn nightly() -> Command {
    let mut command = Command::new("rustup");
    command.args(["run", "nightly", "cargo"]);
    command
}

fn dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz")
}
