//! One run: a saga from its start to its end, with what goes wrong on one schedule.

use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use saga_core::engine::{Resolution, Signalled};
use saga_core::journal::{DeadLetter, Journal as _, ListFilter, SagaStatus, SagaSummary};
use saga_core::machine::Record;
use saga_core::{Checkpoint, Engine, Kind, Op, Payload, SagaId, SagaOutcome};

use super::ending::Ending;
use super::scene::Scene;
use crate::World;
use crate::invariant::{self, Invariant, Problem, Told, View};
use crate::sim::{Cast, Entry, Fate, Foreign, Life, Point, Schedule, Sim, Visited};

/// The start key of the saga.
const KEY: &str = "saga";
/// When nothing is written for so long, nothing will be.
const QUIET: Duration = Duration::from_secs(400 * 24 * 60 * 60);
/// When nothing is written for so long while a human is needed, everything waits for that.
const PATIENCE: Duration = Duration::from_secs(3 * 24 * 60 * 60);
/// Until then what is over has published its events.
const PUBLISHED: Duration = Duration::from_secs(60 * 60);
/// How often the kit tells a saga to try again.
const ROUNDS: u32 = 5;
/// No run has more writes than this.
const WRITES_MAX: u32 = 20_000;
/// The built-in saga that waits for a human because a signal came too late.
const LATE_SIGNAL: &str = "late-signal";

/// How a run ended, in short.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum End {
    Completed,
    RolledBack,
    Attention,
}

/// What a run came to.
#[derive(Debug, Default)]
pub(crate) struct Ran {
    pub(crate) visited: Vec<Visited>,
    pub(crate) fired: Vec<(Point, Fate)>,
    /// The operations that began, by name.
    pub(crate) reached: BTreeSet<String>,
    pub(crate) end: Option<End>,
    /// Whether there were dead letters on the way.
    pub(crate) called: bool,
    /// How things stood by the journal when the saga turned back, if it did.
    pub(crate) turned: Option<String>,
    pub(crate) problem: Option<Problem>,
    pub(crate) story: Vec<String>,
    /// How many effects there were in the world, whether they stand or not.
    pub(crate) effects: usize,
}

/// What goes wrong in a run.
#[derive(Clone, Debug)]
pub(crate) enum Plan {
    Scheduled(Schedule),
    /// By chance.
    Dice {
        seed: u64,
        one_in: u32,
        most: u32,
    },
}

/// How far a run has come, over all crashes.
#[derive(Debug, Default)]
struct Progress {
    /// Signals of the scene that have been used, by index.
    used: BTreeSet<usize>,
    /// Signals to be sent: the index, and how often.
    due: Vec<(usize, u32)>,
    /// Signals to be sent once all is over.
    late: Vec<usize>,
    heard: bool,
    drained: bool,
    rounds: u32,
    letters: Vec<DeadLetter>,
}

