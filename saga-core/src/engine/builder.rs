//! Options of an engine: each with its unit, its default and the reason for it.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::num::NonZeroUsize;
use std::sync::atomic::AtomicI64;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::alert::{Alert, LogAlert};
use super::archive::Archive;
use super::batch::Batcher;
use super::clock::JournalClock;
use super::dependency::{Dependencies, DependencyPolicy};
use super::error::OpenError;
use super::intercept::Interceptor;
use super::late::dead_letter;
use super::rooms::Rooms;
use super::schedule::{Every, Missed, Schedule};
use super::supervise::supervise;
use super::watch::Watchers;
use super::{Engine, Inner, incarnation, worker};
use crate::checkpoint::Checkpoint;
use crate::definition::{Blueprint, Definition, Kind};
use crate::id::SagaId;
use crate::journal::{Journal, NewSaga};
use crate::limits::Limits;
use crate::publish::EventPublisher;
use crate::retry::RetryPolicy;
use crate::seeded::seeded;
use crate::time::Timestamp;

/// Configures an [`Engine`]; made by [`Engine::builder`].
#[derive(Debug)]
pub struct EngineBuilder {
    journal: Arc<dyn Journal>,
    blueprints: Vec<Arc<Blueprint>>,
    options: Options,
    limits: Limits,
    schedules: Vec<Schedule>,
}

#[derive(Clone)]
pub(crate) struct Options {
    pub(crate) worker: Option<String>,
    pub(crate) lease_ttl: Duration,
    pub(crate) poll_interval: Duration,
    pub(crate) retention: Duration,
    pub(crate) housekeeping_interval: Duration,
    pub(crate) start_timeout: Duration,
    pub(crate) alert: Arc<dyn Alert>,
    pub(crate) dependencies: HashMap<Arc<str>, DependencyPolicy>,
    pub(crate) rooms: HashMap<Arc<str>, NonZeroUsize>,
    pub(crate) publisher: Option<Arc<dyn EventPublisher>>,
    pub(crate) publish_retry: RetryPolicy,
    pub(crate) archive: Option<Arc<dyn Archive>>,
    pub(crate) interceptors: Vec<Arc<dyn Interceptor>>,
    pub(crate) ids: Arc<dyn Fn() -> SagaId + Send + Sync>,
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("worker", &self.worker)
            .field("lease_ttl", &self.lease_ttl)
            .finish_non_exhaustive()
    }
}

impl EngineBuilder {
    pub(crate) fn new(journal: Arc<dyn Journal>) -> Self {
        Self {
            journal,
            blueprints: vec![dead_letter().clone()],
            options: Options {
                worker: Some("worker".to_owned()),
                lease_ttl: Duration::from_secs(15),
                poll_interval: Duration::from_millis(500),
                retention: Duration::from_secs(7 * 24 * 60 * 60),
                housekeeping_interval: Duration::from_secs(30),
                start_timeout: Duration::from_secs(10),
                alert: Arc::new(LogAlert),
                dependencies: HashMap::new(),
                rooms: HashMap::new(),
                publisher: None,
                publish_retry: RetryPolicy::patient(),
                archive: None,
                interceptors: Vec::new(),
                ids: Arc::new(SagaId::new),
            },
            limits: Limits::default(),
            schedules: Vec::new(),
        }
    }

    /// Makes the engine able to start and run this definition. Several versions of one definition
    /// may be registered side by side: sagas finish on the version that they started with. Keep an old
    /// version registered until none of its sagas is unfinished: a worker claims only what it has.
    #[must_use]
    pub fn register<I, O>(mut self, definition: &Definition<I, O>) -> Self {
        self.add(definition.blueprint());
        self
    }

    /// A definition, and all whose sagas its own start.
    fn add(&mut self, blueprint: &Arc<Blueprint>) {
        self.blueprints.push(blueprint.clone());
        blueprint.related.iter().for_each(|related| self.add(related));
    }

    /// Where the events of its sagas go. A worker with definitions that publish does not open without.
    #[must_use]
    pub fn publisher(mut self, publisher: impl EventPublisher) -> Self {
        self.options.publisher = Some(Arc::new(publisher));
        self
    }

    /// When an event that was not taken is tried again, and how often before it waits for a human. Default
    /// [`RetryPolicy::patient`].
    #[must_use]
    pub fn publish_retry(mut self, policy: RetryPolicy) -> Self {
        self.options.publish_retry = policy;
        self
    }

    /// What is given the histories of sagas that are past their retention, before they are deleted. What it
    /// does not take stays. Default: they are deleted.
    #[must_use]
    pub fn archive(mut self, archive: impl Archive) -> Self {
        self.options.archive = Some(Arc::new(archive));
        self
    }

    /// The most sagas of this definition, in all its versions, that this worker has in flight; others wait for
    /// their turn, parked. Default: as many as [`Limits::in_flight_max`] lets.
    #[must_use]
    pub fn at_once<I, O>(mut self, definition: &Definition<I, O>, sagas: NonZeroUsize) -> Self {
        self.options.rooms.insert(definition.blueprint().name.clone(), sagas);
        self
    }

