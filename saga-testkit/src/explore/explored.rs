//! What an exploration came to.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use super::run::{End, Ran};
use crate::sim::{Fate, Point};

/// What an exploration came to. Nothing here is zero by accident: an exploration that came to nothing fails.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Explored {
    /// How many runs there were.
    pub runs: usize,
    /// The points at which something was made to go wrong, each with what it was.
    pub points: usize,
    /// Runs by how many things went wrong in them.
    pub runs_by_depth: BTreeMap<usize, usize>,
    /// How often each fate came about.
    pub fates: BTreeMap<Fate, usize>,
    /// Runs that were completed.
    pub completed: usize,
    /// Runs that were rolled back.
    pub rolled_back: usize,
    /// Runs in which a human was needed on the way.
    pub needed_a_human: usize,
    /// How many effects there were in the world, over all runs.
    pub effects: usize,
    /// How long it took.
    pub took: Duration,
    pub(crate) tried: BTreeSet<(Point, Fate)>,
    pub(crate) reached: BTreeSet<String>,
}

impl Explored {
    pub(crate) fn count(&mut self, ran: &Ran) {
        self.runs += 1;
        self.effects += ran.effects;
        *self.runs_by_depth.entry(ran.fired.len()).or_default() += 1;
        for (point, fate) in &ran.fired {
            *self.fates.entry(*fate).or_default() += 1;
            self.tried.insert((point.clone(), *fate));
        }
        self.points = self.tried.len();
        match ran.end {
            Some(End::Completed) => self.completed += 1,
            Some(End::RolledBack) => self.rolled_back += 1,
            Some(End::Attention) | None => {}
        }
        self.needed_a_human += usize::from(ran.called);
        self.reached.extend(ran.reached.iter().cloned());
    }

    /// The steps and compensations that some run came to, by name.
    #[must_use]
    pub fn reached(&self) -> &BTreeSet<String> {
        &self.reached
    }
}

impl fmt::Display for Explored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} runs over {} points: {} completed, {} rolled back, {} needed a human; {:.1} s",
            self.runs,
            self.points,
            self.completed,
            self.rolled_back,
            self.needed_a_human,
            self.took.as_secs_f64()
        )
    }
}
