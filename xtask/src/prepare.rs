//! The servers that the tests start: found, or installed, or asked for.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};

use saga_testkit::nats::find_binary;
use saga_testkit::postgres::{URL_VARIABLE, find_binaries};

use crate::failure::Failure;

/// Where Debian's packages look up whether to make a server of their own.
const CLUSTER_CONFIG: &str = "/etc/postgresql-common/createcluster.conf";
const NO_CLUSTER: &str = "create_main_cluster = false";

/// Where services are kept from being started, and what by.
const NATS_UNIT: &str = "/etc/systemd/system/nats-server.service";
const PGBOUNCER_UNIT: &str = "/etc/systemd/system/pgbouncer.service";
const NOWHERE: &str = "/dev/null";

/// Returns once there is all that the tests need.
pub(crate) fn run() -> Result<(), Failure> {
    postgres()?;
    nats()
}

/// Its package starts a server, unless that is prevented.
const PGBOUNCER: &str = "pgbouncer";

/// What campaigns need beside servers: the Debian package, and a file of it.
const TOOLS: [(&str, &[&str]); 3] = [
    (PGBOUNCER, &["/usr/sbin/pgbouncer", "/usr/bin/pgbouncer"]),
    ("strace", &["/usr/bin/strace"]),
    (
        "libfaketime",
        &[
            "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
            "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
            "/usr/lib64/faketime/libfaketimeMT.so.1",
            "/usr/lib/faketime/libfaketimeMT.so.1",
            "/usr/local/lib/faketime/libfaketimeMT.so.1",
        ],
    ),
];

/// Installs what campaigns need, where that can be done. What is missing then, the class that needs it names: it
/// fails, and no other does.
pub(crate) fn campaigns() -> Result<(), Failure> {
    let missing = |files: &[&str]| !files.iter().any(|file| Path::new(file).exists());
    if !is_root() || !has_apt() {
        return Ok(());
    }
    let mut packages: Vec<&str> =
        TOOLS.iter().filter(|(_, files)| missing(files)).map(|(package, _)| *package).collect();
    let unprepared = |source| Failure::Unprepared { package: PGBOUNCER, source };
    if packages.contains(&PGBOUNCER) && !is_masked(Path::new(PGBOUNCER_UNIT)).map_err(unprepared)? {
        packages.retain(|package| *package != PGBOUNCER);
    }
    if packages.is_empty() {
        return Ok(());
    }
    println!("\n==> installing {}", packages.join(", "));
    // A package list that cannot be refreshed may still do.
    apt(&["update"])?;
    let install = ["install", "--yes", "--no-install-recommends"];
    apt(&[&install, packages.as_slice()].concat()).map(drop)
}

/// Returns once there are server binaries, or a server to use instead.
fn postgres() -> Result<(), Failure> {
    if std::env::var_os(URL_VARIABLE).is_some() || find_binaries().is_some() {
        return Ok(());
    }
    let unprepared = |source| Failure::Unprepared { package: "PostgreSQL", source };
    if !is_root() || !has_apt() || !only_binaries().map_err(unprepared)? {
        return Err(Failure::NoPostgres);
    }
    println!("\n==> installing PostgreSQL: no server binaries found");
    // A package list that cannot be refreshed may still do.
    apt(&["update"])?;
    if apt(&["install", "--yes", "--no-install-recommends", "postgresql"])? && find_binaries().is_some() {
        return Ok(());
    }
    Err(Failure::NoPostgres)
}

/// Returns once there is a NATS server binary.
fn nats() -> Result<(), Failure> {
    if find_binary().is_some() {
        return Ok(());
    }
    let unprepared = |source| Failure::Unprepared { package: "nats-server", source };
    if !is_root() || !has_apt() || !is_masked(Path::new(NATS_UNIT)).map_err(unprepared)? {
        return Err(Failure::NoNats);
    }
    println!("\n==> installing nats-server: no server binary found");
    // A package list that cannot be refreshed may still do.
    apt(&["update"])?;
    if apt(&["install", "--yes", "--no-install-recommends", "nats-server"])? && find_binary().is_some() {
        return Ok(());
    }
    Err(Failure::NoNats)
}

/// Keeps the package from starting a server of its own. False when the machine is set up to have one,
/// which is not for a chore to change.
fn is_masked(unit: &Path) -> io::Result<bool> {
    if let Some(dir) = unit.parent() {
        fs::create_dir_all(dir)?;
    }
    match symlink(NOWHERE, unit) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            Ok(fs::read_link(unit).is_ok_and(|target| target == Path::new(NOWHERE)))
        }
        Err(error) => Err(error),
    }
}

/// Tells the packages to make and start no server: the tests want none but theirs. False when the
/// machine is set up to have one, which is not for a chore to change.
fn only_binaries() -> io::Result<bool> {
    let config = Path::new(CLUSTER_CONFIG);
    if let Some(dir) = config.parent() {
        fs::create_dir_all(dir)?;
    }
    match fs::File::create_new(config) {
        Ok(mut file) => writeln!(file, "{NO_CLUSTER}").map(|()| true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            Ok(fs::read_to_string(config)?.lines().any(|line| line.trim() == NO_CLUSTER))
        }
        Err(error) => Err(error),
    }
}

/// Whether the command succeeded.
fn apt(arguments: &[&str]) -> Result<bool, Failure> {
    let mut command = Command::new("apt-get");
    command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive").stdin(Stdio::null());
    let status = command.status().map_err(|source| Failure::NotStarted { stage: "apt-get", source })?;
    Ok(status.success())
}

fn has_apt() -> bool {
    let asked = Command::new("apt-get").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    asked.is_ok_and(|status| status.success())
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output();
    id.is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}
