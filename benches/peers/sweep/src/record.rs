//! Lines for a file of runs: what was counted, of whom, when and on which commit.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::engine::{Failure, Name};
use crate::judge::{Verdict, counts};
use crate::script::Schedule;
use crate::value_name;

/// Appends lines to one file, all of the same commit.
pub struct Records<'a> {
    file: &'a Path,
    commit: String,
}

impl<'a> Records<'a> {
    /// Asks for the commit now: the first line makes the work tree another one.
    pub fn new(file: &'a Path) -> Result<Self, Failure> {
        let asked = Command::new("git").args(["describe", "--always", "--dirty", "--abbrev=12"]).output()?;
        if !asked.status.success() {
            return Err(format!("git does not say which commit this is: {}", asked.status).into());
        }
        Ok(Self { file, commit: String::from_utf8(asked.stdout)?.trim().to_owned() })
    }

    /// A line for what an engine came to under a schedule.
    pub fn append(&self, schedule: Schedule, engine: Name, verdicts: &[Verdict]) -> Result<(), Failure> {
        let wrong = verdicts.iter().filter(|verdict| verdict.is_wrong());
        let line = json!({
            "at": chrono::Utc::now().to_rfc3339(),
            "commit": self.commit,
            "schedule": value_name(schedule),
            "engine": engine.label(),
            "runs": verdicts.len(),
            "missed": verdicts.iter().filter(|verdict| verdict.missed).count(),
            "seen": counts(verdicts).collect::<BTreeMap<_, _>>(),
            "wrong": wrong.map(|verdict| &verdict.told).collect::<Vec<_>>(),
        });
        let mut file = OpenOptions::new().create(true).append(true).open(self.file)?;
        writeln!(file, "{line}")?;
        Ok(())
    }
}
