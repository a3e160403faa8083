#![doc = include_str!("engine.md")]

mod alert;
mod archive;
mod attempt;
mod batch;
mod breaker;
mod bucket;
mod builder;
mod check;
mod claims;
mod clock;
mod dependency;
mod drive;
mod error;
mod handle;
mod housekeeping;
mod incarnation;
mod intercept;
mod late;
mod mailbox;
mod operator;
mod place;
mod publishing;
mod relay;
mod rooms;
mod saga;
mod schedule;
mod send;
mod start;
mod supervise;
mod telemetry;
mod turn;
mod verify;
mod watch;
mod worker;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use tracing::warn;

pub use crate::machine::Resolution;
pub use alert::Alert;
pub use archive::Archive;
pub(crate) use attempt::panic_message;
pub use breaker::BreakerPolicy;
pub use builder::EngineBuilder;
pub use check::{CheckReport, Undecodable};
pub use dependency::{DependencyPolicy, RateLimit, RetryBudget};
pub use error::{EventError, HistoryError, OpenError, OperatorError, OutcomeError, SignalError, StartError};
pub use handle::{Failure, HistoryTurn, SagaHandle, SagaOutcome};
pub use intercept::{Answer, Call, Interceptor};
pub use operator::Operator;
#[cfg(feature = "cron")]
pub use schedule::BadCron;
pub use schedule::{Every, Missed};
pub use send::Signalled;
pub use start::prepare_start;
pub use verify::VerifyReport;

use self::batch::Batcher;
use self::builder::Options;
use self::claims::Claims;
use self::clock::JournalClock;
use self::incarnation::{Begun, Incarnation};
use self::rooms::Rooms;
use self::watch::Watchers;
use crate::checkpoint::Checkpoint;
use crate::definition::{Blueprint, Definition, Format, draw};
use crate::id::SagaId;
use crate::journal::{DeadLetter, Journal, JournalError, ListFilter, NewSaga, SagaSummary};
use crate::limits::Limits;
use crate::time::Timestamp;
use dependency::Dependencies;
use saga::At;

/// How long a worker that has been shut down, and whose grace is over, goes on trying to hand back what
/// it holds.
const CLOSING_MAX: Duration = Duration::from_secs(5);

/// Starts sagas, runs them, and answers for them. Cheap to clone.
///
/// Dropping the last clone without [`Engine::shutdown`] is a crash, and safe: other workers take
/// the sagas over once the lease has lapsed.
#[derive(Clone, Debug)]
pub struct Engine {
    inner: Arc<Inner>,
    /// Ends all tasks of the engine with its last clone.
    _alive: Arc<DropGuard>,
}

/// What the engine's tasks share.
#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) options: Options,
    pub(crate) limits: Limits,
    /// By name and version.
    pub(crate) blueprints: HashMap<Arc<str>, BTreeMap<u32, Arc<Blueprint>>>,
    pub(crate) clock: JournalClock,
    /// One permit for each saga in flight.
    pub(crate) slots: Arc<Semaphore>,
    /// A slot may be free, for a start that waits for one.
    pub(crate) vacated: Notify,
    /// What is left for sagas of definitions that have a limit of their own.
    pub(crate) rooms: Rooms,
    /// The lease that this worker holds, if it is a worker and holds one.
    incarnation: Mutex<Option<Arc<Incarnation>>>,
    pub(crate) watchers: Watchers,
    pub(crate) dependencies: Dependencies,
    /// Starts sagas that belong to no worker yet.
    pub(crate) starter: Batcher<NewSaga, Begun>,
    /// There may be dead letters to report.
    pub(crate) alerts: Notify,
    /// There may be sagas to claim, at the time of the hint at the latest.
    pub(crate) claims: Arc<Claims>,
    /// There may be events to publish.
    pub(crate) events: Notify,
    /// Held by whoever publishes them: one at a time.
    pub(crate) relaying: tokio::sync::Mutex<()>,
    hint: AtomicI64,
    /// Shut down: nothing new begins.
    pub(crate) draining: CancellationToken,
    /// Shut down, and the grace is over: attempts are dropped.
    pub(crate) aborting: CancellationToken,
    /// Cancelled with the engine's last clone.
    pub(crate) alive: CancellationToken,
    /// The drivers of sagas in flight.
    pub(crate) drivers: TaskTracker,
    /// The worker's own loops.
    pub(crate) loops: TaskTracker,
}

impl Engine {
    /// Configures an engine on this journal.
    pub fn builder(journal: impl Journal) -> EngineBuilder {
        EngineBuilder::new(Arc::new(journal))
    }

    /// Configures an engine on a journal that is shared.
    #[must_use]
    pub fn builder_shared(journal: Arc<dyn Journal>) -> EngineBuilder {
        EngineBuilder::new(journal)
    }

