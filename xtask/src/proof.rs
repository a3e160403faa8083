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
}

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
        stages.read("explorations of both checkouts", &mut command, |line| {
            let (runs, points) = explored(line).unwrap_or_default();
            self.explored_runs += runs;
            self.explored_points += points;
        })
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
        if self.bugs > 0 {
            counts.insert("seeded_bugs".to_owned(), json!(self.bugs));
            counts.insert("seeded_bugs_caught".to_owned(), json!(self.caught.len()));
        }
        if self.explored_runs > 0 {
            counts.insert("explored_runs".to_owned(), json!(self.explored_runs));
            counts.insert("explored_points".to_owned(), json!(self.explored_points));
            // One alone fails the exploration.
            counts.insert("unvisited_points".to_owned(), json!(0));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_read_from_what_tests_say() {
        assert_eq!(caught(".seeded bug M16 is caught by it"), Some("M16".to_owned()));
        assert_eq!(explored("test a ... explored 173 runs over 172 points: 1 completed"), Some((173, 172)));
        assert_eq!((caught("test a ... ok"), explored("test a ... ok")), (None, None));
    }
}
