//! The simulation: thousands of worlds, each from one seed, see [`saga_testkit::swarm`].

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use saga_core::verify::{Invariant as Promise, Violation};
use saga_testkit::swarm::{Swarm, Tally};
use saga_testkit::{Invariant, Problem};

use crate::classes::Class;
use crate::error::{CampaignError, io};
use crate::report::ClassReport;

/// How many seeds a quick run takes.
pub const SEEDS: u64 = 5_000;

/// Seeds that have failed once.
const FAILING: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../reliability/failing_seeds.txt");

/// Runs so many seeds, from this one on, after those that have failed before.
///
/// # Errors
/// When the list of failing seeds cannot be read or written.
pub fn run(first: u64, seeds: u64) -> Result<ClassReport, CampaignError> {
    let began = Instant::now();
    let known = failing()?;
    let all: Vec<u64> = known.iter().copied().chain(first..first + seeds).collect();
    let tally = parallel(&all, &bar(first, all.len() as u64));
    remember(&known, &tally.failed)?;
    let mut report = ClassReport::new(Class::Simulation, first);
    report.seeds = tally.seeds;
    report.trivial = tally.missing().iter().map(|what| format!("nothing was {what}")).collect();
    report.violations = tally.failed.iter().map(violation).collect();
    report.fired = tally.fired;
    report.seen = tally.seen.iter().map(|(what, times)| ((*what).to_owned(), *times)).collect();
    report.seen.insert("journal_calls".to_owned(), tally.calls);
    report.seconds = began.elapsed().as_secs_f64();
    println!("{report}");
    println!("  {:.0} seeds a second", tally.seeds as f64 / report.seconds);
    Ok(report)
}

/// Runs one seed, and tells its story. Whether all was well.
#[must_use]
pub fn tell(seed: u64) -> bool {
    // On a thread of its own: the simulation has a runtime of its own.
    let run = || {
        let voyage = Swarm::random().run(seed);
        println!("{voyage}");
        voyage.problem.is_none()
    };
    std::thread::scope(|scope| scope.spawn(run).join().unwrap_or(false))
}

fn parallel(seeds: &[u64], bar: &ProgressBar) -> Tally {
    let (next, tally) = (AtomicU64::new(0), Mutex::new(Tally::default()));
    let work = || {
        let swarm = Swarm::random();
        while let Some(seed) = usize::try_from(next.fetch_add(1, Ordering::Relaxed)).ok().and_then(|at| seeds.get(at)) {
            let voyage = swarm.run(*seed);
            tally.lock().unwrap_or_else(PoisonError::into_inner).add(&voyage);
            bar.inc(1);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    bar.finish_and_clear();
    tally.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn bar(first: u64, seeds: u64) -> ProgressBar {
    let bar = ProgressBar::new(seeds).with_prefix(format!("{} (from seed {first})", Class::Simulation));
    if let Ok(style) = ProgressStyle::with_template("{elapsed:>4} {prefix}: {wide_bar} {pos}/{len}, {per_sec}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(250));
    bar
}

fn failing() -> Result<Vec<u64>, CampaignError> {
    let text = std::fs::read_to_string(FAILING).map_err(io("reading the failing seeds"))?;
    Ok(text.lines().filter_map(|line| line.split('#').next()?.trim().parse().ok()).collect())
}

/// Writes down the seeds that have failed for the first time.
fn remember(known: &[u64], failed: &[(u64, Problem)]) -> Result<(), CampaignError> {
    let fresh: Vec<_> = failed.iter().filter(|(seed, _)| !known.contains(seed)).collect();
    if fresh.is_empty() {
        return Ok(());
    }
    let writing = io("writing down the failing seeds");
    let append = |path: &Path| -> std::io::Result<()> {
        let mut file = OpenOptions::new().append(true).open(path)?;
        fresh.iter().try_for_each(|(seed, problem)| writeln!(file, "{seed} # {problem}"))
    };
    append(Path::new(FAILING)).map_err(writing)
}

fn violation((seed, problem): &(u64, Problem)) -> Violation {
    let promise = match problem.invariant {
        Invariant::AllOrNothing => Promise::NetEffect,
        Invariant::Keys => Promise::Keys,
        Invariant::Direction => Promise::Direction,
        Invariant::ReverseOrder => Promise::UndoOrder,
        Invariant::Undone => Promise::UndoSet,
        Invariant::History => Promise::Automaton,
        Invariant::Locks => Promise::EntityLocks,
        Invariant::Signals => Promise::Signals,
        Invariant::Events => Promise::Outbox,
        Invariant::DeadLetters => Promise::DeadLetters,
        _ => Promise::Liveness,
    };
    Violation::new(promise, format!("seed {seed}: {problem}"))
}