    /// The worker's name in lease rows and logs; it need not be unique. Default `worker`.
    #[must_use]
    pub fn worker_name(mut self, name: impl Into<String>) -> Self {
        if self.options.worker.is_some() {
            self.options.worker = Some(name.into());
        }
        self
    }

    /// Starts and queries sagas, and runs none: workers elsewhere do.
    #[must_use]
    pub fn client_only(mut self) -> Self {
        self.options.worker = None;
        self
    }

    /// How long a worker's lease lasts without renewal: after a crash, its sagas stand still this
    /// long. It is renewed three times in that span. Default 15 s: outlasts a database fail-over or a
    /// long pause more often than not. At least 50 ms.
    #[must_use]
    pub fn lease_ttl(mut self, ttl: Duration) -> Self {
        self.options.lease_ttl = ttl.max(Duration::from_millis(50));
        self
    }

    /// How often the worker looks for sagas that others have left for it, when nothing wakes it.
    /// Default 500 ms. At least 1 ms. For events that gone workers have left it looks as often, and at most
    /// once a second.
    #[must_use]
    pub fn poll_interval(mut self, interval: Duration) -> Self {
        self.options.poll_interval = interval.max(Duration::from_millis(1));
        self
    }

    /// How long ended sagas are kept. Default seven days: starting again under an old key finds the
    /// old saga for this long.
    #[must_use]
    pub fn retention(mut self, retention: Duration) -> Self {
        self.options.retention = retention;
        self
    }

    /// How often the worker deletes what is past its retention and repeats alerts that were not
    /// acknowledged. Default 30 s.
    #[must_use]
    pub fn housekeeping_interval(mut self, interval: Duration) -> Self {
        self.options.housekeeping_interval = interval.max(Duration::from_millis(10));
        self
    }

    /// How long [`Engine::start`] and [`Engine::signal`] wait for a journal that does not answer. Default 10 s.
    #[must_use]
    pub fn start_timeout(mut self, timeout: Duration) -> Self {
        self.options.start_timeout = timeout;
        self
    }

    /// How this worker treats the service of this name, see
    /// [`StepHandle::calls`](crate::StepHandle::calls): a circuit breaker, a rate, a number of calls at a
    /// time, a budget for retries. Default: [`DependencyPolicy::default`], a budget for retries alone.
    #[must_use]
    pub fn dependency(mut self, name: &str, policy: DependencyPolicy) -> Self {
        self.options.dependencies.insert(name.into(), policy);
        self
    }

