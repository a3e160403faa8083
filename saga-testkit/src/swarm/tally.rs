//! What came of many seeds.

use std::collections::BTreeMap;

use super::Voyage;
use crate::invariant::Problem;

/// Each kind of fault that has to have fired among many seeds.
const FAULTS: [&str; 26] = [
    "lost calls",
    "lost answers",
    "repeated calls",
    "stragglers",
    "stalled calls",
    "crashes before a call",
    "crashes after a call",
    "clock jumps",
    "frozen workers",
    "killed workers",
    "stopped workers",
    "operators",
    "attempt refused",
    "attempt unsent",
    "attempt request-lost",
    "attempt answer-lost",
    "attempt timed-out",
    "attempt late",
    "attempt unknown-with-effect",
    "call crash-before",
    "call crash-after",
    "lost claims",
    "event unsent",
    "event answer-lost",
    "event crash-before",
    "event crash-after",
];
/// Each thing that has to have been seen.
const SEEN: [&str; 13] = [
    "completed",
    "rolled_back",
    "needs_attention",
    "interrupted",
    "children",
    "recalled",
    "locked",
    "signalled",
    "late_signals",
    "waited",
    "probed",
    "events",
    "taken_over",
];

/// What came of many seeds, in numbers.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// How many seeds.
    pub seeds: u64,
    /// How many calls to the journal.
    pub calls: u64,
    /// How often each fault fired.
    pub fired: BTreeMap<String, u64>,
    /// How often each thing was seen to happen.
    pub seen: BTreeMap<&'static str, u64>,
    /// What is wrong: the seed, and what was found.
    pub failed: Vec<(u64, Problem)>,
}

impl Tally {
    /// Counts a run.
    pub fn add(&mut self, voyage: &Voyage) {
        self.seeds += 1;
        self.calls += voyage.calls;
        voyage.fired.iter().for_each(|(fault, times)| *self.fired.entry(fault.clone()).or_default() += times);
        voyage.seen.iter().for_each(|(what, times)| *self.seen.entry(what).or_default() += times);
        self.failed.extend(voyage.problem.iter().map(|problem| (voyage.seed, problem.clone())));
    }

    /// What never happened, though many random seeds mean nothing without it.
    #[must_use]
    pub fn missing(&self) -> Vec<&'static str> {
        let never = |counts: u64| counts == 0;
        let fault = |fault: &&'static str| never(self.fired.get(*fault).copied().unwrap_or(0));
        let seen = |what: &&'static str| never(self.seen.get(*what).copied().unwrap_or(0));
        FAULTS.into_iter().filter(fault).chain(SEEN.into_iter().filter(seen)).collect()
    }
}
