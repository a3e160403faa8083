//! What waits for the file's one writer is written by one commit, and nobody pays for another's failure.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::future::join_all;
use saga_core::SagaId;
use saga_core::journal::{After, Appended, Journal as _, JournalError, NewSaga, StartReceipt, Turn};
use saga_sqlite::SqliteJournal;
use saga_testkit::contract::new_saga;
use saga_testkit::faults::polled;
use sqlx::{Connection as _, Executor as _, SqliteConnection};

const LONG: Duration = Duration::from_secs(600);
/// How long the file is kept from the journal: enough for all callers to be in line.
const HELD: Duration = Duration::from_millis(100);
const CALLERS: usize = 20;

fn turn(saga: &NewSaga, seq: u32) -> [Turn; 1] {
    [Turn::new(saga.id, seq, 7, "[]".to_owned(), After::Keep)]
}

struct File {
    _dir: tempfile::TempDir,
    path: PathBuf,
    journal: SqliteJournal,
}

impl File {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal.db");
        let journal = SqliteJournal::open(&path).await.unwrap();
        Self { _dir: dir, path, journal }
    }

    /// Has the write lock for a while, so that whoever writes meanwhile waits.
    async fn hold(&self) -> impl Future<Output = ()> + use<> {
        let mut other = SqliteConnection::connect(&format!("sqlite:{}", self.path.display())).await.unwrap();
        other.execute("BEGIN IMMEDIATE").await.unwrap();
        async move {
            tokio::time::sleep(HELD).await;
            other.execute("ROLLBACK").await.unwrap();
        }
    }
}

/// The commits in the write-ahead log: a frame that ends one tells how large the file is then.
/// <https://www.sqlite.org/fileformat2.html#the_write_ahead_log>
fn commits(path: &Path) -> usize {
    const HEADER: usize = 32;
    const FRAME_HEADER: usize = 24;
    let log = std::fs::read(path.with_extension("db-wal")).unwrap();
    let page = u32::from_be_bytes(log[8..12].try_into().unwrap()) as usize;
    log[HEADER..].chunks(FRAME_HEADER + page).filter(|frame| frame[4..8] != [0; 4]).count()
}

#[tokio::test]
async fn starts_and_turns_that_wait_share_one_commit() {
    let file = File::new().await;
    let (lease, _) = file.journal.open_lease("worker", LONG).await.unwrap();
    let sagas: Vec<_> = (0..CALLERS).map(|nth| new_saga(&nth.to_string())).collect();
    let (here, new) = sagas.split_at(CALLERS / 2);
    file.journal.start(Some(lease), here).await.unwrap();
    let before = commits(&file.path);
    let starts = join_all(new.chunks(1).map(|saga| file.journal.start(None, saga)));
    let journal = &file.journal;
    let turns = join_all(here.iter().map(|saga| async move { journal.append(lease, &turn(saga, 1)).await }));
    let (started, appended, ()) = tokio::join!(starts, turns, file.hold().await);
    for answer in started {
        assert_eq!(answer.unwrap(), [StartReceipt::Created]);
    }
    for answer in appended {
        assert_eq!(answer.unwrap(), [Appended::Written]);
    }
    // Whoever was first found nobody to share with.
    assert_eq!(commits(&file.path) - before, 2);
    let ids: Vec<SagaId> = sagas.iter().map(|saga| saga.id).collect();
    let turns: Vec<usize> = file.journal.load(&ids).await.unwrap().iter().map(|history| history.turns.len()).collect();
    assert_eq!(turns, [vec![2; CALLERS / 2], vec![1; CALLERS / 2]].concat());
}

#[tokio::test]
async fn a_write_that_fails_takes_nobody_with_it() {
    let file = File::new().await;
    let (gone, _) = file.journal.open_lease("gone", LONG).await.unwrap();
    file.journal.close_lease(gone).await.unwrap();
    let sagas: Vec<_> = (0..CALLERS).map(|nth| new_saga(&nth.to_string())).collect();
    let starts = sagas.chunks(1).zip(0..).map(|(saga, nth)| {
        let lease = (nth == CALLERS / 2).then_some(gone);
        file.journal.start(lease, saga)
    });
    let (answers, ()) = tokio::join!(join_all(starts), file.hold().await);
    for (nth, answer) in answers.into_iter().enumerate() {
        let found = file.journal.find("order", &nth.to_string()).await.unwrap();
        if nth == CALLERS / 2 {
            assert!(matches!(answer, Err(JournalError::Fenced { epoch }) if epoch == gone.epoch), "{answer:?}");
            assert!(found.is_none());
        } else {
            assert_eq!(answer.unwrap(), [StartReceipt::Created]);
            assert!(found.is_some());
        }
    }
}

#[tokio::test]
async fn who_gives_up_while_it_writes_for_all_takes_nobody_with_it() {
    let file = File::new().await;
    let (mut polls, mut before) = (0, 0);
    loop {
        let [first, leader, other] = ["first", "leader", "other"].map(|name| [new_saga(&format!("{name}-{polls}"))]);
        let (first, led, other, ()) = tokio::join!(
            file.journal.start(None, &first),
            polled(file.journal.start(None, &leader), polls),
            file.journal.start(None, &other),
            file.hold().await,
        );
        assert_eq!(first.unwrap(), [StartReceipt::Created]);
        assert_eq!(other.unwrap(), [StartReceipt::Created]);
        // Whether it was written or not: sent again, it is there once.
        assert_eq!(file.journal.start(None, &leader).await.unwrap(), [StartReceipt::Created]);
        if led.is_some() {
            break;
        }
        (polls, before) = (polls + 1, polls);
    }
    assert!(before > 1, "it gave up in line, and while it wrote");
}
