//! The journal in a SQLite file keeps the contract.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::PathBuf;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use saga_core::async_trait;
use saga_sqlite::SqliteJournal;
use saga_testkit::contract::Fixture;

struct Sqlite;

static DIR: LazyLock<tempfile::TempDir> = LazyLock::new(|| tempfile::tempdir().unwrap());

thread_local! {
    /// Each test runs on a thread of its own, with one journal.
    static FILE: std::cell::RefCell<PathBuf> = const { std::cell::RefCell::new(PathBuf::new()) };
}

#[async_trait]
impl Fixture for Sqlite {
    type Journal = SqliteJournal;

    async fn fresh(&self) -> SqliteJournal {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let file = DIR.path().join(format!("{}.db", NEXT.fetch_add(1, Ordering::Relaxed)));
        FILE.with(|last| last.replace(file.clone()));
        SqliteJournal::open(file).await.unwrap()
    }

    async fn reopen(&self, _journal: &SqliteJournal) -> SqliteJournal {
        let file = FILE.with(|last| last.borrow().clone());
        SqliteJournal::open(file).await.unwrap()
    }

    async fn pass(&self, by: Duration) {
        tokio::time::sleep(by).await;
    }
}

saga_testkit::journal_contract!(Sqlite);
