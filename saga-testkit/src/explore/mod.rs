//! Everything that can go wrong with a saga, tried out one by one.

mod ending;
mod explored;
mod run;
mod scene;
mod search;
mod violation;

use std::collections::BTreeSet;
use std::fmt;
use std::future::{Ready, ready};
use std::time::Duration;

use saga_core::Checkpoint;

pub use ending::Ending;
pub use explored::Explored;
pub use scene::Scene;
pub use violation::{ExploreError, Violation};

use crate::World;
use crate::sim::{BadSeed, Foreign, Schedule};
use run::Plan;

/// How long a step may be busy with real I/O before virtual time passes on: long, for a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(10);

/// How many things go wrong in one run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Depth {
    /// One.
    Singles,
    /// One; and, in each run that turns back because of it, one more on the way back.
    #[default]
    RollBacks,
    /// All pairs. For small sagas, or for the night.
    Pairs,
}

/// Explores a saga: `scene` makes a fresh scene for each run, with fakes that write into the [`World`] which
/// it is given.
///
/// ```
/// use saga_core::{Definition, Outcome, StepContext, step_fn};
/// use saga_testkit::{Scene, World, explore};
///
/// let explored = explore(async |world: World| {
///     let (holds, releases) = (world.clone(), world.clone());
///     let definition = Definition::build("hold", 1, |saga, cents| {
///         let hold = step_fn(move |cx: StepContext, cents: i64| {
///             let world = holds.clone();
///             async move {
///                 world.apply(cx.key(), format!("{cents} held"));
///                 Ok(cents)
///             }
///         });
///         let hold = hold.compensate(move |cx, _cents, _outcome: Outcome<i64>| {
///             let world = releases.clone();
///             async move {
///                 world.undo(cx.step_key());
///                 Ok(())
///             }
///         });
///         let held = saga.compensatable("hold", hold, cents);
///         saga.returns(held)
///     });
///     Scene::new(definition.unwrap(), 25_000)
/// })
/// .run()
/// .unwrap();
/// assert!(explored.runs > 20 && explored.rolled_back > 0);
/// ```
pub fn explore<S, K, I, O>(scene: S) -> Explore<S, Unchecked<K, O>>
where
    S: AsyncFn(World) -> Scene<K, I, O>,
{
    Explore {
        scene,
        check: unchecked,
        depth: Depth::default(),
        foreign: Foreign::NONE,
        walks: 0,
        seed: 1,
        excused: BTreeSet::new(),
        elsewhere: false,
    }
}

