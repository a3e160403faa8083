//! A worker that is started again whenever it has ended.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use saga_core::Engine;
use saga_core::engine::{EngineBuilder, OpenError};
use tokio::sync::Notify;

use super::journal::NetJournal;
use super::net::{Line, Net};
use super::stage::Stage;
use crate::sim::{Entry, Process, SimInterceptor, SimPublisher};

/// Starts take longer than most outages.
const START_TIMEOUT: Duration = Duration::from_secs(5);
const HOUSEKEEPING: Duration = Duration::from_secs(20);

/// The place of a worker: one life after the other.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) name: Arc<str>,
    now: Mutex<Option<(Engine, Line)>>,
    /// It is to hand everything back, and stop.
    stop: Notify,
}

impl Slot {
    pub(super) fn new(nth: usize) -> Arc<Self> {
        Arc::new(Self { name: format!("w{nth}").into(), now: Mutex::default(), stop: Notify::new() })
    }

    /// The worker of the present life.
    pub(super) fn now(&self) -> Option<(Engine, Line)> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, now: Option<(Engine, Line)>) {
        *self.now.lock().unwrap_or_else(PoisonError::into_inner) = now;
    }

    /// Kills it where it stands.
    pub(super) fn kill(&self) {
        if let Some((_, line)) = self.now() {
            line.process.end();
        }
    }

    /// Has it hand everything back, and stop.
    pub(super) fn stop(&self) {
        self.stop.notify_one();
    }

    /// Lives for ever.
    pub(super) async fn run(self: Arc<Self>, net: Arc<Net>, stage: Stage) {
        loop {
            let line = line(&net, self.name.clone(), true);
            let opened = tokio::select! {
                biased;
                () = line.process.crashed() => None,
                opened = open(&stage, line.clone(), false) => opened.ok(),
            };
            if let Some(engine) = opened {
                net.sim.note(Entry::new(format!("{} is up", self.name)));
                self.set(Some((engine.clone(), line.clone())));
                tokio::select! {
                    biased;
                    () = line.process.crashed() => {}
                    () = self.stop.notified() => {
                        let grace = Duration::from_millis(net.rng().u64(0..2_000));
                        // It may well be killed meanwhile.
                        tokio::select! {
                            biased;
                            () = line.process.crashed() => {}
                            () = engine.shutdown(grace) => {}
                        }
                    }
                }
                self.set(None);
                net.sim.note(Entry::new(format!("{} is down", self.name)));
            }
            line.process.end();
            let outage = if net.is_healed() { 10 } else { net.rng().u64(0..4_000) };
            tokio::time::sleep(Duration::from_millis(outage)).await;
        }
    }
}

/// A new process's way to the journal.
pub(super) fn line(net: &Arc<Net>, name: Arc<str>, mortal: bool) -> Line {
    let skewed = mortal && net.weather.skewed && !net.is_healed();
    let lease_percent = if skewed { net.rng().u32(40..130) } else { 100 };
    Line { net: net.clone(), process: Arc::default(), name, mortal, frozen: Arc::default(), lease_percent }
}

/// An engine in this process.
pub(super) async fn open(stage: &Stage, line: Line, client: bool) -> Result<Engine, OpenError> {
    let (net, process): (Arc<Net>, Arc<Process>) = (line.net.clone(), line.process.clone());
    let (sim, ids) = (net.sim.clone(), net.clone());
    let engine = Engine::builder(NetJournal(line.clone()))
        .worker_name(&*line.name)
        .lease_ttl(net.weather.lease)
        .poll_interval(net.weather.poll)
        .housekeeping_interval(HOUSEKEEPING)
        .start_timeout(START_TIMEOUT)
        .saga_ids(move || ids.saga_id())
        .publisher(SimPublisher { sim: sim.clone(), process: process.clone() })
        .interceptor(SimInterceptor { sim, process });
    let role = |engine: EngineBuilder| if client { engine.client_only() } else { engine };
    role(stage.cast_in(engine)).open().await
}
