//! One run: a time in which everything goes wrong, and a time to heal.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fastrand::Rng;
use saga_core::Engine;
use saga_core::engine::{Resolution, Signalled};
use saga_core::journal::{DeadLetter, End, Journal as _, ListFilter, SagaStatus, SagaSummary};
use tokio::time::Instant;

use super::net::{Line, Net};
use super::stage::{Signal, Stage, Start};
use super::weather::Weather;
use super::worker::{Slot, line, open};
use super::{Voyage, judge};
use crate::World;
use crate::invariant::{Invariant, Problem};
use crate::sim::{Entry, Foreign, Schedule, Sim};

/// How long things go wrong.
const STORM: std::ops::Range<u64> = 3_000..10_000;
/// How long everything may take to end after that.
const CALM: Duration = Duration::from_secs(2 * 60 * 60);
/// How often it is looked whether all is over.
const LOOK: Duration = Duration::from_millis(500);
/// No run has more things go wrong with attempts, calls and events than this.
const DICE_MAX: u32 = 60;
/// And no more than this, beside them, with events.
const EVENT_DICE_MAX: u32 = 30;
/// How often a human looks in the midst of it.
const MEDDLES: u32 = 6;
/// The built-in saga that waits for a human because a signal came too late.
const LATE_SIGNAL: &str = "late-signal";

/// What is shared by all that takes part in a run.
pub(super) struct Play {
    pub(super) net: Arc<Net>,
    pub(super) stage: Stage,
    slots: Vec<Arc<Slot>>,
    client: (Engine, Line),
    pub(super) told: Mutex<Told>,
}

/// What clients were told, and what they wait to be told.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// Signals that were accepted: the definition, the key and the message id.
    pub(super) accepted: Vec<(String, String, String)>,
    pub(super) late: u64,
    /// How sagas ended, as those who started them were told: the definition and the key.
    pub(super) ends: Vec<(String, String, End)>,
    /// What is asked for and not answered, with the last problem.
    pending: BTreeMap<String, String>,
    /// Dead letters that were answered.
    pub(super) letters: u64,
}

/// Runs the stage that `set` makes, as the seed has it.
pub(super) async fn play(set: &impl Fn(&World, u64) -> Stage, seed: u64) -> Voyage {
    // Jitter and nonces: the same in every run.
    fastrand::seed(seed);
    let mut rng = Rng::with_seed(seed);
    let weather = Weather::of(&mut rng);
    let sim = Sim::new(Schedule::new(), Foreign::NONE);
    let stage = set(&World { sim: sim.clone() }, rng.u64(..));
    if weather.dice_one_in > 0 {
        sim.gamble(rng.u64(..), weather.dice_one_in, DICE_MAX);
    }
    if weather.event_one_in > 0 {
        sim.gamble_on_events(rng.u64(..), weather.event_one_in, EVENT_DICE_MAX);
    }
    sim.note(Entry::new(format!("seed {seed}: {weather:?}")));
    let net = Net::new(&sim, weather, rng.fork());
    let problem = acts(&net, stage.clone(), rng).await;
    let (problem, seen) = match problem {
        Ok(seen) => (None, seen),
        Err(problem) => (Some(problem), BTreeMap::new()),
    };
    let state = sim.locked();
    let mut fired: BTreeMap<String, u64> =
        net.fired().into_iter().map(|(fault, times)| (fault.to_owned(), times)).collect();
    for (point, fate) in &state.fired {
        let what = match point {
            crate::sim::Point::Publish { .. } => "event",
            crate::sim::Point::Call { .. } => "call",
            _ => "attempt",
        };
        *fired.entry(format!("{what} {fate}")).or_default() += 1;
    }
    Voyage { seed, fired, seen, calls: net.calls(), story: state.tape.tell(), problem }
}

