//! A deterministic simulation: many workers on one journal, everything goes wrong at once, and all of it follows
//! from one seed.
//!
//! Where [`explore`](mod@crate::explore) tries out everything that can go wrong with one saga and one worker, this
//! throws dice: two to four engines as they run in production, on one journal in memory, on virtual time, with
//!
//! * calls to the journal that take their time, or longer than a lease; that are lost; whose answer is lost, most of
//!   all that of a claim; that are carried out twice; that are given up, and arrive seconds later all the same;
//! * workers that are killed, between any two calls and in the midst of any step; frozen past their lease, and
//!   thawed; stopped, and started again;
//! * leases that end sooner than their worker thinks, and clocks that jump back. (Clocks that run ahead are not
//!   there: an engine asks no wall clock, only the journal's answers and the time that has passed since.)
//! * steps that fail in all the ways of a [`Fate`](crate::Fate), and a broker that does so more often still;
//! * humans who answer dead letters in the midst of it;
//! * signals that come before their saga, twice, late; starts under one key by two at a time.
//!
//! Then nothing goes wrong any more, a human answers the dead letters, and all sagas must come to their end. What
//! is left is checked by [`saga_core::verify`] and by the kit's own invariants, over the histories, the effects in
//! the [`World`] and the events at the broker.
//!
//! The same seed makes the same run, to the microsecond: [`Swarm::run`] tells its story.
//!
//! ```
//! use saga_core::Definition;
//! use saga_testkit::World;
//! use saga_testkit::random::Honest;
//! use saga_testkit::swarm::{Stage, Swarm};
//!
//! let swarm = Swarm::new(|world: &World, _seed: u64| {
//!     let transfer = Definition::build("transfer", 1, |saga, cents| {
//!         let debited = saga.compensatable("debit", Honest::new(world, "debited"), cents);
//!         let credited = saga.pivot("credit", Honest::new(world, "credited"), debited);
//!         saga.returns(credited)
//!     });
//!     let transfer = transfer.unwrap();
//!     Stage::new().start(&transfer, "t1", 100).start(&transfer, "t2", 200)
//! });
//! for seed in 0..10 {
//!     let voyage = swarm.run(seed);
//!     assert!(voyage.problem.is_none(), "{voyage}");
//! }
//! ```

mod journal;
mod judge;
mod net;
mod play;
mod random;
mod stage;
mod tally;
mod weather;
mod worker;

use std::collections::BTreeMap;
use std::fmt;

pub use random::random_stage;
pub use stage::Stage;
pub use tally::Tally;

use crate::World;
use crate::invariant::Problem;

/// Runs stages that `set` makes, one for each seed.
#[derive(Clone)]
pub struct Swarm<F> {
    set: F,
}

/// Sets the stage: in this world, and with this seed for what is random about it.
pub type Set = fn(&World, u64) -> Stage;

impl Swarm<Set> {
    /// Random definitions, see [`random_stage`].
    #[must_use]
    pub fn random() -> Self {
        Self { set: random_stage }
    }
}

impl<F: Fn(&World, u64) -> Stage> Swarm<F> {
    /// Stages of your own.
    pub fn new(set: F) -> Self {
        Self { set }
    }

    /// Runs one seed, on a runtime of its own. Call it outside of an async test.
    ///
    /// # Panics
    /// When the stage does.
    pub fn run(&self, seed: u64) -> Voyage {
        // Time alone: nothing waits for a socket, and nobody has to look whether one is ready.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let runtime = runtime.unwrap_or_else(|problem| panic!("no runtime for the simulation: {problem}"));
        runtime.block_on(Box::pin(play::play(&self.set, seed)))
    }
}

impl<F> fmt::Debug for Swarm<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Swarm")
    }
}

/// What came of one seed.
#[derive(Clone, Debug)]
pub struct Voyage {
    /// The seed.
    pub seed: u64,
    /// How often each fault fired.
    pub fired: BTreeMap<String, u64>,
    /// How often each thing was seen to happen.
    pub seen: BTreeMap<&'static str, u64>,
    /// How many calls to the journal there were.
    pub calls: u64,
    /// All that happened, in words.
    pub story: Vec<String>,
    /// What is wrong, if something is.
    pub problem: Option<Problem>,
}

impl Voyage {
    /// A fingerprint of all that happened, in its order and at its time.
    #[must_use]
    pub fn digest(&self) -> u64 {
        // FNV-1a: the same on every machine.
        let bytes = self.story.iter().flat_map(|line| line.bytes().chain([b'\n']));
        bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
    }
}

impl fmt::Display for Voyage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.story {
            writeln!(f, "{line}")?;
        }
        match &self.problem {
            Some(problem) => write!(f, "seed {}: {problem}", self.seed),
            None => write!(f, "seed {}: all is well", self.seed),
        }
    }
}
