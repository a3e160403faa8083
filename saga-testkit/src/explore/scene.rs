//! What a run begins with.

use std::fmt;

use saga_core::engine::EngineBuilder;
use saga_core::{Checkpoint, CheckpointError, Definition, Payload};

type Configure = Box<dyn Fn(EngineBuilder) -> EngineBuilder + Send + Sync>;

/// What a run begins with: a definition whose steps work on fresh fakes, its input, and what the saga is told
/// on its way. Every run has a scene of its own.
///
/// `K` is what the scene keeps for the test's own invariant: the fakes, as a rule.
pub struct Scene<K, I, O> {
    pub(crate) definition: Definition<I, O>,
    pub(crate) input: I,
    pub(crate) kept: K,
    pub(crate) signals: Vec<(String, Result<Payload, CheckpointError>)>,
    pub(crate) configure: Configure,
}

impl<I, O> Scene<(), I, O> {
    /// A saga of this definition with this input.
    #[must_use]
    pub fn new(definition: Definition<I, O>, input: I) -> Self {
        Self { definition, input, kept: (), signals: Vec::new(), configure: Box::new(|engine| engine) }
    }
}

impl<K, I, O> Scene<K, I, O> {
    /// Keeps this for the test's own invariant.
    #[must_use]
    pub fn keep<L>(self, kept: L) -> Scene<L, I, O> {
        let Self { definition, input, signals, configure, .. } = self;
        Scene { definition, input, kept, signals, configure }
    }

    /// The saga is told this when it waits for it; and, on the schedule, before it starts, twice, too late, or
    /// never.
    #[must_use]
    pub fn signal<T: Checkpoint>(mut self, name: &str, payload: &T) -> Self {
        self.signals.push((name.to_owned(), payload.encode()));
        self
    }

    /// Changes the engine: limits, dependencies, further definitions. Leases, polling and the publisher are the
    /// kit's own.
    #[must_use]
    pub fn engine(mut self, configure: impl Fn(EngineBuilder) -> EngineBuilder + Send + Sync + 'static) -> Self {
        self.configure = Box::new(configure);
        self
    }
}

impl<K, I, O> fmt::Debug for Scene<K, I, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scene").field("definition", &self.definition).finish_non_exhaustive()
    }
}
