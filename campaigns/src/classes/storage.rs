//! F12: the server's disk is full, or fails to keep what was written. The system calls of the server are made to fail,
//! with strace: it has to give up, and to come back with all that it had acknowledged.

use std::fs;
use std::path::Path;
use std::process::{Command as Blocking, Stdio};
use std::time::{Duration, Instant};

use tokio::process::Command;

use crate::arena::Arena;
use crate::error::{CampaignError, io};
use crate::traffic::connect;

/// What fails, as strace names it, and how it is counted.
const FAULTS: [(&str, &str); 3] = [
    ("fdatasync,fsync:error=EIO:when=3", "failed_syncs"),
    ("pwrite64:error=ENOSPC:when=20+", "full_disks"),
    ("fdatasync:error=EIO:when=40", "failed_syncs"),
];

/// Whether calls can be made to fail here: it is tried on a program of no importance.
pub(super) fn probe() -> Result<(), CampaignError> {
    let refused = |what: &str| CampaignError::NotPossibleHere { class: "F12", what: what.to_owned() };
    let dir = tempfile::tempdir().map_err(io("making a directory"))?;
    let target = format!("of={}", dir.path().join("file").display());
    let tried = Blocking::new("strace")
        .args(["-qq", "-o", "/dev/null", "-e", "trace=fdatasync", "-e", "inject=fdatasync:error=EIO"])
        .args(["dd", "if=/dev/zero", &target, "bs=1", "count=1", "conv=fdatasync"])
        .stderr(Stdio::null())
        .status();
    match tried {
        Ok(status) if !status.success() => Ok(()),
        Ok(_) => Err(refused("strace that may make system calls fail, and cannot here")),
        Err(_) => Err(refused("strace (Debian: apt-get install strace)")),
    }
}

/// One failure, until the server has noticed and come back.
pub(super) async fn fail(arena: &mut Arena) -> Result<(), CampaignError> {
    let (inject, fault) = FAULTS[usize::try_from(arena.count("storage_faults")).unwrap_or(0) % FAULTS.len()];
    let server = arena.cluster.pid()?;
    let before = children(server);
    let log = arena.dir.path().join("strace.log");
    let mut tracer = Command::new("strace");
    let calls = inject.split(':').next().unwrap_or_default();
    tracer.args(["-f", "-qq", "-e", &format!("trace={calls}"), "-e", &format!("inject={inject}"), "-o"]).arg(&log);
    for pid in before.iter().chain([&server]) {
        tracer.args(["-p", &pid.to_string()]);
    }
    let tracer = tracer.stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true).spawn();
    let mut tracer = tracer.map_err(io("starting strace"))?;
    let noticed = wait_for_crash(server, &before).await;
    tracer.kill().await.map_err(io("stopping strace"))?;
    let failed = fs::read_to_string(&log).unwrap_or_default().lines().filter(|line| line.contains("INJECTED")).count();
    *arena.fired.entry(fault).or_default() += failed as u64;
    if noticed {
        arena.fire("storage_faults");
    }
    // What gave up altogether is started by whoever looks after it.
    if !Path::new("/proc").join(server.to_string()).join("exe").exists() {
        arena.cluster.start_again().await?;
    }
    let until = Instant::now() + Duration::from_secs(30);
    while connect(arena.database.url()).await.is_err() && Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    arena.pause(500..1_500).await;
    Ok(())
}

/// Whether the server's processes went, all of them: it does that when it cannot be sure of its disk.
async fn wait_for_crash(server: u32, before: &[u32]) -> bool {
    let until = Instant::now() + Duration::from_secs(10);
    while Instant::now() < until {
        let now = children(server);
        if before.iter().all(|pid| !now.contains(pid)) {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    false
}

/// The processes that the server has started.
fn children(server: u32) -> Vec<u32> {
    let text = fs::read_to_string(format!("/proc/{server}/task/{server}/children")).unwrap_or_default();
    text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}
