//! What is proven without a fault campaign: that seeded bugs are caught, and that nothing which can go wrong with the
//! two checkouts was left untried.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use serde_json::{Map, Value, json};

use crate::failure::Failure;
use crate::stage::{Stages, cargo};

/// What was counted.
#[derive(Debug, Default)]
pub(crate) struct Proof {
    bugs: usize,
    caught: BTreeSet<String>,
    explored_runs: u64,
    explored_points: u64,
    /// Points that no run came to.
    unvisited_points: u64,
    /// Stages that failed without a count of their own.
    broken: u64,
}

/// What every file of counts has, also where nothing was counted.
const COUNTS: [&str; 9] = [
    "seeds",
    "explored_points",
    "unvisited_points",
    "worker_kills",
    "postgres_kills",
    "lost_commits",
    "violations",
    "seeded_bugs",
    "seeded_bugs_caught",
];

impl Proof {
    /// Builds each bug in, and sees to it that the tests find it.
    pub(crate) fn seeded(&mut self, stages: &mut Stages) -> Result<(), Failure> {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../reliability/seeded_bugs.md");
        let table = std::fs::read_to_string(&file).map_err(|source| no_counts(&file, source))?;
        let rows = table.lines().filter(|line| line.starts_with("| M"));
        self.bugs = rows.filter(|row| !row.contains("| does not apply |")).count();
        for (stage, package) in
            [("seeded bugs of the engine", "saga-testkit"), ("seeded bugs of the checkouts", "checkout-workflows")]
        {
            let mut command = cargo();
            command.args(["test", "--quiet", "-p", package, "--features", "seeded-bugs", "--test", "seeded_bugs"]);
            command.args(["caught", "--", "--nocapture"]);
            stages.read(stage, &mut command, |line| self.caught.extend(caught(line)))?;
        }
        match self.caught.len() {
            caught if caught == self.bugs => Ok(()),
            caught => Err(Failure::NotCaught { listed: self.bugs, caught }),
        }
    }

    /// Tries out everything that can go wrong with both checkouts: one thing, and when `deep` one more on the way
    /// back. A point that is not come to fails the exploration.
    pub(crate) fn explored(&mut self, stages: &mut Stages, deep: bool) -> Result<(), Failure> {
        let mut command = cargo();
        command.args(["test", "--quiet", "-p", "checkout-workflows", "--test", "explore_confirm"]);
        command.args(["--test", "explore_initiate", "--", "--nocapture"]);
        if deep {
            command.env("SAGA_EXPLORE", "deep");
        }
        let explored = stages.read("explorations of both checkouts", &mut command, |line| {
            let (runs, points) = explored(line).unwrap_or_default();
            self.explored_runs += runs;
            self.explored_points += points;
            self.unvisited_points += unvisited(line);
        });
        self.broken += u64::from(explored.is_err());
        explored
    }

    /// Adds what was counted to the counts in the file, if there are any.
    pub(crate) fn write(&self, file: &Path) -> Result<(), Failure> {
        let told = match std::fs::read_to_string(file) {
            Ok(text) => text,
            Err(problem) if problem.kind() == io::ErrorKind::NotFound => "{}".to_owned(),
            Err(source) => return Err(no_counts(file, source)),
        };
        let not_counts = |source| Failure::NotCounts { file: file.display().to_string(), source };
        let mut counts: Map<String, Value> = serde_json::from_str(&told).map_err(not_counts)?;
        for count in COUNTS {
            counts.entry(count).or_insert_with(|| json!(0));
        }
        let mut own = |class: &str, own: &[(&str, u64)]| {
            let mut of_class: Map<String, Value> = COUNTS.iter().map(|count| ((*count).to_owned(), json!(0))).collect();
            for (count, times) in own {
                let so_far = counts.get(*count).and_then(Value::as_u64).unwrap_or(0);
                counts.insert((*count).to_owned(), json!(so_far + times));
                of_class.insert((*count).to_owned(), json!(times));
            }
            let classes = counts.entry("classes").or_insert_with(|| json!({}));
            classes[class] = Value::Object(of_class);
        };
        if self.bugs > 0 {
            own("seeded", &[("seeded_bugs", self.bugs as u64), ("seeded_bugs_caught", self.caught.len() as u64)]);
        }
        if self.explored_runs > 0 || self.broken > 0 {
            let points = [("explored_points", self.explored_points), ("unvisited_points", self.unvisited_points)];
            own("explore", &[points[0], points[1], ("explored_runs", self.explored_runs), ("violations", self.broken)]);
        }
        std::fs::write(file, format!("{:#}\n", Value::Object(counts))).map_err(|source| no_counts(file, source))
    }
}

fn no_counts(file: &Path, source: io::Error) -> Failure {
    Failure::NoCounts { file: file.display().to_string(), source }
}

/// The bug of `seeded bug M1 is caught by …`.
fn caught(line: &str) -> Option<String> {
    let (_, rest) = line.split_once("seeded bug ")?;
    let (bug, _) = rest.split_once(" is caught by ")?;
    Some(bug.to_owned())
}

/// The numbers of `explored 173 runs over 172 points: …`.
fn explored(line: &str) -> Option<(u64, u64)> {
    let (_, rest) = line.split_once("explored ")?;
    let (runs, rest) = rest.split_once(" runs over ")?;
    let (points, _) = rest.split_once(" points")?;
    Some((runs.parse().ok()?, points.parse().ok()?))
}

/// How many are listed in `no run came to: a, b. Explore …`.
fn unvisited(line: &str) -> u64 {
    let Some((_, rest)) = line.split_once("no run came to: ") else { return 0 };
    let list = rest.split_once(". Explore").map_or(rest, |(list, _)| list);
    list.split(", ").count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_read_from_what_tests_say() {
        assert_eq!(caught(".seeded bug M16 is caught by it"), Some("M16".to_owned()));
        assert_eq!(explored("test a ... explored 173 runs over 172 points: 1 completed"), Some((173, 172)));
        assert_eq!(unvisited("no run came to: run a#1, undo of b#1. Explore another input as well"), 2);
        assert_eq!((caught("test a ... ok"), explored("test a ... ok")), (None, None));
    }
}
