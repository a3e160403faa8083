//! A Postgres for the tests: found, or installed, or asked for.

use std::process::{Command, Stdio};

use saga_testkit::postgres::{URL_VARIABLE, find_binaries};

/// Returns once there are server binaries.
pub(crate) fn prepare() -> Result<(), String> {
    if std::env::var_os(URL_VARIABLE).is_some() || find_binaries().is_some() {
        return Ok(());
    }
    println!("no PostgreSQL server binaries found; installing them");
    if !is_root() || !succeeds(Command::new("apt-get").arg("--version")) {
        return Err(missing());
    }
    // The package would start a server of its own: the tests want none but theirs.
    let config = "/etc/postgresql-common/createcluster.conf";
    let quiet = std::fs::create_dir_all("/etc/postgresql-common").and_then(|()| {
        if std::path::Path::new(config).exists() {
            Ok(())
        } else {
            std::fs::write(config, "create_main_cluster = false\n")
        }
    });
    quiet.map_err(|error| format!("cannot write {config}: {error}"))?;
    let apt =
        |arguments: &[&str]| Command::new("apt-get").args(arguments).env("DEBIAN_FRONTEND", "noninteractive").status();
    apt(&["update"]).map_err(|error| format!("apt-get update: {error}"))?;
    let install = ["install", "--yes", "--no-install-recommends", "postgresql"];
    apt(&install).map_err(|error| format!("apt-get install: {error}"))?;
    find_binaries().map(drop).ok_or_else(missing)
}

fn missing() -> String {
    format!(
        "the tests need PostgreSQL server binaries (14 to 18). Install them, on Debian with\n    \
         apt-get install postgresql\nor name a server that tests may create databases on in {URL_VARIABLE}"
    )
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output();
    id.is_ok_and(|output| output.stdout.starts_with(b"0\n"))
}

fn succeeds(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}
