//! Tools of cargo that a chore needs and a machine need not have.

use std::process::Stdio;

use crate::failure::Failure;
use crate::stage::{Stages, cargo};

/// A subcommand of cargo that is installed by itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tool {
    /// What it is called as: `fuzz` of `cargo-fuzz`.
    pub(crate) command: &'static str,
    /// The crate that it is in.
    pub(crate) package: &'static str,
    /// What installing it is called.
    pub(crate) installing: &'static str,
}

impl Tool {
    /// Asked of cargo, which also looks where it installs to.
    pub(crate) fn is_installed(self) -> bool {
        let asked = cargo().args([self.command, "--version"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
        asked.is_ok_and(|status| status.success())
    }

    /// Installs it, unless it is there.
    pub(crate) fn install(self, stages: &mut Stages) -> Result<(), Failure> {
        if self.is_installed() {
            return Ok(());
        }
        stages.run(self.installing, cargo().args(["install", self.package, "--locked"]))
    }

    /// It is there, or is installed if it may be.
    pub(crate) fn require(self, install: bool, stages: &mut Stages) -> Result<(), Failure> {
        if install {
            self.install(stages)?;
        }
        if self.is_installed() { Ok(()) } else { Err(Failure::NoTool { package: self.package }) }
    }
}