    /// Starts a saga of this definition at every tick, once over all workers: each worker reckons the same
    /// ticks, and starts them under the same keys, `name@time`. `input` makes a saga's input of its tick
    /// and must be pure, so that all workers start the same. A missed tick is known by the last saga of the
    /// schedule that is still kept.
    ///
    /// ```
    /// use std::time::Duration;
    /// use saga_core::engine::{Engine, Every, Missed};
    /// use saga_core::{Definition, Timestamp, journal::MemoryJournal, step_fn};
    ///
    /// # fn example() -> Result<(), saga_core::BuildError> {
    /// let sweep = Definition::build("recovery-sweep", 1, |saga, tick| {
    ///     let swept = saga.query("sweep", step_fn(async |_, tick: Timestamp| Ok(println!("{tick}"))), tick);
    ///     saga.returns(swept)
    /// })?;
    /// let half_hour = Every::interval(Duration::from_secs(30 * 60));
    /// let engine = Engine::builder(MemoryJournal::new())
    ///     .register(&sweep)
    ///     .schedule("half-hourly", &sweep, half_hour, Missed::RunOnce, |tick| tick);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn schedule<I: Checkpoint, O: Send + 'static>(
        mut self,
        name: &str,
        definition: &Definition<I, O>,
        every: Every,
        missed: Missed,
        input: impl Fn(Timestamp) -> I + Send + Sync + 'static,
    ) -> Self {
        self.schedules.push(Schedule::new(name, definition, every, missed, input));
        self
    }

    /// Where dead letters are reported, again and again until it returns `Ok`. Default: an error event of
    /// `tracing`, once. Without a subscriber nobody sees that: in production set this.
    #[must_use]
    pub fn on_alert(mut self, alert: impl Alert) -> Self {
        self.options.alert = Arc::new(alert);
        self
    }

    /// Puts this around every attempt that this worker makes, see [`Interceptor`]. Of several, the first one
    /// stands outermost. Default: none.
    #[must_use]
    pub fn interceptor(mut self, interceptor: impl Interceptor) -> Self {
        self.options.interceptors.push(Arc::new(interceptor));
        self
    }

    /// Where the ids of sagas that are started here come from: for simulations, of which a seed is to make the
    /// same again. They must not repeat. Default: [`SagaId::new`].
    #[must_use]
    pub fn saga_ids(mut self, ids: impl Fn() -> SagaId + Send + Sync + 'static) -> Self {
        self.options.ids = Arc::new(ids);
        self
    }

    /// The limits, see [`Limits`]. Change single fields: `let mut limits = Limits::default();
    /// limits.key_max_bytes = 100;`.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Opens the engine: stores the definitions that are new, refuses those that changed, and starts
    /// the worker. Call it within a tokio runtime.
    ///
    /// # Errors
    /// See [`OpenError`]; nothing runs then.
    pub async fn open(self) -> Result<Engine, OpenError> {
        let Self { journal, blueprints, options, limits, schedules } = self;
        check_publisher(&options, &blueprints)?;
        check_outlines(&*journal, &blueprints).await?;
        let blueprints = index(blueprints);
        let alive = CancellationToken::new();
        let starter = {
            let (journal, alive) = (journal.clone(), alive.clone());
            Batcher::spawn(limits.batch_max, move |sagas: Vec<NewSaga>| {
                let (journal, alive) = (journal.clone(), alive.clone());
                async move {
                    let started = incarnation::start(&*journal, None, &sagas, &alive);
                    // There is no incarnation to end: a start that gets no answer says so.
                    let answers = incarnation::unless_it_panics(started, &CancellationToken::new()).await;
                    (sagas, answers)
                }
            })
        };
        let inner = Arc::new(Inner {
            journal,
            starter,
            blueprints,
            clock: JournalClock::new(Timestamp::from_micros(0)),
            slots: Arc::new(Semaphore::new(limits.in_flight_max.clamp(1, Semaphore::MAX_PERMITS))),
            vacated: Notify::new(),
            rooms: Rooms::new(&options.rooms),
            incarnation: Mutex::new(None),
            watchers: Watchers::default(),
            dependencies: Dependencies::new(options.dependencies.clone()),
            alerts: Notify::new(),
            claims: Arc::default(),
            events: Notify::new(),
            relaying: tokio::sync::Mutex::new(()),
            hint: AtomicI64::new(i64::MAX),
            draining: alive.child_token(),
            aborting: alive.child_token(),
            alive: alive.clone(),
            drivers: TaskTracker::new(),
            loops: TaskTracker::new(),
            options,
            limits,
        });
        if let Some(name) = inner.options.worker.clone() {
            worker::begin(&inner, name).await?;
            for schedule in schedules {
                let tick = move |inner| schedule.clone().run(inner);
                inner.loops.spawn(supervise(inner.clone(), "schedule", tick));
            }
        }
        Ok(Engine { inner, _alive: Arc::new(alive.drop_guard()) })
    }
}

/// The definitions by name and version. Of one that is registered twice, for itself and as a child, the one that
/// seals its payloads stands.
fn index(blueprints: Vec<Arc<Blueprint>>) -> HashMap<Arc<str>, BTreeMap<u32, Arc<Blueprint>>> {
    let mut index: HashMap<_, BTreeMap<u32, Arc<Blueprint>>> = HashMap::new();
    for blueprint in blueprints {
        let versions = index.entry(blueprint.name.clone()).or_default();
        let known = versions.entry(blueprint.version).or_insert_with(|| blueprint.clone());
        if known.codec.is_none() {
            *known = blueprint;
        }
    }
    index
}

/// Events that nobody would ever publish are refused before anything runs.
fn check_publisher(options: &Options, blueprints: &[Arc<Blueprint>]) -> Result<(), OpenError> {
    let publishes = |blueprint: &&Arc<Blueprint>| blueprint.plan.steps().iter().any(|step| step.kind == Kind::Publish);
    if options.worker.is_none() || options.publisher.is_some() {
        return Ok(());
    }
    match blueprints.iter().find(publishes) {
        Some(blueprint) => Err(OpenError::NoPublisher { definition: blueprint.name.to_string() }),
        None => Ok(()),
    }
}

/// A changed definition under an old version is refused before anything runs.
async fn check_outlines(journal: &dyn Journal, blueprints: &[Arc<Blueprint>]) -> Result<(), OpenError> {
    for (nth, blueprint) in blueprints.iter().enumerate() {
        let same = |other: &&Arc<Blueprint>| other.name == blueprint.name && other.version == blueprint.version;
        if blueprints[..nth].iter().find(same).is_some_and(|other| other.outline != blueprint.outline) {
            return Err(OpenError::RegisteredTwice {
                definition: blueprint.name.to_string(),
                version: blueprint.version,
            });
        }
    }
    let outlines: Vec<_> = blueprints.iter().map(|blueprint| blueprint.outline.clone()).collect();
    for (ours, stored) in outlines.iter().zip(journal.register(&outlines).await?) {
        let diff = stored.diff(ours);
        if *ours != stored && !seeded("M24") {
            return Err(OpenError::ChangedDefinition {
                definition: ours.definition.clone(),
                version: ours.version,
                diff,
            });
        }
    }
    Ok(())
}
