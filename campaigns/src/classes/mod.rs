//! The classes of faults.

mod connections;
mod network;
mod pooler;
mod postgres;
mod storage;
mod workers;

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use saga_testkit::postgres::Cluster;

use crate::arena::Arena;
use crate::error::CampaignError;
use crate::simulation::SEEDS;
pub use pooler::Pooler;

/// A class of faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Everything at once, in a simulation.
    Simulation,
    /// Workers are killed.
    WorkerKill,
    /// Workers are frozen past their lease, and thawed.
    WorkerFreeze,
    /// The answers to commits are lost.
    LostCommit,
    /// Postgres is killed and restarted, and its connections are terminated.
    PostgresKill,
    /// The network delays, swallows and resets.
    Network,
    /// The server's disk is full, or fails.
    Storage,
    /// No connections are left.
    Connections,
    /// A proxy that pools transactions stands in between, and is killed.
    Pooler,
}

/// What a run must have done, at the scale of a quick run, to mean something.
type Required = &'static [(&'static str, u64)];

impl Class {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Simulation,
        Self::WorkerKill,
        Self::WorkerFreeze,
        Self::LostCommit,
        Self::PostgresKill,
        Self::Network,
        Self::Storage,
        Self::Connections,
        Self::Pooler,
    ];

    /// Its number.
    #[must_use]
    pub fn id(self) -> &'static str {
        match self {
            Self::Simulation => "F3",
            Self::WorkerKill => "F5",
            Self::WorkerFreeze => "F6",
            Self::LostCommit => "F7",
            Self::PostgresKill => "F8",
            Self::Network => "F10",
            Self::Storage => "F12",
            Self::Connections => "F16",
            Self::Pooler => "pooler",
        }
    }

    /// How many seeds one run takes.
    #[must_use]
    pub fn seeds(self, scale: u64) -> u64 {
        if self == Self::Simulation { SEEDS * scale } else { 1 }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Simulation => "simulated worlds",
            Self::WorkerKill => "killed workers",
            Self::WorkerFreeze => "frozen workers",
            Self::LostCommit => "lost answers to commits",
            Self::PostgresKill => "killed servers",
            Self::Network => "network faults",
            Self::Storage => "failing disks",
            Self::Connections => "exhausted connections",
            Self::Pooler => "killed connection poolers",
        }
    }

    fn required(self) -> Required {
        match self {
            // It says itself what it missed.
            Self::Simulation => &[],
            Self::WorkerKill => &[("worker_kills", 50)],
            Self::WorkerFreeze => &[("worker_freezes", 10)],
            Self::LostCommit => &[("lost_commits", 1_000), ("lost_requests", 100)],
            Self::PostgresKill => &[("postgres_kills", 20), ("terminated_connections", 1_000)],
            Self::Network => &[("intervals", 12), ("silent_connections", 1), ("resets", 1), ("delayed_messages", 1)],
            Self::Storage => &[("storage_faults", 3), ("failed_syncs", 1), ("full_disks", 1)],
            Self::Connections => &[("exhaustions", 4), ("refused_connections", 4), ("terminated_connections", 10)],
            Self::Pooler => &[("pooler_kills", 10)],
        }
    }

    /// What did not fire often enough for the run to mean something.
    #[must_use]
    pub fn unfired(self, scale: u64, fired: &BTreeMap<&'static str, u64>) -> Vec<String> {
        let short = |(fault, times): &(&'static str, u64)| {
            let (wanted, count) = (times * scale, fired.get(fault).copied().unwrap_or(0));
            (count < wanted).then(|| format!("{fault}: {count} of {wanted}"))
        };
        self.required().iter().filter_map(short).collect()
    }

    /// Whether this machine can do what the class needs.
    ///
    /// # Errors
    /// When it cannot: the class is not left out in silence.
    pub fn probe(self) -> Result<(), CampaignError> {
        match self {
            Self::Storage => storage::probe(),
            Self::Pooler => pooler::probe(),
            Self::Simulation
            | Self::WorkerKill
            | Self::WorkerFreeze
            | Self::LostCommit
            | Self::PostgresKill
            | Self::Network
            | Self::Connections => Ok(()),
        }
    }

    pub(crate) async fn cluster(self) -> Result<Cluster, CampaignError> {
        Ok(Cluster::start_private().await?)
    }

    /// The URL by which workers and clients reach the journal.
    pub(crate) fn road(self, direct: &str, server: u16, proxy: u16, pooler: Option<&Pooler>) -> String {
        let by = |port: u16| direct.replace(&format!(":{server}/"), &format!(":{port}/"));
        match (self, pooler) {
            (_, Some(pooler)) => by(pooler.port()),
            (Self::LostCommit | Self::Network, None) => by(proxy),
            _ => direct.to_owned(),
        }
    }

    /// What pools transactions, where the class wants it.
    pub(crate) fn pooler(self, server: u16) -> Result<Option<Pooler>, CampaignError> {
        if self == Self::Pooler { Pooler::start(server).map(Some) } else { Ok(None) }
    }

    /// Does the faults until there were enough, or the time is over.
    pub(crate) async fn inject(self, arena: &mut Arena, scale: u64, limit: Duration) -> Result<(), CampaignError> {
        let until = Instant::now() + limit;
        // The first sagas are under way before the first fault.
        tokio::time::sleep(Duration::from_millis(500)).await;
        while !self.unfired(scale, &arena.fired).is_empty() && Instant::now() < until {
            match self {
                // It has no arena.
                Self::Simulation => break,
                Self::WorkerKill => workers::kill(arena).await?,
                Self::WorkerFreeze => workers::freeze(arena).await?,
                Self::LostCommit => network::lose_commits(arena).await,
                Self::PostgresKill => postgres::kill(arena).await?,
                Self::Network => network::interval(arena).await,
                Self::Storage => storage::fail(arena).await?,
                Self::Connections => connections::exhaust(arena).await,
                Self::Pooler => pooler::kill(arena).await?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.id(), self.name())
    }
}

impl std::str::FromStr for Class {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let named = |class: &Self| class.id().eq_ignore_ascii_case(text) || *class == Self::Simulation && text == "sim";
        let known = Self::ALL.into_iter().find(named);
        let ids = || Self::ALL.map(Self::id).join(", ");
        known.ok_or_else(|| format!("there is no class {text}, but {}", ids()))
    }
}
