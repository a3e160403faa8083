//! What a run begins with: definitions, the sagas that are started, and what they are told.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use saga_core::engine::{EngineBuilder, SignalError, Signalled, StartError};
use saga_core::journal::End;
use saga_core::{Checkpoint, Definition, Engine, SagaHandle, SagaOutcome};

use crate::sim::Cast;

type Register = Arc<dyn Fn(EngineBuilder) -> EngineBuilder + Send + Sync>;
/// What whoever started a saga is told in the end.
pub(super) type Ending = Pin<Box<dyn Future<Output = End> + Send>>;
type Asked<T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send>>;

/// What a run begins with. Every run has a stage of its own, with steps that work in the run's
/// [`World`](crate::World).
///
/// See [`swarm`](crate::swarm) for an example.
#[derive(Clone, Default)]
pub struct Stage {
    pub(super) register: Vec<Register>,
    pub(super) casts: Vec<Cast>,
    pub(super) starts: Vec<Start>,
    pub(super) signals: Vec<Signal>,
}

/// How long after an answer that is none somebody asks again.
const PATIENCE: Duration = Duration::from_secs(5);

/// A saga that somebody starts.
#[derive(Clone)]
pub(super) struct Start {
    pub(super) definition: String,
    pub(super) key: String,
    pub(super) ask: Arc<dyn Fn(Engine) -> Asked<Ending, StartError> + Send + Sync>,
}

/// A signal that somebody sends.
#[derive(Clone)]
pub(super) struct Signal {
    pub(super) definition: String,
    pub(super) key: String,
    pub(super) id: String,
    pub(super) ask: Arc<dyn Fn(Engine) -> Asked<Signalled, SignalError> + Send + Sync>,
}

/// Waits until the saga has ended, as whoever started it does.
async fn ending<O: Send + 'static>(saga: SagaHandle<O>) -> End {
    loop {
        match saga.outcome().await {
            Ok(SagaOutcome::Completed(_)) => return End::Completed,
            Ok(SagaOutcome::RolledBack(_)) => return End::RolledBack,
            // A human sees to it, or the journal is out of reach: it goes on regardless.
            Ok(_) | Err(_) => tokio::time::sleep(PATIENCE).await,
        }
    }
}

impl Stage {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Has the workers know this definition, and the checker its plan. [`Stage::start`] does so as well; a
    /// definition of which only children are started is to be named here.
    #[must_use]
    pub fn register<I: Checkpoint, O: Send + 'static>(mut self, definition: &Definition<I, O>) -> Self {
        if self.casts.iter().all(|cast| cast.definition != definition.name()) {
            self.casts.push(Cast { definition: definition.name().to_owned(), plan: definition.plan().clone() });
            let definition = definition.clone();
            self.register.push(Arc::new(move |engine| engine.register(&definition)));
        }
        self
    }

    /// A saga of this definition is started at some time, by some worker or by a client.
    #[must_use]
    pub fn start<I, O>(self, definition: &Definition<I, O>, key: &str, input: I) -> Self
    where
        I: Checkpoint + Clone,
        O: Send + 'static,
    {
        let mut stage = self.register(definition);
        let (definition, own) = (definition.clone(), key.to_owned());
        let name = definition.name().to_owned();
        let ask = Arc::new(move |engine: Engine| -> Asked<Ending, StartError> {
            let (definition, key, input) = (definition.clone(), own.clone(), input.clone());
            Box::pin(async move {
                let saga = engine.start(&definition, &key, input).await?;
                Ok(Box::pin(ending(saga)) as Ending)
            })
        });
        stage.starts.push(Start { definition: name, key: key.to_owned(), ask });
        stage
    }

    /// The saga of this definition name and key is told something at some time: before it is there, while it
    /// waits, or too late.
    #[must_use]
    pub fn signal<T>(mut self, definition: &str, key: &str, signal: &str, payload: T) -> Self
    where
        T: Checkpoint + Clone,
    {
        let id = format!("{signal}-{}", self.signals.len());
        let told = (definition.to_owned(), key.to_owned(), signal.to_owned(), id.clone());
        let ask = Arc::new(move |engine: Engine| -> Asked<Signalled, SignalError> {
            let ((definition, key, signal, id), payload) = (told.clone(), payload.clone());
            Box::pin(async move { engine.signal(&definition, &key, &signal, &payload, &id).await })
        });
        self.signals.push(Signal { definition: definition.to_owned(), key: key.to_owned(), id, ask });
        self
    }

    /// An engine that knows all definitions.
    pub(super) fn cast_in(&self, engine: EngineBuilder) -> EngineBuilder {
        self.register.iter().fold(engine, |engine, register| register(engine))
    }
}

impl fmt::Debug for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys: Vec<&str> = self.starts.iter().map(|start| start.key.as_str()).collect();
        f.debug_struct("Stage").field("starts", &keys).finish_non_exhaustive()
    }
}
