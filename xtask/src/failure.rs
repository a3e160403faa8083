//! Why a chore ended early.

use std::io;
use std::process::ExitStatus;

use saga_testkit::nats::NatsError;
use saga_testkit::postgres::{ClusterError, URL_VARIABLE};

/// Each names what to look at, or what to install.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    #[error("the stage \"{stage}\" failed ({status})")]
    Stage { stage: &'static str, status: ExitStatus },
    #[error("the stage \"{stage}\" could not be started")]
    NotStarted { stage: &'static str, source: io::Error },
    #[error("{package} is not installed: run `cargo install {package} --locked`, or this with --install-tools")]
    NoTool { package: &'static str },
    #[error("cargo-fuzz needs a nightly toolchain: run `rustup toolchain install nightly --profile minimal`")]
    NoNightly,
    #[error(
        "the tests need PostgreSQL server binaries (initdb and postgres, 14 to 18), and there are none in \
         /usr/lib/postgresql/*/bin or PATH. Install them (Debian, Ubuntu: apt-get install postgresql; \
         Fedora: dnf install postgresql-server), or name a server on which tests may create databases in \
         {URL_VARIABLE}"
    )]
    NoPostgres,
    #[error(
        "the tests need nats-server, and it is not in PATH, /usr/sbin or /usr/local. Install it (Debian, Ubuntu: \
         apt-get install nats-server; elsewhere: from nats.io)"
    )]
    NoNats,
    #[error("the package manager could not be told to install {package} without starting it")]
    Unprepared { package: &'static str, source: io::Error },
    #[error("{file} could not be read or written")]
    NoCounts { file: String, source: io::Error },
    #[error("{file} does not hold the counts of campaigns")]
    NotCounts { file: String, source: serde_json::Error },
    #[error("{file} does not hold the records of a comparison")]
    NotRecords { file: String, source: serde_json::Error },
    #[error("benches/figures.json has a record without journal, steps or concurrency: {record}")]
    NoCase { record: String },
    #[error("lost more than the machine's noise: {lost}")]
    Slower { lost: String },
    #[error("{listed} bugs are seeded, and {caught} were caught: see reliability/seeded_bugs.md")]
    NotCaught { listed: usize, caught: usize },
    #[error("no async runtime")]
    NoRuntime { source: io::Error },
    #[error("no Postgres for the main job, or the campaign")]
    NoCluster {
        #[from]
        source: ClusterError,
    },
    #[error("no NATS for the campaign")]
    NoNatsServer {
        #[from]
        source: NatsError,
    },
}
