//! The dependencies: licences, sources, bans, vulnerabilities, yanked versions.

use crate::failure::Failure;
use crate::stage::{Stages, cargo};
use crate::tool::Tool;

/// What looks at them.
pub(crate) const DENY: Tool = Tool { command: "deny", package: "cargo-deny", installing: "installing cargo-deny" };

pub(crate) fn run(install_tools: bool) -> Result<(), Failure> {
    let mut stages = Stages::default();
    DENY.require(install_tools, &mut stages)?;
    stages.run("licences, sources, bans", cargo().args(["deny", "check", "bans", "licenses", "sources"]))?;
    stages.run("advisories and yanked versions", cargo().args(["deny", "check", "advisories"]))
}
