//! The classes of faults.

mod cancel;
mod clock;
mod connections;
mod events;
mod locks;
mod network;
mod pooler;
mod postgres;
mod races;
mod storage;
mod upgrade;
mod workers;

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use saga_testkit::postgres::Cluster;

use crate::arena::Arena;
use crate::error::CampaignError;
use crate::simulation::SEEDS;
pub use clock::Clock;
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
    /// Calls are cancelled wherever they wait.
    Cancel,
    /// The network delays, swallows and resets.
    Network,
    /// Clocks are wrong, drift and jump.
    Clocks,
    /// The server's disk is full, or fails.
    Storage,
    /// Signals come early, late, twice, to nobody, and spoilt.
    Events,
    /// Signals, cancellations, time limits and operators at the same moment.
    Races,
    /// Many sagas want few locks.
    Locks,
    /// No connections are left.
    Connections,
    /// Versions are rolled out and back.
    Upgrade,
    /// A proxy that pools transactions stands in between, and is killed.
    Pooler,
}

/// What a run must have done, at the scale of a quick run, to mean something.
type Required = &'static [(&'static str, u64)];

impl Class {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::Simulation,
        Self::WorkerKill,
        Self::WorkerFreeze,
        Self::LostCommit,
        Self::PostgresKill,
        Self::Cancel,
        Self::Network,
        Self::Clocks,
        Self::Storage,
        Self::Events,
        Self::Races,
        Self::Locks,
        Self::Connections,
        Self::Upgrade,
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
            Self::Cancel => "F9",
            Self::Network => "F10",
            Self::Clocks => "F11",
            Self::Storage => "F12",
            Self::Events => "F13",
            Self::Races => "F14",
            Self::Locks => "F15",
            Self::Connections => "F16",
            Self::Upgrade => "F17",
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
            Self::Cancel => "cancelled calls",
            Self::Network => "network faults",
            Self::Clocks => "clocks",
            Self::Storage => "failing disks",
            Self::Events => "signals",
            Self::Races => "races",
            Self::Locks => "contended locks",
            Self::Connections => "exhausted connections",
            Self::Upgrade => "upgrades and downgrades",
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
            Self::Cancel => &[("cancelled_calls", 200), ("sweeps", 3)],
            Self::Clocks => &[("clock_jumps", 20), ("jumps_back", 5), ("worker_kills", 5)],
            Self::Events => &[("signals", 10_000), ("poisoned", 10), ("to_nobody", 100), ("late", 100)],
            Self::Races => &[("races", 360), ("cancelled", 5), ("cancelled_too_late", 5)],
            Self::Locks => &[("contending_sagas", 256), ("lock_looks", 50), ("waiting_seen", 100)],
            Self::Upgrade => &[("version_switches", 5), ("next_version_sagas", 50)],
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
            Self::Clocks => clock::probe(),
            Self::Simulation
            | Self::WorkerKill
            | Self::WorkerFreeze
            | Self::LostCommit
            | Self::PostgresKill
            | Self::Cancel
            | Self::Network
            | Self::Events
            | Self::Races
            | Self::Locks
            | Self::Connections
            | Self::Upgrade => Ok(()),
        }
    }

    pub(crate) async fn cluster(self, clock: Option<&Clock>) -> Result<Cluster, CampaignError> {
        Ok(Cluster::start_private_with(clock.map(Clock::environment).unwrap_or_default()).await?)
    }

    /// A hand on the server's clock, where the class wants it.
    pub(crate) fn clock(self) -> Result<Option<Clock>, CampaignError> {
        if self == Self::Clocks { Clock::new().map(Some) } else { Ok(None) }
    }

    /// What a worker in a place finds in its environment.
    pub(crate) fn environment(self) -> fn(usize) -> Vec<(String, String)> {
        if self == Self::Clocks { clock::of_worker } else { |_| Vec::new() }
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
                Self::Cancel => cancel::sweep(arena).await?,
                Self::Clocks => clock::jump(arena).await?,
                Self::Events => events::flood(arena).await?,
                Self::Races => races::run(arena).await?,
                Self::Locks => locks::contend(arena).await?,
                Self::Upgrade => upgrade::switch(arena).await?,
                Self::Network => network::interval(arena).await,
                Self::Storage => storage::fail(arena).await?,
                Self::Connections => connections::exhaust(arena).await,
                Self::Pooler => pooler::kill(arena).await?,
            }
        }
        match self {
            Self::Clocks => clock::catch_up(arena).await,
            Self::Upgrade => upgrade::finish(arena).await,
            _ => Ok(()),
        }
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
