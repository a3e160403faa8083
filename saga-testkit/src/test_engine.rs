//! An engine for unit tests: it stands still where it is told to, crashes, and lets time fly.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use saga_core::engine::{EngineBuilder, Resolution, Signalled, StartError};
use saga_core::journal::Journal as _;
use saga_core::machine::{Record, decode_turn};
use saga_core::{Checkpoint, Definition, Engine, SagaId, SagaOutcome};

use crate::World;
use crate::sim::{Cast, Fate, Life, Point, Schedule, Sim, Stop, tell_records};

/// When nothing is written for so long, nothing will be.
const QUIET: Duration = Duration::from_secs(400 * 24 * 60 * 60);

/// What is under way has come to its end by then.
const A_MOMENT: Duration = Duration::from_millis(1);

type Configure = Arc<dyn Fn(EngineBuilder) -> EngineBuilder + Send + Sync>;

/// An engine on a journal in memory, for a test that runs on tokio's paused time. Sagas are known by their
/// start keys.
///
/// It stands still between calls: nothing is written, so that a test looks around, and crashes it, where it
/// wants to. [`TestEngine::run_until`], [`TestEngine::outcome`] and [`TestEngine::advance`] let it go on.
/// Nothing sleeps: days of waiting pass at once.
///
/// ```
/// use std::time::Duration;
/// use saga_core::{Definition, SagaOutcome, step_fn};
/// use saga_testkit::{Stop, TestEngine};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() {
/// let definition = Definition::build("two", 1, |saga, n| {
///     let a = saga.query("a", step_fn(async |_, n: i64| Ok(n + 1)), n);
///     saga.sleep("overnight", a.map(|_| Duration::from_secs(8 * 60 * 60)));
///     let b = saga.query("b", step_fn(async |_, n: i64| Ok(n + 1)), a);
///     saga.returns(b)
/// })
/// .unwrap();
/// # use saga_core::Source as _;
///
/// let mut test = TestEngine::new(&definition).await;
/// test.start("k", 1).await;
/// test.run_until(Stop::done("a")).await;
/// test.crash().await;
/// assert_eq!(test.outcome("k").await, SagaOutcome::Completed(3));
/// assert_eq!(test.history("k").await.last().unwrap(), "b done; the saga is completed");
/// # }
/// ```
pub struct TestEngine<I, O> {
    world: World,
    definition: Definition<I, O>,
    configure: Configure,
    /// Starts sagas and sends signals, as another process would.
    client: Engine,
    life: Option<Life>,
}

