//! One life of a worker: an engine on the simulated journal, until it is dropped.

use std::sync::Arc;
use std::time::Duration;

use saga_core::Engine;
use saga_core::engine::{EngineBuilder, OpenError};
use saga_core::journal::Journal as _;

use super::interceptor::{PROCESS, SimInterceptor};
use super::journal::SimJournal;
use super::process::Process;
use super::publisher::SimPublisher;
use super::tape::Entry;
use super::{OUTAGE, Sim};

/// Rare, because a simulation may last for months: what there is to do is told at once, as a rule.
const POLL: Duration = Duration::from_secs(60 * 60);
const SELDOM: Duration = Duration::from_secs(24 * 60 * 60);
const LEASE: Duration = Duration::from_secs(300 * 24 * 60 * 60);
const KEPT: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// An engine, and the process that it runs in.
#[derive(Debug)]
pub(crate) struct Life {
    pub(crate) engine: Engine,
    pub(crate) process: Arc<Process>,
}

impl Life {
    /// Starts a process in the simulated world, with an engine as `configure` makes it.
    pub(crate) async fn begin(
        sim: &Arc<Sim>,
        configure: impl Fn(EngineBuilder) -> EngineBuilder,
    ) -> Result<Self, OpenError> {
        let process = Arc::new(Process::default());
        sim.locked().process = process.clone();
        Self::on(sim, process, configure).await
    }

    /// A process outside of the simulated one, which nothing ends.
    pub(crate) async fn outside(
        sim: &Arc<Sim>,
        configure: impl Fn(EngineBuilder) -> EngineBuilder,
    ) -> Result<Engine, OpenError> {
        let configure = |engine| configure(engine).client_only();
        Self::on(sim, Arc::new(Process::default()), configure).await.map(|life| life.engine)
    }

    async fn on(
        sim: &Arc<Sim>,
        process: Arc<Process>,
        configure: impl Fn(EngineBuilder) -> EngineBuilder,
    ) -> Result<Self, OpenError> {
        let journal = SimJournal { sim: sim.clone(), process: process.clone() };
        let engine = Engine::builder(journal)
            .lease_ttl(LEASE)
            .poll_interval(POLL)
            .housekeeping_interval(SELDOM)
            .retention(KEPT)
            .publisher(SimPublisher { sim: sim.clone(), process: process.clone() });
        let engine =
            configure(engine).interceptor(SimInterceptor { sim: sim.clone(), process: process.clone() }).open().await?;
        Ok(Self { engine, process })
    }

    /// Ends the process where it stands. When this returns its lease has lapsed, and another may take over.
    pub(crate) async fn crash(self, sim: &Arc<Sim>) {
        let Self { engine, process } = self;
        process.end();
        drop(engine);
        for lease in process.leases() {
            // One that was closed or fenced before has nothing left to lapse.
            sim.store.renew_lease(lease, Duration::ZERO).await.ok();
        }
        tokio::time::sleep(OUTAGE).await;
        sim.note(Entry::new("another process starts"));
    }
}

impl Sim {
    /// Ends the present process, as scheduled, and never returns.
    pub(crate) async fn crash<T>(&self, place: &str) -> T {
        let process = PROCESS.try_with(Arc::clone).unwrap_or_else(|_| self.process());
        self.crash_of(&process, place).await
    }

    /// Ends this process, and never returns.
    pub(crate) async fn crash_of<T>(&self, process: &Process, place: &str) -> T {
        self.note(Entry::fault(format!("CRASH {place}")));
        process.die().await
    }
}