/// No invariant of the test's own.
pub type Unchecked<K, O> = fn(&Ending<'_, K, O>) -> Ready<Result<(), String>>;

fn unchecked<K, O>(_: &Ending<'_, K, O>) -> Ready<Result<(), String>> {
    ready(Ok(()))
}

/// An exploration, made by [`explore`].
pub struct Explore<S, C> {
    scene: S,
    check: C,
    depth: Depth,
    foreign: Foreign,
    walks: u64,
    seed: u64,
    excused: BTreeSet<String>,
    elsewhere: bool,
}

impl<S, C> Explore<S, C> {
    /// What must hold at the end of every run, beside the kit's own invariants: over what the scene kept. It may
    /// also panic, with `assert!`.
    #[must_use]
    pub fn check<K, I, O, D>(self, check: D) -> Explore<S, D>
    where
        S: AsyncFn(World) -> Scene<K, I, O>,
        D: AsyncFn(&Ending<'_, K, O>) -> Result<(), String>,
    {
        let Self { scene, depth, foreign, walks, seed, excused, elsewhere, .. } = self;
        Explore { scene, check, depth, foreign, walks, seed, excused, elsewhere }
    }

    /// How many things go wrong in one run. Default [`Depth::RollBacks`].
    #[must_use]
    pub fn depth(mut self, depth: Depth) -> Self {
        self.depth = depth;
        self
    }

    /// The fakes do real I/O: an SQLite file, a socket. Virtual time then stands still while the user's code
    /// runs. Without this a time-out may strike while a thread outside is still at work.
    #[must_use]
    pub fn real_io(mut self) -> Self {
        self.foreign = Foreign::patient(PATIENCE);
        self
    }

    /// So many runs more, in which up to a dozen things go wrong by chance. The same `seed` makes the same runs.
    #[must_use]
    pub fn walks(mut self, runs: u64, seed: u64) -> Self {
        (self.walks, self.seed) = (runs, seed);
        self
    }

    /// No run can come to this step (or, as `undo of step`, to its compensation): say why. What is reached after
    /// all fails the exploration.
    #[must_use]
    pub fn unreached(mut self, what: &str, because: &str) -> Self {
        debug_assert!(!because.is_empty(), "say why");
        self.excused.insert(what.to_owned());
        self
    }

    /// The steps' effects are not written into the [`World`], but for example into a database: say where. Of those the
    /// kit knows nothing, and checks the histories: look at them in [`Explore::check`].
    #[must_use]
    pub fn effects_elsewhere(mut self, place: &str) -> Self {
        debug_assert!(!place.is_empty(), "say where");
        self.elsewhere = true;
        self
    }

    /// Tries everything out, on as many threads as there are processors, each run on a runtime of its own, on
    /// virtual time. Call it outside of an async test.
    ///
    /// # Errors
    /// The first violation, shrunk to what it takes; or what no run came to; or that nothing happened at all.
    ///
    /// # Panics
    /// When the scene does.
    pub fn run<K, I, O>(&self) -> Result<Explored, ExploreError>
    where
        S: AsyncFn(World) -> Scene<K, I, O> + Sync,
        C: AsyncFn(&Ending<'_, K, O>) -> Result<(), String> + Sync,
        I: Checkpoint + Clone,
        O: Send + 'static,
    {
        let (explored, steps) = (search::all(self)?, self.steps());
        search::unreached(&steps, &explored, &self.excused)?;
        if explored.effects == 0 && !self.elsewhere && search::has_effects(&steps) {
            return Err(ExploreError::NothingHappened);
        }
        Ok(explored)
    }

    /// Runs one schedule again, by its seed, and tells its story.
    ///
    /// # Errors
    /// The violation, when there is one.
    ///
    /// # Panics
    /// When the text is no seed, or the scene panics.
    pub fn replay<K, I, O>(&self, seed: &str) -> Result<Vec<String>, ExploreError>
    where
        S: AsyncFn(World) -> Scene<K, I, O>,
        C: AsyncFn(&Ending<'_, K, O>) -> Result<(), String>,
        I: Checkpoint + Clone,
        O: Send + 'static,
    {
        let schedule: Result<Schedule, BadSeed> = seed.parse();
        let schedule = schedule.unwrap_or_else(|problem| panic!("{problem}"));
        let ran = search::once(self, &Plan::Scheduled(schedule.clone()));
        search::sound(self, &schedule, &ran)?;
        Ok(ran.story)
    }

    /// Runs this schedule, and tells its story. What the run does not come to has no effect.
    ///
    /// # Errors
    /// The violation, when there is one.
    pub fn follow<K, I, O>(&self, schedule: &Schedule) -> Result<Vec<String>, ExploreError>
    where
        S: AsyncFn(World) -> Scene<K, I, O>,
        C: AsyncFn(&Ending<'_, K, O>) -> Result<(), String>,
        I: Checkpoint + Clone,
        O: Send + 'static,
    {
        let ran = search::once(self, &Plan::Scheduled(schedule.clone()));
        let came_about: Schedule = ran.fired.iter().cloned().collect();
        search::sound(self, &came_about, &ran)?;
        Ok(ran.story)
    }

    fn steps<K, I, O>(&self) -> saga_core::Plan
    where
        S: AsyncFn(World) -> Scene<K, I, O>,
    {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
        match runtime {
            Ok(runtime) => runtime.block_on(async {
                let scene = self.foreign.hold((self.scene)(World::new())).await;
                scene.definition.plan().clone()
            }),
            Err(error) => panic!("no runtime for the simulation: {error}"),
        }
    }
}

impl<S, C> fmt::Debug for Explore<S, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Explore").field("depth", &self.depth).field("walks", &self.walks).finish_non_exhaustive()
    }
}
