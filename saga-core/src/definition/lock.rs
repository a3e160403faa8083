//! Entity locks: no two sagas at a time work on the same order, cart or payment group.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::bound::Pure;
use super::builder::{SagaBuilder, StepHandle};
use super::plan::Kind;
use super::source::Source;

/// Marks the handle of entity locks.
#[derive(Debug)]
pub enum Lock {}

/// The entities that a saga has locked, each with its fencing token.
///
/// A token is higher than that of every saga which had the entity before. A store that remembers the
/// highest one seen can refuse a step that comes from a saga whose locks have long been given up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Locks(BTreeMap<String, u64>);

impl Locks {
    /// The fencing token of this entity; none when it is not locked.
    #[must_use]
    pub fn token(&self, key: &str) -> Option<u64> {
        self.0.get(key).copied()
    }

    /// The entities and their tokens, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().map(|(key, token)| (key.as_str(), *token))
    }
}

impl From<BTreeMap<String, u64>> for Locks {
    fn from(tokens: BTreeMap<String, u64>) -> Self {
        Self(tokens)
    }
}

impl<'id> SagaBuilder<'id> {
    /// Locks entities for the saga, all of them or none, and waits for them at most this long: a step that
    /// fails, and turns the saga back, when others have them for longer. Waiting sagas are parked, and
    /// served in the order in which they came.
    ///
    /// The locks are the saga's, whatever worker runs it. They have no time to live: they are given up with
    /// the turn that ends the saga (or rolls it back), and kept while it waits for a human. A definition
    /// has one such step at most, which is why sagas cannot wait for each other in a circle. A child saga
    /// that asks for what its parent has waits until its own time-out.
    ///
    /// ```
    /// use std::time::Duration;
    /// use saga_core::{step_fn, Definition, Locks, Source};
    ///
    /// let definition = Definition::build("rename", 1, |saga, order| {
    ///     let keys = order.map(|order: String| vec![format!("order:{order}")]);
    ///     let locks = saga.lock("order", keys, Duration::from_secs(30));
    ///     let rename = step_fn(async |_cx, (order, locks): (String, Locks)| Ok(locks.token(&format!("order:{order}"))));
    ///     let renamed = saga.query("rename", rename, (order, locks));
    ///     saga.returns(renamed)
    /// })?;
    /// # Ok::<(), saga_core::BuildError>(())
    /// ```
    pub fn lock<I>(&self, name: &str, keys: I, at_most: Duration) -> StepHandle<'id, Locks, Lock>
    where
        I: Source<'id, Value = Vec<String>>,
    {
        self.declare(name, Kind::Lock, keys, |keys| Arc::new(Pure::Lock { keys, at_most }))
    }
}