/// Runs the scene with what the plan has go wrong.
pub(crate) async fn run<K, I, O>(
    set: &impl AsyncFn(World) -> Scene<K, I, O>,
    check: &impl AsyncFn(&Ending<'_, K, O>) -> Result<(), String>,
    plan: &Plan,
    foreign: Foreign,
) -> Ran
where
    I: Checkpoint + Clone,
    O: Send + 'static,
{
    // Jitter and nonces: the same in every run.
    fastrand::seed(1);
    let schedule = match plan {
        Plan::Scheduled(schedule) => schedule.clone(),
        Plan::Dice { .. } => Schedule::new(),
    };
    let sim = Sim::new(schedule, foreign);
    let world = World { sim: sim.clone() };
    let scene = foreign.hold(set(world.clone())).await;
    sim.cast(Cast { definition: scene.definition.name().to_owned(), plan: scene.definition.plan().clone() });
    if let Plan::Dice { seed, one_in, most } = plan {
        sim.gamble(*seed, *one_in, *most);
    }
    let ended = lives(&sim, &world, &scene, check).await;
    let state = sim.locked();
    let (visited, fired, story) = (state.visited.clone(), state.fired.clone(), state.tape.tell());
    let ran = Ran { visited, fired, story, effects: state.effects.all().len(), ..Ran::default() };
    match ended {
        Ok(Ended { end, called, reached, turned }) => Ran { end: Some(end), called, reached, turned, ..ran },
        Err(problem) => Ran { problem: Some(problem), ..ran },
    }
}

struct Ended {
    end: End,
    called: bool,
    reached: BTreeSet<String>,
    turned: Option<String>,
}

/// One process after the other, until the saga is over.
async fn lives<K, I, O>(
    sim: &Arc<Sim>,
    world: &World,
    scene: &Scene<K, I, O>,
    check: &impl AsyncFn(&Ending<'_, K, O>) -> Result<(), String>,
) -> Result<Ended, Problem>
where
    I: Checkpoint + Clone,
    O: Send + 'static,
{
    let mut progress = Progress::default();
    loop {
        let configure =
            |engine: saga_core::engine::EngineBuilder| (scene.configure)(engine.register(&scene.definition));
        let life =
            Life::begin(sim, configure).await.map_err(|error| lost(format!("the engine does not open: {error}")))?;
        let over = tokio::select! {
            biased;
            () = life.process.crashed() => None,
            over = live(sim, &life.engine, scene, &mut progress) => Some(over),
        };
        match over {
            None => life.crash(sim).await,
            Some(over) => {
                over?;
                return conclude(sim, world, &life.engine, scene, check, &progress).await;
            }
        }
    }
}

fn lost(found: impl Into<String>) -> Problem {
    Problem::new(Invariant::NoLostSaga, found)
}

/// Lives until nothing is left to be done.
async fn live<K, I, O>(
    sim: &Arc<Sim>,
    engine: &Engine,
    scene: &Scene<K, I, O>,
    progress: &mut Progress,
) -> Result<(), Problem>
where
    I: Checkpoint + Clone,
    O: Send + 'static,
{
    announce(sim, engine, scene, progress).await?;
    let started = engine.start(&scene.definition, KEY, scene.input.clone()).await;
    started.map_err(|error| lost(format!("the saga does not start: {error}")))?;
    loop {
        if sim.writes() > WRITES_MAX {
            return Err(lost(format!("{WRITES_MAX} turns, and no end")));
        }
        hear(sim, scene, progress);
        tell(sim, engine, scene, progress).await?;
        match standing(sim).await? {
            Standing::Busy => {
                if tokio::time::timeout(QUIET, sim.written.notified()).await.is_err() {
                    return Err(stuck(sim, scene));
                }
            }
            Standing::Waits(_) if tokio::time::timeout(PATIENCE, sim.written.notified()).await.is_ok() => {}
            Standing::Ended | Standing::Waits(_) if sim.is_landing() => sim.written.notified().await,
            Standing::Ended | Standing::Waits(_) if sim.land_all() => progress.drained = false,
            Standing::Waits(letters) => {
                inspect(sim, engine, scene, false).await?;
                progress.letters.extend(letters.iter().cloned());
                operate(sim, engine, &letters, progress).await?;
            }
            Standing::Ended if !progress.late.is_empty() => {
                progress.due.extend(progress.late.drain(..).map(|signal| (signal, 1)));
                progress.drained = false;
            }
            Standing::Ended if !progress.drained => {
                tokio::time::sleep(PUBLISHED).await;
                progress.drained = true;
            }
            Standing::Ended => return Ok(()),
        }
    }
}

fn stuck<K, I, O>(sim: &Sim, scene: &Scene<K, I, O>) -> Problem {
    let state = sim.locked();
    let waits = state.cast.as_ref().is_some_and(|cast| cast.plan.steps().iter().any(|step| step.kind == Kind::Signal));
    let hint =
        if waits && scene.signals.is_empty() { "; is there a `Scene::signal` for what it waits for?" } else { "" };
    lost(format!("nothing has happened for {} days, and the saga is not over{hint}", QUIET.as_secs() / 86_400))
}

/// Sends what is scheduled to come before the saga.
async fn announce<K, I, O>(
    sim: &Sim,
    engine: &Engine,
    scene: &Scene<K, I, O>,
    progress: &mut Progress,
) -> Result<(), Problem> {
    if !std::mem::replace(&mut progress.heard, true) {
        for (index, (name, _)) in scene.signals.iter().enumerate() {
            let nth = scene.signals[..index].iter().filter(|(earlier, _)| earlier == name).count();
            let point = Point::Signal { name: name.clone(), nth: u32::try_from(nth).unwrap_or(u32::MAX) + 1 };
            if sim.is_scheduled(&point, Fate::Early) {
                sim.visit(point, Fate::of_signal(true));
                progress.used.insert(index);
                progress.due.push((index, 1));
            }
        }
    }
    tell(sim, engine, scene, progress).await
}

/// Takes note of the signals that the saga has come to wait for.
fn hear<K, I, O>(sim: &Sim, scene: &Scene<K, I, O>, progress: &mut Progress) {
    for (name, bounded) in sim.take_awaited() {
        let unused = |(index, (known, _)): &(usize, &(String, _))| **known == name && !progress.used.contains(index);
        let Some((index, _)) = scene.signals.iter().enumerate().find(unused) else { continue };
        progress.used.insert(index);
        match sim.visit_next("signal", &name, Fate::of_signal(bounded)) {
            Some(Fate::Twice) => progress.due.push((index, 2)),
            Some(Fate::TooLate) => progress.late.push(index),
            Some(Fate::Never) => {}
            _ => progress.due.push((index, 1)),
        }
    }
}

/// Sends the signals that are due.
async fn tell<K, I, O>(
    sim: &Sim,
    engine: &Engine,
    scene: &Scene<K, I, O>,
    progress: &mut Progress,
) -> Result<(), Problem> {
    while let Some((index, times)) = progress.due.first().copied() {
        let (name, payload) = &scene.signals[index];
        let payload: &Payload = payload.as_ref().map_err(|error| lost(format!("the signal {name}: {error}")))?;
        for _ in 0..times {
            let id = format!("{name}-{index}");
            let sent = engine.signal(scene.definition.name(), KEY, name, payload, &id).await;
            let sent =
                sent.map_err(|error| Problem::new(Invariant::Signals, format!("{name} was not sent: {error}")))?;
            if sent == Signalled::Accepted {
                sim.locked().signalled.push(id);
            }
            sim.note(Entry::new(match sent {
                Signalled::Accepted => format!("{name} is signalled"),
                Signalled::Duplicate => format!("{name} is signalled again, and known"),
                Signalled::Late { .. } => format!("{name} is signalled, too late: another saga sees to it"),
            }));
        }
        progress.due.remove(0);
    }
    Ok(())
}

enum Standing {
    Busy,
    Ended,
    /// A human is needed.
    Waits(Vec<DeadLetter>),
}

async fn sagas(sim: &Sim) -> Result<Vec<SagaSummary>, Problem> {
    let listed = sim.store.list(&ListFilter::default(), usize::MAX).await;
    listed.map_err(|error| lost(format!("the journal cannot be read: {error}")))
}

async fn open_letters(sim: &Sim) -> Result<Vec<DeadLetter>, Problem> {
    let letters = sim.store.dead_letters(None, usize::MAX).await;
    letters.map_err(|error| lost(format!("the journal cannot be read: {error}")))
}

async fn standing(sim: &Sim) -> Result<Standing, Problem> {
    let (mut waits, mut busy) = (false, false);
    for saga in sagas(sim).await? {
        match saga.status {
            SagaStatus::Ended(_) => {}
            // It waits for a human from the beginning, and that is right.
            SagaStatus::NeedsAttention if saga.header.definition == LATE_SIGNAL => {}
            SagaStatus::NeedsAttention => waits = true,
            SagaStatus::Running | SagaStatus::Waiting | SagaStatus::Watching | SagaStatus::Retained => busy = true,
        }
    }
    // Others may wait for the one that waits for a human: its parent, its child, who wants its locks.
    if !waits {
        return Ok(if busy { Standing::Busy } else { Standing::Ended });
    }
    let mut letters = open_letters(sim).await?;
    letters.retain(|letter| letter.definition != LATE_SIGNAL);
    Ok(Standing::Waits(letters))
}

/// A human answers: nothing goes wrong any more, try again.
async fn operate(sim: &Sim, engine: &Engine, letters: &[DeadLetter], progress: &mut Progress) -> Result<(), Problem> {
    sim.heal();
    progress.rounds += 1;
    if progress.rounds > ROUNDS {
        let errors: Vec<String> = letters.iter().map(|letter| format!("{:?}: {}", letter.step, letter.error)).collect();
        let errors = errors.join("; ");
        return Err(lost(format!(
            "{ROUNDS} times a human said `try again` with all in order, and it still waits: {errors}"
        )));
    }
    for letter in letters {
        let Some(step) = &letter.step else {
            return Err(lost(format!("the saga cannot be read: {}", letter.error)));
        };
        sim.note(Entry::new(format!("a human says: try {} of {step} again", letter.op)));
        let operator = engine.operator();
        let answer = operator.resolve(letter.saga, step.as_str(), Resolution::Retry, "kit", "in order again");
        answer.await.map_err(|error| lost(format!("the operator is refused: {error}")))?;
    }
    Ok(())
}

/// Checks the invariants as things stand.
async fn inspect<K, I, O>(
    sim: &Sim,
    engine: &Engine,
    scene: &Scene<K, I, O>,
    over: bool,
) -> Result<Vec<Told>, Problem> {
    let mut told = Vec::new();
    for summary in sagas(sim).await? {
        let history = engine.history(summary.header.id).await;
        let turns = history.map_err(|error| lost(format!("the history cannot be read: {error}")))?.unwrap_or_default();
        told.push(Told { summary, turns });
    }
    let (letters, locks) = (open_letters(sim).await?, sim.store.locks(usize::MAX).await);
    let locks = locks.map_err(|error| lost(format!("the journal cannot be read: {error}")))?;
    let cast = Cast { definition: scene.definition.name().to_owned(), plan: scene.definition.plan().clone() };
    let state = sim.locked();
    let view = View {
        cast: &cast,
        sagas: &told,
        letters: &letters,
        effects: state.effects.all(),
        locks: &locks,
        published: &state.published,
        signalled: &state.signalled,
        alone: true,
        over,
    };
    let problem = invariant::check(&view);
    drop(state);
    problem.map_or(Ok(told), Err)
}

/// All is over: checks everything.
async fn conclude<K, I, O>(
    sim: &Arc<Sim>,
    world: &World,
    engine: &Engine,
    scene: &Scene<K, I, O>,
    check: &impl AsyncFn(&Ending<'_, K, O>) -> Result<(), String>,
    progress: &Progress,
) -> Result<Ended, Problem>
where
    I: Checkpoint + Clone,
    O: Send + 'static,
{
    let told = inspect(sim, engine, scene, true).await?;
    let main = told.iter().find(|saga| saga.summary.header.definition == scene.definition.name());
    let id: SagaId = main.map(|saga| saga.summary.header.id).ok_or_else(|| lost("the saga is not there"))?;
    let outcome = engine.handle(&scene.definition, id).outcome_now().await;
    let outcome = outcome.map_err(|error| lost(format!("the outcome cannot be read: {error}")))?;
    let outcome = outcome.ok_or_else(|| lost("the saga has no outcome"))?;
    let ending = Ending { kept: &scene.kept, outcome: &outcome, world, letters: &progress.letters };
    let own = AssertUnwindSafe(sim.foreign.hold(check(&ending))).catch_unwind().await;
    match own {
        Ok(Ok(())) => {}
        Ok(Err(found)) => return Err(Problem::new(Invariant::Own, found)),
        Err(panic) => return Err(Problem::new(Invariant::Own, said(&*panic))),
    }
    let end = match outcome {
        SagaOutcome::Completed(_) => End::Completed,
        SagaOutcome::RolledBack(_) => End::RolledBack,
        SagaOutcome::NeedsAttention(_) => End::Attention,
    };
    let called = !progress.letters.is_empty();
    let turned = told.iter().find(|saga| saga.summary.header.id == id).and_then(invariant::turned);
    Ok(Ended { end, called, reached: told.iter().flat_map(|saga| reached(sim, saga)).collect(), turned })
}

fn said(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "it panicked".to_owned())
}

/// What of the saga's definition the run has come to, by name.
fn reached(sim: &Sim, saga: &Told) -> Vec<String> {
    let state = sim.locked();
    let label =
        |step: &str| state.label(&saga.summary.header.definition, step.split_once('[').map_or(step, |(of, _)| of));
    let name = |record: &Record| match record {
        Record::Begun { step, op: Op::Run, .. } | Record::Done { step, .. } | Record::Delegated { step, .. } => {
            Some(label(step.as_str()))
        }
        Record::Begun { step, op: Op::Compensate, .. } | Record::Recalled { step } => {
            Some(format!("undo of {}", label(step.as_str())))
        }
        _ => None,
    };
    saga.records().filter_map(name).collect()
}
