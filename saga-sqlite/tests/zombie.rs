//! Fencing on SQLite, with a real process that is frozen.

#![allow(clippy::unwrap_used, reason = "tests")]

use saga_sqlite::SqliteJournal;
use saga_testkit::zombie;

async fn open(path: &str) -> SqliteJournal {
    SqliteJournal::open(path).await.unwrap()
}

#[tokio::test]
async fn zombie_process() {
    zombie::process(open).await;
}

#[tokio::test]
async fn a_frozen_worker_is_fenced() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("zombie.db");
    zombie::a_frozen_worker_is_fenced(path.to_str().unwrap(), open).await;
}