async fn acts(net: &Arc<Net>, stage: Stage, mut rng: Rng) -> Result<BTreeMap<&'static str, u64>, Problem> {
    let slots: Vec<Arc<Slot>> = (0..net.weather.workers).map(Slot::new).collect();
    for slot in &slots {
        tokio::spawn(slot.clone().run(net.clone(), stage.clone()));
    }
    let client = client(net, &stage).await;
    let play = Arc::new(Play { net: net.clone(), stage, slots, client, told: Mutex::default() });
    let storm = Duration::from_millis(rng.u64(STORM));
    let (millis, hurry) = (u64::try_from(storm.as_millis()).unwrap_or(u64::MAX), rng.u64(1..4));
    let sometime = |rng: &mut Rng| Duration::from_millis(rng.u64(0..=millis / hurry));
    for start in play.stage.starts.clone() {
        // Some are started by two at a time.
        for _ in 0..=u32::from(rng.u32(0..4) == 0) {
            tokio::spawn(play.clone().start(start.clone(), sometime(&mut rng)));
        }
    }
    for signal in play.stage.signals.clone() {
        tokio::spawn(play.clone().signal(signal, sometime(&mut rng)));
    }
    play.storm(storm, &mut rng).await;
    net.heal();
    net.sim.note(Entry::new("nothing goes wrong any more"));
    play.calm().await?;
    judge::judge(&play).await
}