    /// Starts a saga, durably: once this has returned, the saga reaches an end as long as some worker
    /// runs. Starting again with the same key and input returns the same saga.
    ///
    /// The key is no secret: it stands in the journal as it is, whatever codec the definition has, and in the span
    /// `saga.run` (as `saga.key`) unless the definition's codec encrypts. Choose one without personal data: an
    /// order's id rather than an e-mail address.
    ///
    /// A worker runs the saga at once; when all its slots are taken ([`Limits::in_flight_max`]) it waits a quarter
    /// of a second for one, and then leaves the saga to whoever claims it. A client leaves it to workers.
    /// The saga that is found under an old key may run on another version of the definition; its handle then
    /// answers [`OutcomeError::OtherVersion`]. Ask with that version: [`Engine::find`] takes the definition.
    ///
    /// The future may be dropped: the saga is then started or not, and starting it again under the
    /// same key tells.
    ///
    /// # Errors
    /// See [`StartError`]; after [`StartError::Unavailable`] start again under the same key.
    pub async fn start<I: Checkpoint, O: Send + 'static>(
        &self,
        definition: &Definition<I, O>,
        key: &str,
        input: I,
    ) -> Result<SagaHandle<O>, StartError> {
        start::start(&self.inner, definition, key, input).await
    }

    /// Tells the saga of this definition and start key that something has happened, which its
    /// [`wait_for`](crate::SagaBuilder::wait_for) may be waiting for. From any process, also before the
    /// saga is there: the signal is kept until a step takes it. `message_id` marks it: the same id again
    /// is [`Signalled::Duplicate`], and comes once. One that comes too late, because the saga is over or no
    /// step takes it before that, is handed to the rule that the definition has for it
    /// ([`on_late_signal`](crate::SagaBuilder::on_late_signal)): it is never dropped.
    ///
    /// The payload is read as what the step waits for, when it takes the signal: what that step cannot read waits
    /// for a human. A key is not checked: the saga may be about to be started.
    ///
    /// ```
    /// # async fn example(engine: saga_core::Engine) -> Result<(), saga_core::engine::SignalError> {
    /// use saga_core::engine::Signalled;
    ///
    /// match engine.signal("order", "order-4711", "payment_succeeded", &25_000, "evt_1NG8Du2eZvKYlo2C").await? {
    ///     Signalled::Accepted | Signalled::Duplicate => {}
    ///     Signalled::Late { follow_up } => println!("too late: {follow_up} sees to it"),
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// See [`SignalError`]; after [`SignalError::Unavailable`] send it again under the same id.
    pub async fn signal<T: Checkpoint>(
        &self,
        definition: &str,
        key: &str,
        signal: &str,
        payload: &T,
        message_id: &str,
    ) -> Result<Signalled, SignalError> {
        send::signal(&self.inner, (definition, key), signal, payload, message_id).await
    }

    /// The saga that was started under this key, if there is one.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn find<I: Checkpoint, O: Send + 'static>(
        &self,
        definition: &Definition<I, O>,
        key: &str,
    ) -> Result<Option<SagaHandle<O>>, JournalError> {
        let found = self.inner.journal.find(definition.name(), key).await?;
        Ok(found.map(|summary| SagaHandle::of(self.inner.clone(), definition, summary.header.id)))
    }

    /// A handle on a saga by its id. It is not checked that the saga exists.
    #[must_use]
    pub fn handle<I: Checkpoint, O: Send + 'static>(
        &self,
        definition: &Definition<I, O>,
        saga: SagaId,
    ) -> SagaHandle<O> {
        SagaHandle::of(self.inner.clone(), definition, saga)
    }

    /// Where a saga stands.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn status(&self, saga: SagaId) -> Result<Option<SagaSummary>, JournalError> {
        self.inner.journal.summary(saga).await
    }

    /// Sagas that pass the filter, newest first, at most `limit`.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn list(&self, filter: &ListFilter, limit: usize) -> Result<Vec<SagaSummary>, JournalError> {
        self.inner.journal.list(filter, limit).await
    }

    /// A saga's history: what happened, when, and under which lease; none when there is no such saga. It
    /// takes no definition to read it. Sealed payloads are opened when the definition is registered here with a
    /// codec that can; otherwise they are shown as they stand.
    ///
    /// # Errors
    /// When the journal cannot be read, or the history was written by a newer version of this library.
    pub async fn history(&self, saga: SagaId) -> Result<Option<Vec<HistoryTurn>>, OutcomeError> {
        handle::history(&self.inner, saga).await
    }

    /// A picture of a registered definition; none when it is not registered.
    #[must_use]
    pub fn diagram(&self, definition: &str, version: u32, format: Format) -> Option<String> {
        self.inner.blueprint(definition, version).map(|blueprint| draw(blueprint, None, format))
    }

    /// A picture of a saga: its definition, each step coloured by where it stands.
    ///
    /// # Errors
    /// When there is no such saga, its definition is not registered, or its history cannot be read.
    pub async fn diagram_of(&self, saga: SagaId, format: Format) -> Result<String, OperatorError> {
        let (blueprint, known) = self.operator().load(saga).await?;
        Ok(draw(&blueprint, Some(known.state()), format))
    }

    /// Which unfinished sagas this binary can continue, which have a payload that it no longer decodes, and
    /// which need a definition that it does not have. It reads all that is unfinished, and runs no step: to
    /// be called by the new binary, as a client, before it is deployed.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn check(&self) -> Result<CheckReport, JournalError> {
        check::check(&self.inner).await
    }

    /// Checks what the journal says, of one saga or of all, against what is promised, by other means than the
    /// engine's own, see [`verify`](crate::verify). It reads every history, may run beside workers, and changes
    /// nothing.
    ///
    /// # Errors
    /// When the journal cannot be read. A history that cannot is a violation.
    pub async fn verify(&self, only: Option<SagaId>) -> Result<VerifyReport, JournalError> {
        verify::verify(&self.inner, only).await
    }

    /// Open dead letters, oldest first, at most `limit`.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn dead_letters(&self, limit: usize) -> Result<Vec<DeadLetter>, JournalError> {
        self.inner.journal.dead_letters(None, limit).await
    }

    /// What an operator can do.
    #[must_use]
    pub fn operator(&self) -> Operator {
        Operator::new(self.inner.clone())
    }

    /// How many sagas are in flight on this worker.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.inner.limits.in_flight_max.saturating_sub(self.inner.slots.available_permits())
    }

    /// Stops the worker: no new claims and no new operations at once; attempts that are under way get
    /// `grace` to finish and are dropped after it. Then all sagas are handed back, due at once for
    /// other workers, and the lease is released: a deploy costs no lease time-out.
    ///
    /// Clones of the engine answer [`StartError::Closed`] from then on.
    pub async fn shutdown(&self, grace: Duration) {
        let inner = &self.inner;
        inner.draining.cancel();
        inner.claims.wake();
        inner.drivers.close();
        if tokio::time::timeout(grace, inner.drivers.wait()).await.is_err() {
            inner.aborting.cancel();
        }
        inner.loops.close();
        // A journal that does not answer must not keep the process from ending: what could not be handed
        // back then waits until the lease lapses.
        if tokio::time::timeout(CLOSING_MAX, inner.loops.wait()).await.is_err() {
            warn!("the journal does not answer; closing without handing everything back");
        }
        inner.alive.cancel();
    }
}

