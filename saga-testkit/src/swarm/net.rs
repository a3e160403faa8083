//! What stands between the engines and the one journal: time, losses, and processes that end.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fastrand::Rng;
use saga_core::journal::JournalError;
use saga_core::{Epoch, SagaId};
use tokio::time::Instant;

use super::weather::Weather;
use crate::sim::{Entry, Process, Sim};

/// What all workers of a run share.
#[derive(Debug)]
pub(super) struct Net {
    pub(super) sim: Arc<Sim>,
    pub(super) weather: Weather,
    rng: Mutex<Rng>,
    healed: AtomicBool,
    fired: Mutex<BTreeMap<&'static str, u64>>,
    calls: Mutex<u64>,
    /// Leases that are gone for good.
    gone: Mutex<BTreeSet<Epoch>>,
    /// What was written under one of them.
    stale: Mutex<Vec<String>>,
}

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lot {
    Arrives,
    /// It never arrives.
    Lost,
    /// It is carried out, and the answer is lost.
    AnswerLost,
    /// It is carried out twice.
    Twice,
    /// It is given up, and carried out later all the same.
    Straggles,
    CrashBefore,
    CrashAfter,
}

/// What a call may come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Nature {
    /// It changes nothing.
    Reads,
    /// Carried out again it changes nothing.
    Repeats,
    /// It must not be carried out again: a claim, or a new lease.
    Once,
}

impl Net {
    pub(super) fn new(sim: &Arc<Sim>, weather: Weather, rng: Rng) -> Arc<Self> {
        Arc::new(Self {
            sim: sim.clone(),
            weather,
            rng: Mutex::new(rng),
            healed: AtomicBool::new(false),
            fired: Mutex::default(),
            calls: Mutex::default(),
            gone: Mutex::default(),
            stale: Mutex::default(),
        })
    }

    pub(super) fn rng(&self) -> MutexGuard<'_, Rng> {
        self.rng.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on nothing goes wrong.
    pub(super) fn heal(&self) {
        self.healed.store(true, Ordering::Release);
        self.sim.heal();
    }

    pub(super) fn is_healed(&self) -> bool {
        self.healed.load(Ordering::Acquire)
    }

    /// A fault of this kind has fired.
    pub(super) fn fire(&self, fault: &'static str) {
        *self.fired.lock().unwrap_or_else(PoisonError::into_inner).entry(fault).or_default() += 1;
    }

    pub(super) fn fired(&self) -> BTreeMap<&'static str, u64> {
        self.fired.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn calls(&self) -> u64 {
        *self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// These leases are gone: nothing is to be written under them from now on.
    pub(super) fn gone(&self, epochs: impl IntoIterator<Item = Epoch>) {
        self.gone.lock().unwrap_or_else(PoisonError::into_inner).extend(epochs);
    }

    /// Something was written under this lease.
    pub(super) fn wrote(&self, epoch: Epoch, what: &str) {
        if self.gone.lock().unwrap_or_else(PoisonError::into_inner).contains(&epoch) {
            let found = format!("{what} was written under epoch {epoch}, which was gone");
            self.stale.lock().unwrap_or_else(PoisonError::into_inner).push(found);
        }
    }

    /// What was written under a lease that was gone.
    pub(super) fn stale(&self) -> Vec<String> {
        self.stale.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// An id for the next saga.
    pub(super) fn saga_id(&self) -> SagaId {
        let made = *self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        let random = self.rng().u128(..);
        let text = format!(
            "{:08x}-{:04x}-7{:03x}-8{:03x}-{:012x}",
            0x019b_0000_u32,
            made & 0xffff,
            random & 0xfff,
            (random >> 12) & 0xfff,
            (random >> 24) & 0xffff_ffff_ffff
        );
        text.parse().unwrap_or_else(|problem| panic!("{text} is no id: {problem}"))
    }

    fn delay(&self) -> Duration {
        let most = if self.is_healed() { 2 } else { self.weather.delay.as_micros().min(1_000_000) };
        let most = u64::try_from(most).unwrap_or(1).max(1);
        Duration::from_micros(self.rng().u64(0..=most))
    }

    /// Now and then a call takes longer than a lease.
    fn stall(&self) -> Option<Duration> {
        let one_in = self.weather.stall_one_in;
        if self.is_healed() || one_in == 0 || self.rng().u32(0..one_in) > 0 {
            return None;
        }
        self.fire("stalled calls");
        Some(self.weather.lease.mul_f64(0.5 + self.rng().f64() * 2.0))
    }

    /// How far behind a worker's clock jumps, in microseconds.
    pub(super) fn jump(&self) -> i64 {
        if !self.weather.skewed || self.rng().u32(0..3) > 0 {
            return 0;
        }
        self.fire("clock jumps");
        self.rng().i64(0..3_000_000)
    }

    /// Whether nobody learns of a claim that took sagas: they are the worker's, and it does not know.
    fn loses_claim(&self) -> bool {
        !self.is_healed() && one_in(&mut self.rng(), self.weather.claim_one_in)
    }

    async fn travel(&self) {
        let time = self.stall().unwrap_or_else(|| self.delay());
        tokio::time::sleep(time).await;
    }

    fn lot(&self, nature: Nature, mortal: bool) -> Lot {
        if self.is_healed() {
            return Lot::Arrives;
        }
        let Weather { fail_one_in, crash_one_in, .. } = self.weather;
        let mut rng = self.rng();
        if mortal && one_in(&mut rng, crash_one_in) {
            return if rng.bool() { Lot::CrashBefore } else { Lot::CrashAfter };
        }
        if !one_in(&mut rng, fail_one_in) {
            return Lot::Arrives;
        }
        match (nature, rng.u32(0..4)) {
            (_, 0) | (Nature::Reads, _) => Lot::Lost,
            (_, 1) | (Nature::Once, _) => Lot::AnswerLost,
            (Nature::Repeats, 2) => Lot::Twice,
            (Nature::Repeats, _) => Lot::Straggles,
        }
    }
}

/// One process's way to the journal.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) net: Arc<Net>,
    pub(super) process: Arc<Process>,
    /// The worker's name.
    pub(super) name: Arc<str>,
    /// A client does not crash here: nothing of it is left running.
    pub(super) mortal: bool,
    pub(super) frozen: Arc<Mutex<Option<Instant>>>,
    /// How far this worker's notion of a lease's length is off, in percent.
    pub(super) lease_percent: u32,
}

impl Line {
    /// Freezes the process's way to the journal: nothing arrives, and nothing is answered.
    pub(super) fn freeze(&self, time: Duration) {
        *self.frozen.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + time);
    }

