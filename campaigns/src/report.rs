//! What a run says: to people while it goes on, to programs, and to the ledger of runs.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use saga_core::verify::Violation;
use serde_json::{Value, json};

use crate::classes::Class;

/// What came of one run of a class.
#[derive(Clone, Debug)]
pub struct ClassReport {
    /// The class.
    pub class: Class,
    /// Its seed, or its first.
    pub seed: u64,
    /// How many seeds it ran.
    pub seeds: u64,
    /// How often each fault fired.
    pub fired: BTreeMap<String, u64>,
    /// How often each thing was seen to happen.
    pub seen: BTreeMap<String, u64>,
    /// What did not happen, though the run means nothing without it.
    pub trivial: Vec<String>,
    /// What is wrong.
    pub violations: Vec<Violation>,
    /// Where the evidence is kept, when something is.
    pub evidence: Option<PathBuf>,
    /// How long it took.
    pub seconds: f64,
}

impl ClassReport {
    /// An empty report.
    #[must_use]
    pub fn new(class: Class, seed: u64) -> Self {
        let (fired, seen) = (BTreeMap::new(), BTreeMap::new());
        let (trivial, violations) = (Vec::new(), Vec::new());
        Self { class, seed, seeds: 1, fired, seen, trivial, violations, evidence: None, seconds: 0.0 }
    }

    /// Whether nothing is wrong, and enough happened.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.trivial.is_empty() && self.violations.is_empty()
    }

    /// How often a fault fired.
    #[must_use]
    pub fn fired(&self, fault: &str) -> u64 {
        self.fired.get(fault).copied().unwrap_or(0)
    }

    fn sagas(&self) -> u64 {
        self.seen.get("sagas").copied().unwrap_or(0)
    }
}

impl std::fmt::Display for ClassReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let verdict = if self.passed() { "held" } else { "BROKEN" };
        write!(f, "{verdict} {} seed {} in {:.0} s:", self.class, self.seed, self.seconds)?;
        if self.seeds > 1 {
            write!(f, " seeds {},", self.seeds)?;
        }
        for (what, count) in self.fired.iter().chain(&self.seen) {
            write!(f, " {what} {count},")?;
        }
        write!(f, " violations {}", self.violations.len())?;
        for trivial in &self.trivial {
            write!(f, "\n  means nothing: {trivial}")?;
        }
        for violation in self.violations.iter().take(20) {
            write!(f, "\n  {violation}")?;
        }
        match &self.evidence {
            Some(path) => write!(f, "\n  evidence: {}", path.display()),
            None => Ok(()),
        }
    }
}

/// What came of all runs, in the form that other programs read.
#[must_use]
pub fn to_json(reports: &[ClassReport]) -> Value {
    let mut classes: BTreeMap<&str, Vec<&ClassReport>> = BTreeMap::new();
    for report in reports {
        classes.entry(report.class.id()).or_default().push(report);
    }
    let all: Vec<&ClassReport> = reports.iter().collect();
    let mut value = totals(&all);
    value["classes"] = classes.iter().map(|(class, runs)| ((*class).to_owned(), totals(runs))).collect();
    value
}

fn totals(runs: &[&ClassReport]) -> Value {
    let fired = |fault: &str| runs.iter().map(|run| run.fired(fault)).sum::<u64>();
    let mut faults: BTreeMap<&str, u64> = BTreeMap::new();
    let mut seen: BTreeMap<&str, u64> = BTreeMap::new();
    for run in runs {
        run.fired.iter().for_each(|(fault, count)| *faults.entry(fault).or_default() += count);
        run.seen.iter().for_each(|(what, count)| *seen.entry(what).or_default() += count);
    }
    json!({
        "seeds": runs.iter().map(|run| run.seeds).sum::<u64>(),
        "explored_points": 0,
        "unvisited_points": 0,
        "worker_kills": fired("worker_kills"),
        "postgres_kills": fired("postgres_kills"),
        "lost_commits": fired("lost_commits"),
        "violations": runs.iter().map(|run| run.violations.len()).sum::<usize>(),
        "meaningless_runs": runs.iter().filter(|run| !run.trivial.is_empty()).count(),
        "seeded_bugs": 0,
        "seeded_bugs_caught": 0,
        "faults": faults,
        "seen": seen,
        "seconds": runs.iter().map(|run| run.seconds).sum::<f64>(),
    })
}

/// One line for the ledger of runs: what may be claimed of this run, and no more.
#[must_use]
pub fn ledger_line(report: &ClassReport, commit: &str, at: &str) -> String {
    let violations = report.violations.iter().map(ToString::to_string).collect::<Vec<_>>();
    json!({
        "at": at,
        "commit": commit,
        "class": report.class.id(),
        "name": report.class.to_string(),
        "seed": report.seed,
        "seeds": report.seeds,
        "fired": report.fired,
        "seen": report.seen,
        "sagas": report.sagas(),
        "hours": (report.seconds / 36.0).round() / 100.0,
        "meaningless": report.trivial,
        "violations": violations,
    })
    .to_string()
}

/// Shows how far a run has come.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// Begins.
    #[must_use]
    pub fn new(class: Class, seed: u64) -> Self {
        let bar = ProgressBar::new_spinner().with_prefix(format!("{class} (seed {seed})"));
        if let Ok(style) = ProgressStyle::with_template("{spinner} {elapsed:>4} {prefix}: {msg}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(120));
        Self { bar }
    }

    /// Says what is being done.
    pub fn says(&self, what: &'static str) {
        self.bar.set_message(what);
    }

    /// Shows which faults have fired.
    pub fn fired(&self, fired: &BTreeMap<&'static str, u64>) {
        let mut text = String::new();
        for (fault, count) in fired {
            let _infallible = write!(text, "{fault} {count}  ");
        }
        self.bar.set_message(text);
    }

    /// Ends, with a line that stays.
    pub fn finish(&self, report: &ClassReport) {
        self.bar.finish_and_clear();
        println!("{report}");
    }
}
