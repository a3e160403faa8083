//! What really happened: the effects in the simulated world.

use std::collections::BTreeSet;

use saga_core::SagaId;

use super::Sim;
use super::interceptor::{CURRENT, Who};
use super::tape::Entry;

/// What a participant made of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// It carried it out.
    Now,
    /// It had carried it out before, under the same key: it did nothing.
    Before,
    /// The key was closed when what it stands for was undone: it did nothing.
    Closed,
}

/// An effect in the simulated world.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effect {
    /// The key that the participant knows it by.
    pub key: String,
    /// What it is.
    pub what: String,
    /// The saga whose attempt had it, when it was had in one.
    pub saga: Option<SagaId>,
    /// The step whose attempt had it, when it was had in one.
    pub step: Option<String>,
    /// Whether it stands, or has been undone.
    pub stands: bool,
}

/// All effects, in the order in which they happened.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    all: Vec<Effect>,
    closed: BTreeSet<String>,
}

impl Effects {
    pub(crate) fn all(&self) -> &[Effect] {
        &self.all
    }
}

impl Sim {
    pub(crate) fn apply(&self, key: &str, what: &str) -> Applied {
        let (saga, step) = CURRENT.try_with(|who: &Who| (who.saga, who.label.clone())).ok().unzip();
        let mut state = self.locked();
        if state.effects.closed.contains(key) {
            state.tape.add(Entry::new(format!("  {what}: refused, for it was undone before")));
            return Applied::Closed;
        }
        if state.effects.all.iter().any(|effect| effect.key == key && effect.stands) {
            state.tape.add(Entry::new(format!("  {what}: known, nothing happens twice")));
            return Applied::Before;
        }
        state.effects.all.push(Effect { key: key.to_owned(), what: what.to_owned(), saga, step, stands: true });
        state.tape.add(Entry::new(format!("  {what}")));
        Applied::Now
    }

    /// Undoes the effect; true when it stood. With `close`, what comes later under the key is refused.
    pub(crate) fn undo(&self, key: &str, close: bool) -> bool {
        let mut state = self.locked();
        if close {
            state.effects.closed.insert(key.to_owned());
        }
        let Some(effect) = state.effects.all.iter_mut().find(|effect| effect.key == key && effect.stands) else {
            return false;
        };
        effect.stands = false;
        let text = format!("  {}: undone", effect.what);
        state.tape.add(Entry::new(text));
        true
    }

    pub(crate) fn find_effect(&self, key: &str) -> Option<Effect> {
        self.locked().effects.all.iter().rev().find(|effect| effect.key == key).cloned()
    }
}