/// An engine that starts sagas and sends signals, and runs none.
async fn client(net: &Arc<Net>, stage: &Stage) -> (Engine, Line) {
    let line = line(net, "client".into(), false);
    loop {
        if let Ok(engine) = open(stage, line.clone(), true).await {
            return (engine, line);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

impl Play {
    pub(super) fn told(&self) -> std::sync::MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn somebody(&self) -> (Engine, Line) {
        let nth = self.net.rng().usize(0..=self.slots.len());
        self.slots.get(nth).and_then(|slot| slot.now()).unwrap_or_else(|| self.client.clone())
    }

    /// Asks one process after the other, until one answers.
    async fn ask<T, E: std::fmt::Display>(
        &self,
        what: String,
        ask: &(impl Fn(Engine) -> std::pin::Pin<Box<dyn Future<Output = Result<T, E>> + Send>> + ?Sized),
    ) -> (T, Line) {
        self.told().pending.insert(what.clone(), "no answer".to_owned());
        loop {
            let (engine, line) = self.somebody();
            let answer = tokio::select! {
                biased;
                () = line.process.crashed() => None,
                answer = ask(engine) => Some(answer),
            };
            match answer {
                Some(Ok(answer)) => {
                    self.told().pending.remove(&what);
                    return (answer, line);
                }
                Some(Err(problem)) => {
                    self.net.sim.note(Entry::new(format!("{what}, by {}: {problem}", line.name)));
                    self.told().pending.insert(what.clone(), problem.to_string());
                }
                None => {}
            }
            let wait = self.net.rng().u64(1..500);
            tokio::time::sleep(Duration::from_millis(wait)).await;
        }
    }

    async fn start(self: Arc<Self>, start: Start, after: Duration) {
        tokio::time::sleep(after).await;
        let (ending, line) = self.ask(format!("starting {}/{}", start.definition, start.key), &*start.ask).await;
        tokio::select! {
            biased;
            // Nobody is left to be told.
            () = line.process.crashed() => {}
            end = ending => self.told().ends.push((start.definition, start.key, end)),
        }
    }

    async fn signal(self: Arc<Self>, signal: Signal, after: Duration) {
        tokio::time::sleep(after).await;
        let Signal { definition, key, id, ask } = signal;
        match self.ask(format!("signalling {id} to {definition}/{key}"), &*ask).await.0 {
            Signalled::Accepted | Signalled::Duplicate => self.told().accepted.push((definition, key, id)),
            Signalled::Late { .. } => self.told().late += 1,
        }
    }

    /// Freezes, kills and stops workers, beside all that goes wrong by itself.
    async fn storm(self: &Arc<Self>, time: Duration, rng: &mut Rng) {
        let until = Instant::now() + time;
        let millis = u64::try_from(time.as_millis()).unwrap_or(1).max(1);
        let mut blows: Vec<u64> = (0..self.net.weather.blows).map(|_| rng.u64(0..millis)).collect();
        blows.sort_unstable();
        let began = Instant::now();
        for blow in blows {
            tokio::time::sleep_until(began + Duration::from_millis(blow)).await;
            let slot = &self.slots[rng.usize(0..self.slots.len())];
            let (what, kind) = match rng.u32(0..6) {
                0 | 1 => ("is frozen", "frozen workers"),
                2 => ("is killed", "killed workers"),
                3 | 4 => {
                    tokio::spawn(self.clone().meddle());
                    continue;
                }
                _ => ("is to stop", "stopped workers"),
            };
            self.net.fire(kind);
            self.net.sim.note(Entry::fault(format!("{} {what}", slot.name)));
            match (kind, slot.now()) {
                ("frozen workers", Some((_, line))) => line.freeze(self.net.weather.lease.mul_f64(rng.f64() * 4.0)),
                ("killed workers", _) => slot.kill(),
                ("stopped workers", _) => slot.stop(),
                _ => {}
            }
        }
        tokio::time::sleep_until(until).await;
    }

    /// A human sees to what is open, in the midst of it, and gives up on the first problem.
    async fn meddle(self: Arc<Self>) {
        for _ in 0..MEDDLES {
            let letters = self.letters().await.unwrap_or_default();
            if !letters.is_empty() && !self.net.is_healed() {
                self.net.fire("operators");
                self.answer(&letters).await.ok();
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Waits until all is over, answering dead letters.
    async fn calm(&self) -> Result<(), Problem> {
        let until = Instant::now() + CALM;
        while Instant::now() < until {
            tokio::time::sleep(LOOK).await;
            let letters = self.letters().await?;
            if !letters.is_empty() {
                self.answer(&letters).await?;
                continue;
            }
            if self.told().pending.is_empty() && self.unfinished().await?.is_empty() {
                let sim = &self.net.sim;
                if !sim.is_landing() && !sim.land_all() && judge::is_published(self).await? {
                    return Ok(());
                }
            }
        }
        let pending: Vec<String> = self.told().pending.iter().map(|(what, why)| format!("{what}: {why}")).collect();
        let sagas = self.unfinished().await?;
        let sagas: Vec<String> = sagas.iter().map(|saga| format!("{} is {:?}", name(saga), saga.status)).collect();
        let published = if judge::is_published(self).await? { "" } else { "; events were not published" };
        let hours = CALM.as_secs() / 3_600;
        Err(lost(format!("{hours} h after the last fault: {}{published}", [pending, sagas].concat().join(", "))))
    }

    async fn letters(&self) -> Result<Vec<DeadLetter>, Problem> {
        let mut letters = self.net.sim.store.dead_letters(None, usize::MAX).await.map_err(unread)?;
        // It waits for a human from the beginning, and that is right.
        letters.retain(|letter| letter.definition != LATE_SIGNAL);
        Ok(letters)
    }

    /// A human says: try again.
    async fn answer(&self, letters: &[DeadLetter]) -> Result<(), Problem> {
        for letter in letters {
            let Some(step) = &letter.step else {
                let DeadLetter { definition, key, error, .. } = letter;
                return Err(lost(format!("{definition}/{key} cannot be read: {error}")));
            };
            let (engine, line) = self.somebody();
            let operator = engine.operator();
            let answer = tokio::select! {
                biased;
                // Nobody answers any more: the letter is still open, and is found again.
                () = line.process.crashed() => continue,
                answer = operator.resolve(letter.saga, step.as_str(), Resolution::Retry, "kit", "in order again") => answer,
            };
            let answer = answer.map_or_else(|refused| refused.to_string(), |()| "so be it".to_owned());
            self.net.sim.note(Entry::new(format!("a human says: try {} of {step} again: {answer}", letter.op)));
            self.told().letters += 1;
        }
        Ok(())
    }

    async fn unfinished(&self) -> Result<Vec<SagaSummary>, Problem> {
        let mut sagas = self.sagas().await?;
        sagas.retain(|saga| {
            let waits = saga.status == SagaStatus::NeedsAttention && saga.header.definition == LATE_SIGNAL;
            !waits && !matches!(saga.status, SagaStatus::Ended(_))
        });
        Ok(sagas)
    }

    pub(super) async fn sagas(&self) -> Result<Vec<SagaSummary>, Problem> {
        self.net.sim.store.list(&ListFilter::default(), usize::MAX).await.map_err(unread)
    }
}

pub(super) fn name(saga: &SagaSummary) -> String {
    format!("{}/{}", saga.header.definition, saga.header.key)
}

pub(super) fn lost(found: impl Into<String>) -> Problem {
    Problem::new(Invariant::NoLostSaga, found)
}

pub(super) fn unread(error: impl std::fmt::Display) -> Problem {
    lost(format!("the journal cannot be read: {error}"))
}
