//! A proxy between the journal and Postgres that understands enough of the wire protocol to lose exactly the
//! answer to a commit that was made.

mod connection;
mod wire;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

pub use wire::{Commits, journal_commits, overhear};

/// What the proxy does to the traffic. Probabilities are from 0 to 1, and are drawn for each statement that
/// commits something.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Knobs {
    /// The commit is made, and its answer is lost with the connection.
    pub cut_after_commit: f64,
    /// The statement is lost with the connection, before the server has seen it.
    pub cut_before_apply: f64,
    /// The commit is made, the answer is never sent, and the connection stays open.
    pub half_close: f64,
    /// Each message is this late at most.
    pub delay_max: Duration,
    /// Nothing passes to the server until this is over.
    pub no_requests: bool,
    /// Nothing passes to the clients until this is over.
    pub no_answers: bool,
}

/// What the proxy has done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Statements that commit, seen.
    pub commits: u64,
    /// Answers to commits that were made, lost; by what the statement does.
    pub lost_commits: BTreeMap<&'static str, u64>,
    /// Statements lost before they reached the server.
    pub lost_requests: u64,
    /// Answers that never came over connections that stayed open.
    pub silent: u64,
    /// Messages that were held up.
    pub delayed: u64,
    /// Connections that were reset from outside.
    pub resets: u64,
}

impl Counts {
    /// How many answers to commits were lost.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost_commits.values().sum()
    }
}

/// What the connections share.
#[derive(Debug)]
struct Shared {
    upstream: SocketAddr,
    commits: Commits,
    knobs: watch::Sender<Knobs>,
    /// How many answers to commits are still to be lost, whatever the knobs say.
    cuts: AtomicU32,
    /// Counts up with each reset of all connections.
    resets: watch::Sender<u64>,
    counts: Mutex<Counts>,
    random: Mutex<fastrand::Rng>,
}

impl Shared {
    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn draws(&self, chance: f64) -> bool {
        chance > 0.0 && self.random.lock().unwrap_or_else(PoisonError::into_inner).f64() < chance
    }

    /// Whether this is one of those that are to be lost whatever the knobs say.
    fn is_cut(&self) -> bool {
        self.cuts.fetch_update(Ordering::AcqRel, Ordering::Acquire, |cuts| cuts.checked_sub(1)).is_ok()
    }

    fn delay(&self) -> Duration {
        let max = self.knobs.borrow().delay_max;
        if max.is_zero() {
            return Duration::ZERO;
        }
        max.mul_f64(self.random.lock().unwrap_or_else(PoisonError::into_inner).f64())
    }
}

/// A proxy that listens. Everything ends with it.
#[derive(Debug)]
pub struct Proxy {
    shared: Arc<Shared>,
    address: SocketAddr,
    _serving: JoinSet<()>,
}

impl Proxy {
    /// Starts one before this server; it lets everything pass at first. `commits` tells which statements commit.
    ///
    /// # Errors
    /// When no port is to be had.
    pub async fn start(upstream: SocketAddr, seed: u64, commits: Commits) -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            upstream,
            commits,
            knobs: watch::Sender::new(Knobs::default()),
            cuts: AtomicU32::new(0),
            resets: watch::Sender::new(0),
            counts: Mutex::default(),
            random: Mutex::new(fastrand::Rng::with_seed(seed)),
        });
        let mut serving = JoinSet::new();
        let serves = shared.clone();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            // A connection that could not be taken is the client's trouble.
            while let Ok((client, _)) = listener.accept().await {
                connections.spawn(connection::serve(client, serves.clone()));
                while connections.try_join_next().is_some() {}
            }
        });
        Ok(Self { shared, address, _serving: serving })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes what it does from here on.
    pub fn set(&self, knobs: Knobs) {
        self.shared.knobs.send_replace(knobs);
    }

    /// Loses the answers to the next commits, as many as these.
    pub fn cut_next(&self, answers: u32) {
        self.shared.cuts.store(answers, Ordering::Release);
    }

    /// Closes all connections, in the middle of whatever they do.
    pub fn reset_all(&self) {
        self.shared.resets.send_modify(|resets| *resets += 1);
    }

    /// What it has done so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.shared.counts().clone()
    }
}
