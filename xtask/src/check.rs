//! What can be said about the code without running it.

use std::process::{Command, Stdio};

use crate::stage::{Stages, cargo};

pub(crate) fn run() -> Result<(), String> {
    let mut stages = Stages::default();
    stages.run("format", cargo().args(["fmt", "--all", "--check"]))?;
    stages.run("lints", cargo().args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    let mut doc = cargo();
    stages.run("documentation", doc.args(["doc", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings"))?;
    let deny = Command::new("cargo-deny").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if deny.is_ok_and(|status| status.success()) {
        stages.run("dependencies", cargo().args(["deny", "check", "bans", "licenses", "sources"]))?;
    } else {
        println!("\n==> dependencies: not looked at; `cargo install cargo-deny --locked` and run this again");
    }
    stages.summary();
    Ok(())
}
