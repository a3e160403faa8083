//! What can be said about the code without running it.

use crate::deny::DENY;
use crate::failure::Failure;
use crate::stage::{Stages, cargo};

pub(crate) fn run(install_tools: bool) -> Result<(), Failure> {
    let mut stages = Stages::default();
    stages.run("format", cargo().args(["fmt", "--all", "--check"]))?;
    stages.run("lints", cargo().args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    let mut doc = cargo();
    stages.run("documentation", doc.args(["doc", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings"))?;
    if install_tools {
        DENY.install(&mut stages)?;
    }
    if DENY.is_installed() {
        // What needs no network; `cargo xtask deny` looks at the rest.
        stages.run("dependencies", cargo().args(["deny", "check", "bans", "licenses", "sources"]))
    } else {
        stages.leave_out("dependencies", "cargo-deny is not installed; --install-tools installs it");
        Ok(())
    }
}