    async fn thawed(&self) {
        loop {
            let until = *self.frozen.lock().unwrap_or_else(PoisonError::into_inner);
            match until.filter(|until| *until > Instant::now() && !self.net.is_healed()) {
                Some(until) => tokio::time::sleep_until(until).await,
                None => return,
            }
        }
    }

    async fn ready(&self) {
        self.thawed().await;
        self.process.alive().await;
    }

    /// A call to the journal, and what becomes of it.
    pub(super) async fn call<T, Made, F>(
        &self,
        method: &'static str,
        nature: Nature,
        make: impl Fn() -> Made + Send + Sync + 'static,
        answered: F,
    ) -> Result<T, JournalError>
    where
        T: Send + 'static,
        Made: Future<Output = Result<T, JournalError>> + Send + 'static,
        F: Fn(&T) + Send + Sync + 'static,
    {
        *self.net.calls.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.ready().await;
        self.net.travel().await;
        self.ready().await;
        let lot = self.net.lot(nature, self.mortal);
        let carry_out = async |answered: &F| {
            let answer = make().await;
            if let Ok(answer) = &answer {
                answered(answer);
            }
            answer
        };
        let answer = match lot {
            Lot::Arrives => carry_out(&answered).await,
            Lot::Lost => {
                self.tell("lost calls", &format!("{method} is lost"));
                return Err(lost(method));
            }
            Lot::AnswerLost => {
                self.tell("lost answers", &format!("{method} is carried out, and its answer is lost"));
                carry_out(&answered).await.and_then(|_| Err(lost(method)))
            }
            Lot::Twice => {
                self.tell("repeated calls", &format!("{method} is carried out twice"));
                // Nobody learns how it went the first time.
                carry_out(&answered).await.ok();
                carry_out(&answered).await
            }
            Lot::Straggles => {
                self.tell("stragglers", &format!("{method} is given up, and still on its way"));
                let (net, after) = (self.net.clone(), self.net.rng().u64(0..4_000));
                tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_millis(after)).await;
                    if let Ok(answer) = make().await {
                        net.sim.note(Entry::fault(format!("{method} arrives after all")));
                        answered(&answer);
                    }
                });
                return Err(lost(method));
            }
            Lot::CrashBefore => {
                self.tell("crashes before a call", &format!("CRASH before {method}"));
                return self.process.die().await;
            }
            Lot::CrashAfter => {
                // Nobody learns how it went.
                carry_out(&answered).await.ok();
                self.tell("crashes after a call", &format!("CRASH after {method}"));
                return self.process.die().await;
            }
        };
        self.net.travel().await;
        self.ready().await;
        answer
    }

    /// The answer to a claim that took sagas, which is lost more often than others: all that it took stands still
    /// until the worker compares what it holds with the journal.
    pub(super) fn claimed<T>(&self, method: &'static str, claim: T) -> Result<T, JournalError> {
        if !self.net.loses_claim() {
            return Ok(claim);
        }
        self.tell("lost claims", &format!("{method} took sagas, and its answer is lost"));
        Err(lost(method))
    }

    fn tell(&self, fault: &'static str, text: &str) {
        self.net.fire(fault);
        self.net.sim.note(Entry::fault(format!("{}: {text}", self.name)));
    }
}

fn one_in(rng: &mut Rng, many: u32) -> bool {
    many > 0 && rng.u32(0..many) == 0
}

fn lost(method: &'static str) -> JournalError {
    JournalError::unavailable(method, "lost, by the seed")
}
