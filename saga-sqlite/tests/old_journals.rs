//! A journal that an earlier version has written is read, and its sagas are finished, by this one. The fixtures are
//! files of a journal with a saga in each standing; what was released once is never drawn anew.
//!
//! `SAGA_DRAW_FIXTURE=1` draws the fixture of the present version, where there is none yet: before its release, when a
//! migration of it has changed, delete the fixture and draw it anew.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use saga_core::engine::Resolution;
use saga_core::{Definition, Engine, Outcome, SagaOutcome, Source as _, StepContext, StepError, step_fn};
use saga_sqlite::SqliteJournal;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, Executor as _};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

/// Pays 1, refuses 2, cannot at first be undone for 3, and waits for a signal for 4.
fn definition() -> Definition<i64, i64> {
    Definition::build("pay", 1, |saga, n| {
        let hold = step_fn(async |_, n: i64| Ok(n)).compensate(async |cx: StepContext, n: i64, _: Outcome<i64>| {
            if n == 3 && cx.attempt() == 1 { Err(StepError::fatal("the gateway refuses the void")) } else { Ok(()) }
        });
        let held = saga.compensatable("hold", hold, n);
        let wait =
            saga.when("wait", n.map(|n: i64| n == 4), |saga| saga.wait_for::<i64, _>("go", "go", ().map(|()| None)));
        let take = step_fn(
            async |_, (n, _): (i64, Option<Option<i64>>)| {
                if n == 2 || n == 3 { Err(StepError::rejected("declined")) } else { Ok(n) }
            },
        );
        let taken = saga.pivot("take", take, (held, wait));
        saga.returns(taken)
    })
    .unwrap()
}

async fn engine(file: &Path) -> (Engine, Definition<i64, i64>) {
    let definition = definition();
    let engine = Engine::builder(SqliteJournal::open(file).await.unwrap()).register(&definition);
    (engine.poll_interval(Duration::from_millis(10)).open().await.unwrap(), definition)
}

#[tokio::test]
async fn journals_of_earlier_versions_are_read_and_finished() {
    if std::env::var_os("SAGA_DRAW_FIXTURE").is_some() {
        draw().await;
    }
    let mut found = 0;
    for entry in std::fs::read_dir(fixtures()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "db") {
            found += 1;
            finish(&path).await;
        }
    }
    assert!(found > 0);
}

async fn finish(fixture: &Path) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("sagas.db");
    std::fs::copy(fixture, &file).unwrap();
    let (engine, definition) = engine(&file).await;
    let report = engine.verify(None).await.unwrap();
    assert_eq!((report.violations.len(), report.verified.values().sum::<u64>()), (0, 4), "{report:?}");
    let mut sagas = Vec::new();
    for n in 1..=4 {
        sagas.push(engine.find(&definition, &format!("order-{n}")).await.unwrap().unwrap());
    }
    assert_eq!(sagas[0].outcome().await.unwrap(), SagaOutcome::Completed(1));
    assert!(matches!(sagas[1].outcome().await.unwrap(), SagaOutcome::RolledBack(_)));
    assert!(matches!(sagas[2].outcome().await.unwrap(), SagaOutcome::NeedsAttention(letters) if letters.len() == 1));
    engine.operator().resolve(sagas[2].id(), "hold", Resolution::Retry, "ann", "it is back").await.unwrap();
    while !matches!(sagas[2].outcome_now().await.unwrap(), Some(SagaOutcome::RolledBack(_))) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    engine.signal("pay", "order-4", "go", &1_i64, "evt-1").await.unwrap();
    assert_eq!(sagas[3].outcome().await.unwrap(), SagaOutcome::Completed(4));
    assert_eq!(engine.verify(None).await.unwrap().violations, []);
    // And what was started there is not started again.
    assert_eq!(engine.start(&definition, "order-1", 1).await.unwrap().id(), sagas[0].id());
    engine.shutdown(Duration::from_secs(5)).await;
}

async fn draw() {
    let path = fixtures().join(format!("{}.db", env!("CARGO_PKG_VERSION")));
    assert!(!path.exists(), "a fixture is drawn once");
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("sagas.db");
    let (engine, definition) = engine(&file).await;
    for n in 1..=4 {
        let saga = engine.start(&definition, &format!("order-{n}"), n).await.unwrap();
        if n < 4 {
            saga.outcome().await.unwrap();
        }
    }
    while engine.in_flight() > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    engine.shutdown(Duration::from_secs(5)).await;
    drop(engine);
    let mut connection = SqliteConnectOptions::new().filename(&file).connect().await.unwrap();
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").await.unwrap();
    connection.close().await.unwrap();
    std::fs::create_dir_all(fixtures()).unwrap();
    std::fs::copy(file, path).unwrap();
}
