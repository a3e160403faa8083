//! The stages of a chore: commands with a heading, a time, and a table of all at the end.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::failure::Failure;

/// What has been done so far. The table is printed when it goes, also after a failure.
#[derive(Default)]
pub(crate) struct Stages {
    rows: Vec<(&'static str, Ended)>,
}

enum Ended {
    Passed(Duration),
    Failed(Duration),
    LeftOut(&'static str),
}

impl Stages {
    /// Runs the command, its output streaming through.
    pub(crate) fn run(&mut self, stage: &'static str, command: &mut Command) -> Result<(), Failure> {
        println!("\n==> {stage}");
        let began = Instant::now();
        let status = command.status().map_err(|source| Failure::NotStarted { stage, source })?;
        self.ended(stage, status, began.elapsed())
    }

    /// Runs the command, and hands on each line that it prints, which streams through as well.
    pub(crate) fn read(
        &mut self,
        stage: &'static str,
        command: &mut Command,
        mut line: impl FnMut(&str),
    ) -> Result<(), Failure> {
        println!("\n==> {stage}");
        let began = Instant::now();
        let not_started = |source| Failure::NotStarted { stage, source };
        let mut child = command.stdout(Stdio::piped()).spawn().map_err(not_started)?;
        for read in child.stdout.take().into_iter().flat_map(|out| BufReader::new(out).lines()) {
            let read = read.map_err(not_started)?;
            println!("{read}");
            line(&read);
        }
        let status = child.wait().map_err(not_started)?;
        self.ended(stage, status, began.elapsed())
    }

    fn ended(&mut self, stage: &'static str, status: ExitStatus, took: Duration) -> Result<(), Failure> {
        if status.success() {
            self.rows.push((stage, Ended::Passed(took)));
            return Ok(());
        }
        self.rows.push((stage, Ended::Failed(took)));
        Err(Failure::Stage { stage, status })
    }

    /// Says that a stage is left out, and why.
    pub(crate) fn leave_out(&mut self, stage: &'static str, why: &'static str) {
        println!("\n==> {stage}: left out, {why}");
        self.rows.push((stage, Ended::LeftOut(why)));
    }
}

impl Drop for Stages {
    fn drop(&mut self) {
        println!("\n==> summary");
        for (stage, ended) in &self.rows {
            match ended {
                Ended::Passed(took) => println!("  passed   {:7.1} s  {stage}", took.as_secs_f64()),
                Ended::Failed(took) => println!("  FAILED   {:7.1} s  {stage}", took.as_secs_f64()),
                Ended::LeftOut(why) => println!("  left out            {stage} ({why})"),
            }
        }
    }
}

/// `cargo`, as this process was started by.
pub(crate) fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}
