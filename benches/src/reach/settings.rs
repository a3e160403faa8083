//! How the reaches are measured.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

/// What can be measured by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// Whether memory grows.
    // Before all others: of the heap that these leave behind, what is touched again comes back in huge pages.
    Soak,
    /// Latency under a schedule, at 80 % of the peak rate.
    Fair,
    /// Three worker processes against one.
    Workers,
    /// From a start in one process to the first attempt in another.
    Claim,
    /// Tables full of ended and parked sagas against empty ones.
    History,
    /// After a worker was killed with sagas in flight.
    Recovery,
    /// What a saga in flight takes.
    Memory,
    /// Transactional steps against transactions by hand.
    Transactional,
    /// Events on their way to JetStream.
    Outbox,
}

/// The same for all scenarios; the defaults are those of the goals.
#[derive(Args, Clone, Debug)]
pub struct Settings {
    /// How often everything is measured in turns; each figure is the median.
    #[arg(long, default_value_t = 3)]
    pub rounds: usize,
    /// How long each measurement lasts.
    #[arg(long, default_value_t = 5.0)]
    pub seconds: f64,
    /// How long `soak` lasts.
    #[arg(long, default_value_t = 10.0)]
    pub minutes: f64,
    /// Ended sagas in the tables of `history`.
    #[arg(long, default_value_t = 10_000_000)]
    pub ended: u64,
    /// Parked sagas in the tables of `history`.
    #[arg(long, default_value_t = 1_000_000)]
    pub parked: u64,
    /// Writes what `memory` finds on the heap here, for a viewer of DHAT profiles.
    #[arg(long)]
    pub heap_profile: Option<PathBuf>,
    /// The program `reach-memory`: the bench knows where it is.
    #[arg(skip)]
    pub memory_program: Option<PathBuf>,
    /// Whether it works, not how well: one round, small numbers.
    #[arg(long)]
    pub short: bool,
}

impl Settings {
    /// Rounds to measure.
    pub(crate) fn rounds(&self) -> usize {
        if self.short { 1 } else { self.rounds.max(1) }
    }

    /// How long each measurement lasts.
    pub(crate) fn lasting(&self) -> Duration {
        Duration::from_secs_f64(if self.short { self.seconds.min(1.0) } else { self.seconds })
    }

    /// This number, or that one for a short run.
    pub(crate) fn or_short<T>(&self, full: T, short: T) -> T {
        if self.short { short } else { full }
    }
}
