//! F11: the server's clock jumps by an hour and back, while workers' wall clocks are an hour off, and the time that
//! passes for them runs too fast or too slow. By libfaketime, on the campaign's own processes: the system's clock stays.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use saga_core::Timestamp;
use tempfile::TempDir;

use super::workers;
use crate::arena::Arena;
use crate::error::{CampaignError, io};

/// Where Debian and others put it.
const PLACES: [&str; 5] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib64/faketime/libfaketimeMT.so.1",
    "/usr/lib/faketime/libfaketimeMT.so.1",
    "/usr/local/lib/faketime/libfaketimeMT.so.1",
];
const HOUR_S: i64 = 3_600;
/// How long the server's clock is right at first.
const BEFORE_JUMPS: Duration = Duration::from_secs(8);

/// A hand on the server's clock.
#[derive(Debug)]
pub struct Clock {
    /// What the server reads at every look at its clock. In a directory that it may read.
    dir: TempDir,
    offset_s: i64,
    /// The latest that it has shown, as an offset.
    latest_s: i64,
    /// When it jumped for the first time, by the machine's clock.
    first_jump: Option<Timestamp>,
}

fn library() -> Option<PathBuf> {
    PLACES.map(PathBuf::from).into_iter().find(|path| path.exists())
}

/// Whether clocks can be faked here.
pub(super) fn probe() -> Result<(), CampaignError> {
    let what = || "libfaketime (Debian: apt-get install libfaketime)".to_owned();
    library().map(drop).ok_or_else(|| CampaignError::NotPossibleHere { class: "F11", what: what() })
}

impl Clock {
    pub(super) fn new() -> Result<Self, CampaignError> {
        let dir = tempfile::tempdir().map_err(io("making a directory for a clock"))?;
        open_to_all(dir.path())?;
        let mut clock = Self { dir, offset_s: 0, latest_s: 0, first_jump: None };
        clock.set(0)?;
        Ok(clock)
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("offset")
    }

    /// What the server is started with. The time that passes stays what it is: only the wall clock is ours.
    pub(super) fn environment(&self) -> Vec<(String, String)> {
        let file = self.file().display().to_string();
        let own = [("FAKETIME_TIMESTAMP_FILE", file), ("FAKETIME_NO_CACHE", "1".to_owned())];
        own.map(|(name, value)| (name.to_owned(), value)).into_iter().chain(loaded(true)).collect()
    }

    /// When it jumped for the first time.
    pub(crate) fn first_jump(&self) -> Option<Timestamp> {
        self.first_jump
    }

    fn set(&mut self, offset_s: i64) -> Result<(), CampaignError> {
        // At once: a reader never finds half of it.
        let fresh = self.dir.path().join("fresh");
        fs::write(&fresh, format!("{offset_s:+}\n")).map_err(io("setting a clock"))?;
        fs::rename(&fresh, self.file()).map_err(io("setting a clock"))?;
        self.offset_s = offset_s;
        self.latest_s = self.latest_s.max(offset_s);
        Ok(())
    }
}

/// The server may run as somebody else.
fn open_to_all(dir: &Path) -> Result<(), CampaignError> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).map_err(io("opening a clock's directory"))
}

fn loaded(wall_only: bool) -> Vec<(String, String)> {
    let Some(library) = library() else { return Vec::new() };
    let mut variables = vec![("LD_PRELOAD".to_owned(), library.display().to_string())];
    if wall_only {
        variables.push(("FAKETIME_DONT_FAKE_MONOTONIC".to_owned(), "1".to_owned()));
        variables.push(("DONT_FAKE_MONOTONIC".to_owned(), "1".to_owned()));
    }
    variables
}

/// The clocks of the worker in this place: an hour ahead, an hour behind, too fast, too slow. The speeds are those of
/// the time that passes as well, by which a worker reckons how long its lease is good.
pub(super) fn of_worker(place: usize) -> Vec<(String, String)> {
    let (wall_only, time) = [(true, "+1h"), (true, "-1h"), (false, "+0 x1.6"), (false, "+0 x0.6")][place % 4];
    loaded(wall_only).into_iter().chain([("FAKETIME".to_owned(), time.to_owned())]).collect()
}

/// One jump: small ones as of a correction, an hour ahead, and an hour back; and now and then a worker dies beside it.
pub(super) async fn jump(arena: &mut Arena) -> Result<(), CampaignError> {
    if arena.count("clock_jumps") == 0 {
        // So long that waits come to their end while only the workers' clocks are wrong.
        tokio::time::sleep(BEFORE_JUMPS).await;
    }
    arena.pause(300..900).await;
    let small = arena.random.i64(0..=2);
    let kind = arena.random.u8(0..3);
    let Some(clock) = &mut arena.clock else { return Ok(()) };
    let before = clock.offset_s;
    let after = match kind {
        0 => before + small,
        _ if before < HOUR_S => before + HOUR_S,
        _ => before - HOUR_S,
    };
    if clock.first_jump.is_none() {
        clock.first_jump = Some(Timestamp::from_micros(chrono::Utc::now().timestamp_micros()));
    }
    clock.set(after)?;
    arena.fire("clock_jumps");
    if after < before {
        arena.fire("jumps_back");
    }
    if arena.random.u8(0..3) == 0 {
        workers::kill(arena).await?;
    }
    Ok(())
}

/// What was due by a clock that was ahead is due only then: it goes on once the clock is there again. The server is
/// shown the latest time that it has seen.
pub(super) async fn catch_up(arena: &mut Arena) -> Result<(), CampaignError> {
    let Some(clock) = &mut arena.clock else { return Ok(()) };
    let latest = clock.latest_s;
    clock.set(latest + 60)?;
    tokio::time::sleep(Duration::from_millis(100)).await;
    Ok(())
}
