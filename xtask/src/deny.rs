//! The dependencies: licences, sources, bans, vulnerabilities, yanked versions.

use std::process::Stdio;

use crate::failure::Failure;
use crate::stage::{Stages, cargo};

pub(crate) fn run(install_tools: bool) -> Result<(), Failure> {
    let mut stages = Stages::default();
    if install_tools {
        install(&mut stages)?;
    }
    if !is_installed() {
        return Err(Failure::NoCargoDeny);
    }
    stages.run("licences, sources, bans", cargo().args(["deny", "check", "bans", "licenses", "sources"]))?;
    stages.run("advisories and yanked versions", cargo().args(["deny", "check", "advisories"]))
}

/// Asked of cargo, which also looks where it installs to.
pub(crate) fn is_installed() -> bool {
    let asked = cargo().args(["deny", "--version"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    asked.is_ok_and(|status| status.success())
}

pub(crate) fn install(stages: &mut Stages) -> Result<(), Failure> {
    if is_installed() {
        return Ok(());
    }
    stages.run("installing cargo-deny", cargo().args(["install", "cargo-deny", "--locked"]))
}
