//! Chores of the project, one file for each: `cargo xtask --help` lists them.

mod bench;
mod bench_check;
mod check;
mod deny;
mod failure;
mod fuzz;
mod initiate_campaign;
mod mutants;
mod prepare;
mod proof;
mod prove;
mod stage;
mod sweep;
mod test;
mod tool;

use std::error::Error as _;
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
    Check {
        /// Installs cargo-deny first, when it is missing.
        #[arg(long)]
        install_tools: bool,
    },
    /// Looks at the dependencies: licences, sources, bans, and known vulnerabilities and yanked versions,
    /// for which it needs the network.
    Deny {
        /// Installs cargo-deny first, when it is missing.
        #[arg(long)]
        install_tools: bool,
    },
    /// Initiates some hundred checkouts while the server is killed, on SQLite and on Postgres with NATS, and audits
    /// what is left.
    InitiateCampaign {
        #[command(flatten)]
        campaign: initiate_campaign::Campaign,
    },
    /// Runs fault campaigns against real worker processes and a real Postgres, and checks what came of them.
    Prove(prove::Prove),
    /// Measures the engine beside its floors and beside other engines: tables, charts, JSON.
    Bench(bench::Bench),
    /// Kills and freezes workers at exact points in equivalent programs for other engines, and counts what is left.
    Sweep(sweep::Sweep),
    /// Fails when the engine has become slower, or a saga costs more, than the repository says.
    BenchCheck(bench_check::BenchCheck),
    /// Gives each fuzz target bytes that were made up from its seeds, for a while.
    Fuzz(fuzz::Fuzz),
    /// Changes the decisions of the engine one by one, and sees whether a test notices.
    Mutants(mutants::Mutants),
    /// Makes sure that the tests find a Postgres and a NATS server, and campaigns their tools, installing them when
    /// that can be done.
    Prepare,
}

fn main() -> ExitCode {
    let done = match Cli::parse().chore {
        Chore::Test { fast } => test::run(fast),
        Chore::Check { install_tools } => check::run(install_tools),
        Chore::Deny { install_tools } => deny::run(install_tools),
        Chore::InitiateCampaign { campaign } => initiate_campaign::run(&campaign),
        Chore::Prove(prove) => prove::run(&prove),
        Chore::Bench(bench) => bench::run(&bench),
        Chore::Sweep(sweep) => sweep::run(&sweep),
        Chore::BenchCheck(check) => bench_check::run(&check),
        Chore::Fuzz(fuzz) => fuzz::run(&fuzz),
        Chore::Mutants(mutants) => mutants::run(&mutants),
        Chore::Prepare => prepare::run().and_then(|()| prepare::campaigns()),
    };
    let Err(failure) = done else { return ExitCode::SUCCESS };
    eprintln!("\nxtask: {failure}");
    let mut cause = failure.source();
    while let Some(error) = cause {
        eprintln!("  because: {error}");
        cause = error.source();
    }
    ExitCode::FAILURE
}