impl Inner {
    /// What a saga is told when it is asked what comes next now.
    pub(crate) fn at(&self, begin: bool) -> At<'_> {
        At { now: self.clock.now(), begin, limits: &self.limits, dependencies: &self.dependencies }
    }

    /// The lease that this worker holds now.
    pub(crate) fn incarnation(&self) -> Option<Arc<Incarnation>> {
        self.incarnation.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_incarnation(&self, incarnation: Option<Arc<Incarnation>>) {
        *self.incarnation.lock().unwrap_or_else(PoisonError::into_inner) = incarnation;
    }

    pub(crate) fn blueprint(&self, definition: &str, version: u32) -> Option<&Arc<Blueprint>> {
        self.blueprints.get(definition)?.get(&version)
    }

    /// All versions of this definition that are registered.
    pub(crate) fn versions(&self, definition: &str) -> Option<&BTreeMap<u32, Arc<Blueprint>>> {
        self.blueprints.get(definition)
    }

    /// The newest version of this definition that is registered.
    pub(crate) fn newest(&self, definition: &str) -> Option<&Arc<Blueprint>> {
        self.versions(definition)?.values().next_back()
    }

    /// All that are registered.
    pub(crate) fn blueprints(&self) -> impl Iterator<Item = &Arc<Blueprint>> {
        self.blueprints.values().flat_map(BTreeMap::values)
    }

    /// A parked saga is due at this time: the claim loop should not sleep past it.
    pub(crate) fn due_hint(&self, at: Timestamp) {
        if self.hint.fetch_min(at.as_micros(), Ordering::AcqRel) > at.as_micros() {
            self.claims.wake();
        }
    }

    pub(crate) fn take_due_hint(&self) -> Option<Timestamp> {
        let hint = self.hint.swap(i64::MAX, Ordering::AcqRel);
        (hint != i64::MAX).then(|| Timestamp::from_micros(hint))
    }
}
