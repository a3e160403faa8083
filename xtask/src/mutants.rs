//! Mutation testing: the decisions of the engine are changed one by one, and a test has to notice.
//!
//! Which files, by which tests and how is in `.cargo/mutants*.toml`; what came of it in `reliability/mutants.md`.

use crate::failure::Failure;
use crate::stage::{Stages, cargo};
use crate::tool::Tool;

const MUTANTS: Tool = Tool { command: "mutants", package: "cargo-mutants", installing: "installing cargo-mutants" };

/// Whose decisions are changed.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Of {
    /// The state machine, the engine and the journal in memory.
    Core,
    /// The journal in an SQLite file.
    Sqlite,
    /// The journal on Postgres.
    Postgres,
}

impl Of {
    fn package(self) -> &'static str {
        match self {
            Self::Core => "saga-core",
            Self::Sqlite => "saga-sqlite",
            Self::Postgres => "saga-postgres",
        }
    }

    fn configuration(self) -> &'static str {
        match self {
            Self::Core => ".cargo/mutants.toml",
            Self::Sqlite => ".cargo/mutants-sqlite.toml",
            Self::Postgres => ".cargo/mutants-postgres.toml",
        }
    }
}

/// What to run.
#[derive(clap::Args)]
pub(crate) struct Mutants {
    /// Whose decisions are changed.
    #[arg(long, value_enum, default_value_t = Of::Core)]
    of: Of,
    /// Only mutants whose names (see `--list`; each begins with its file) match one of these regular expressions.
    /// (A few that take a field out of a struct run in any case: cargo-mutants does not filter those.) Default: all in
    /// the files that the configuration names, for many hours.
    names: Vec<String>,
    /// Only this part of them: `0/8` is every eighth.
    #[arg(long, value_name = "K/N")]
    shard: Option<String>,
    /// Only lists them.
    #[arg(long)]
    list: bool,
    /// Only those that were not caught the last time.
    #[arg(long)]
    again: bool,
    /// Installs cargo-mutants first, when it is missing.
    #[arg(long)]
    install_tools: bool,
}

pub(crate) fn run(mutants: &Mutants) -> Result<(), Failure> {
    let mut stages = Stages::default();
    MUTANTS.require(mutants.install_tools, &mut stages)?;
    let mut command = cargo();
    let package = mutants.of.package();
    command.args(["mutants", "--config", mutants.of.configuration()]);
    command.args(["--package", package, "--test-package", package, "--jobs", "1"]);
    command.args(["--output", "target/mutants", "--no-shuffle"]);
    for name in &mutants.names {
        command.args(["--re", name]);
    }
    if let Some(shard) = &mutants.shard {
        command.args(["--shard", shard, "--sharding", "round-robin"]);
    }
    if mutants.list {
        command.arg("--list");
    }
    if mutants.again {
        command.arg("--iterate");
    }
    stages.run("mutants", &mut command)
}