impl<I: Checkpoint + Clone, O: Send + 'static> TestEngine<I, O> {
    /// An engine that runs this definition.
    ///
    /// # Panics
    /// When time is not paused: write `#[tokio::test(start_paused = true)]`.
    pub async fn new(definition: &Definition<I, O>) -> Self {
        Self::within(&World::new(), definition, |engine| engine).await
    }

    /// The same in the world that the definition's fakes write into, with an engine as `configure` makes it.
    ///
    /// # Panics
    /// When time is not paused, or the engine does not open.
    pub async fn within(
        world: &World,
        definition: &Definition<I, O>,
        configure: impl Fn(EngineBuilder) -> EngineBuilder + Send + Sync + 'static,
    ) -> Self {
        // It says so itself when time is not paused.
        tokio::time::advance(Duration::ZERO).await;
        let (world, definition) = (world.clone(), definition.clone());
        world.sim.cast(Cast { definition: definition.name().to_owned(), plan: definition.plan().clone() });
        world.sim.gate.close();
        let client = Life::outside(&world.sim, |engine| configure(engine.register(&definition))).await;
        let client = client.unwrap_or_else(|problem| panic!("the engine does not open: {problem}"));
        let mut engine = Self { world, definition, configure: Arc::new(configure), client, life: None };
        engine.begin().await;
        engine
    }

    /// Has this go wrong, written as in a seed: `run:capture#1=refused`, or several, with commas.
    ///
    /// # Panics
    /// When the text is no part of a schedule.
    pub fn go_wrong(&self, what: &str) {
        let schedule: Schedule = match format!("v1:{what}").parse() {
            Ok(schedule) => schedule,
            Err(problem) => panic!("{problem}"),
        };
        schedule.iter().for_each(|(point, fate)| self.fail(point.clone(), fate));
    }

    /// Has this go wrong.
    pub fn fail(&self, point: Point, fate: Fate) {
        self.sim().plan(point, fate);
    }

    /// Starts a saga, as another process would. When this returns it is durable, and nothing of it has begun.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start(&self, key: &str, input: I) {
        if let Err(problem) = self.try_start(key, input).await {
            panic!("{key} does not start: {problem}");
        }
    }

    /// As [`TestEngine::start`], for starts that are to be refused.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn try_start(&self, key: &str, input: I) -> Result<(), StartError> {
        self.client.start(&self.definition, key, input).await.map(drop)
    }

    /// Lets everything go on as far as this place. When this returns it is reached, and everything stands still.
    ///
    /// # Panics
    /// When it is never reached: with the story so far.
    pub async fn run_until(&mut self, stop: Stop) {
        let sim = self.sim().clone();
        sim.gate.open(Some(stop.clone()));
        loop {
            tokio::select! {
                biased;
                () = sim.gate.reached() => return,
                () = self.crashed() => {}
                () = tokio::time::sleep(QUIET) => panic!("{stop:?} was never reached:\n{}", self.story().join("\n")),
            }
            self.restart().await;
        }
    }

    /// Lets one write through, if there is one to be made: an attempt that is under way, or due, comes to its end.
    pub async fn write_once(&mut self) {
        let sim = self.sim().clone();
        sim.gate.open(Some(Stop::next_write()));
        tokio::select! {
            biased;
            () = sim.gate.reached() => {}
            () = self.crashed() => self.restart().await,
            // Nothing is under way that could be written.
            () = tokio::time::sleep(A_MOMENT) => {}
        }
        sim.gate.close();
    }

    /// Ends the worker where it stands, and starts another one, which takes over.
    pub async fn crash(&mut self) {
        self.restart().await;
    }

    /// Lets everything go on until it is known what becomes of the saga.
    ///
    /// # Panics
    /// When there is no such saga, or nothing becomes of it: with the story so far.
    pub async fn outcome(&mut self, key: &str) -> SagaOutcome<O> {
        let sim = self.sim().clone();
        sim.gate.open(None);
        loop {
            if let Some(outcome) = self.outcome_now(key).await {
                sim.gate.close();
                return outcome;
            }
            let crashed = tokio::select! {
                biased;
                () = self.crashed() => true,
                () = sim.written.notified() => false,
                () = tokio::time::sleep(QUIET) => panic!("{key} does not end:\n{}", self.story().join("\n")),
            };
            if crashed {
                self.restart().await;
            }
        }
    }

    /// What has become of the saga so far; none while it is under way.
    ///
    /// # Panics
    /// When there is no such saga.
    pub async fn outcome_now(&self, key: &str) -> Option<SagaOutcome<O>> {
        let handle = self.client.handle(&self.definition, self.id(key).await);
        handle.outcome_now().await.unwrap_or_else(|problem| panic!("{key}: {problem}"))
    }

    /// Lets everything go on for so long, on virtual time.
    pub async fn advance(&mut self, by: Duration) {
        let sim = self.sim().clone();
        sim.gate.open(None);
        let until = tokio::time::Instant::now() + by;
        loop {
            tokio::select! {
                biased;
                () = self.crashed() => {}
                () = tokio::time::sleep_until(until) => break,
            }
            self.restart().await;
        }
        sim.gate.close();
    }

    /// Tells the saga something. The saga takes it in when it goes on.
    ///
    /// # Panics
    /// When it cannot be sent.
    pub async fn signal<T: Checkpoint>(&self, key: &str, signal: &str, payload: &T, message_id: &str) -> Signalled {
        let sent = self.client.signal(self.definition.name(), key, signal, payload, message_id).await;
        sent.unwrap_or_else(|problem| panic!("{signal}: {problem}"))
    }

    /// Answers a dead letter, as an operator does.
    ///
    /// # Panics
    /// When the answer is refused.
    pub async fn resolve(&self, key: &str, step: &str, resolution: Resolution) {
        self.sim().gate.open(None);
        let operator = self.engine().operator();
        let answer = operator.resolve(self.id(key).await, step, resolution, "test", "as the test says").await;
        self.sim().gate.close();
        if let Err(problem) = answer {
            panic!("{key}, {step}: {problem}");
        }
    }

    /// What the journal holds of the saga.
    ///
    /// # Panics
    /// When there is no such saga.
    pub async fn records(&self, key: &str) -> Vec<Vec<Record>> {
        let histories = self.sim().store.load(&[self.id(key).await]).await.unwrap_or_default();
        let turns = histories.into_iter().flat_map(|history| history.turns);
        turns.map(|turn| decode_turn(&turn.body).unwrap_or_default()).collect()
    }

    /// The same in words: a line for each turn.
    ///
    /// # Panics
    /// When there is no such saga.
    pub async fn history(&self, key: &str) -> Vec<String> {
        let label = |step: &str| step.to_owned();
        self.records(key).await.iter().map(|records| tell_records(&label, records)).collect()
    }

    /// All that happened, in words.
    #[must_use]
    pub fn story(&self) -> Vec<String> {
        self.sim().locked().tape.tell()
    }

    /// What the fakes write into.
    #[must_use]
    pub fn world(&self) -> &World {
        &self.world
    }

    /// The saga's id.
    ///
    /// # Panics
    /// When there is no such saga.
    pub async fn id(&self, key: &str) -> SagaId {
        let found = self.sim().store.find(self.definition.name(), key).await.ok().flatten();
        found.map_or_else(|| panic!("there is no saga {key}"), |saga| saga.header.id)
    }

    /// The engine of the present worker, for all that has no short cut here. What writes waits while
    /// everything stands still.
    ///
    /// # Panics
    /// Never between calls.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        match &self.life {
            Some(life) => &life.engine,
            None => panic!("the worker is between two lives"),
        }
    }

    fn sim(&self) -> &Arc<Sim> {
        &self.world.sim
    }

    async fn crashed(&self) {
        match &self.life {
            Some(life) => life.process.crashed().await,
            None => std::future::pending().await,
        }
    }

    async fn restart(&mut self) {
        if let Some(life) = self.life.take() {
            life.crash(&self.world.sim).await;
        }
        self.begin().await;
    }

    async fn begin(&mut self) {
        let (configure, definition) = (self.configure.clone(), &self.definition);
        match Life::begin(&self.world.sim, |engine| configure(engine.register(definition))).await {
            Ok(life) => self.life = Some(life),
            Err(problem) => panic!("the engine does not open: {problem}"),
        }
    }
}

impl<I, O> fmt::Debug for TestEngine<I, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestEngine").field("definition", &self.definition).finish_non_exhaustive()
    }
}
