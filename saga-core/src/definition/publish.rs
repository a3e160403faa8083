//! Events: what a saga tells the world, through the outbox.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::bound::Pure;
use super::builder::{SagaBuilder, StepHandle};
use super::plan::Kind;
use super::source::Source;
use crate::checkpoint::Checkpoint;

/// Marks the handle of a published event.
#[derive(Debug)]
pub enum Publish {}

/// An event to publish, see [`SagaBuilder::publish`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event<T> {
    /// What it is about: brokers route by it.
    pub topic: String,
    /// What goes with it beside the payload.
    pub headers: BTreeMap<String, String>,
    /// What it says.
    pub payload: T,
}

impl<T> Event<T> {
    /// An event about `topic`, without headers.
    #[must_use]
    pub fn new(topic: impl Into<String>, payload: T) -> Self {
        Self { topic: topic.into(), headers: BTreeMap::new(), payload }
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.insert(name.into(), value.into());
        self
    }
}

impl<'id> SagaBuilder<'id> {
    /// Publishes an event: it is written to the outbox together with the checkpoint of this step, and a
    /// worker hands it to its [`EventPublisher`](crate::publish::EventPublisher) right after that commit.
    /// It is published at least once, under one id however often, after the saga's earlier events. An
    /// event before the point of no return is published although the saga may turn back later.
    ///
    /// ```
    /// use saga_core::{step_fn, Definition, Event, Source};
    ///
    /// let definition = Definition::build("greet", 1, |saga, name| {
    ///     let hello = saga.query("hello", step_fn(async |_cx, name: String| Ok(format!("hello {name}"))), name);
    ///     saga.publish("greeted", hello.map(|text: String| Event::new("greetings", text).header("tenant", "acme")));
    ///     saga.returns(hello)
    /// })?;
    /// # Ok::<(), saga_core::BuildError>(())
    /// ```
    pub fn publish<T, I>(&self, name: &str, event: I) -> StepHandle<'id, (), Publish>
    where
        T: Checkpoint,
        I: Source<'id, Value = Event<T>>,
    {
        let encoded = event.map(|Event { topic, headers, payload }: Event<T>| {
            payload.encode().map(|payload| Event { topic, headers, payload })
        });
        self.declare(name, Kind::Publish, encoded, |event| Arc::new(Pure::Publish(event)))
    }
}
