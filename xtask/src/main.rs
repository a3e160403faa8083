//! Chores of the project: `cargo xtask test`, `cargo xtask check`, `cargo xtask prepare`.

mod check;
mod postgres;
mod stage;
mod test;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(about = "Chores of the project")]
struct Cli {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Runs everything: unit, property, compile-fail, contract and doc tests, and the main job on both
    /// databases.
    Test {
        /// Leaves out the main job.
        #[arg(long)]
        fast: bool,
    },
    /// Looks at the code without running it: format, lints, documentation, dependencies.
    Check,
    /// Makes sure that the tests find a Postgres, installing it when that can be done.
    Prepare,
}

fn main() -> ExitCode {
    let done = match Cli::parse().chore {
        Chore::Test { fast } => test::run(fast),
        Chore::Check => check::run(),
        Chore::Prepare => postgres::prepare(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("xtask: {problem}");
            ExitCode::FAILURE
        }
    }
}
