//! One stage of a chore: a command, its heading, its time.

use std::process::Command;
use std::time::Instant;

/// What has been done so far, for the summary.
#[derive(Default)]
pub(crate) struct Stages {
    done: Vec<(String, f64)>,
}

impl Stages {
    /// Runs the command, its output streaming through. Fails with the stage's name.
    pub(crate) fn run(&mut self, name: &str, command: &mut Command) -> Result<(), String> {
        println!("\n==> {name}");
        let began = Instant::now();
        let status = command.status().map_err(|error| format!("{name} did not start: {error}"))?;
        if !status.success() {
            return Err(format!("{name} failed ({status})"));
        }
        self.done.push((name.to_owned(), began.elapsed().as_secs_f64()));
        Ok(())
    }

    pub(crate) fn summary(&self) {
        println!("\nAll stages passed:");
        for (name, seconds) in &self.done {
            println!("  {seconds:7.1} s  {name}");
        }
    }
}

/// `cargo`, as this process was started by.
pub(crate) fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}
