//! What is special about a file: other processes, crashes, permissions, the host's own transactions.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use saga_core::journal::{
    After, Appended, Journal as _, JournalError, LockChange, Message, NewSaga, StartReceipt, Turn,
};
use saga_core::{Definition, Engine, SagaOutcome, step_fn};
use saga_sqlite::{SqliteJournal, start_in};
use saga_testkit::contract::new_saga;
use saga_testkit::faults::polled;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool};
use sqlx::{Connection as _, Executor as _};

const LONG: Duration = Duration::from_secs(600);
/// Longer than anything here takes.
const WAIT: Duration = Duration::from_secs(30);

fn turn(saga: &NewSaga, seq: u32) -> Turn {
    Turn::new(saga.id, seq, 7, "[]".to_owned(), After::Keep)
}

#[tokio::test(flavor = "multi_thread")]
async fn eight_at_once_may_open_a_new_file() {
    let dir = tempfile::tempdir().unwrap();
    let opened: Vec<_> = (0..8)
        .map(|_| {
            let path = dir.path().join("new.db");
            tokio::spawn(async move { SqliteJournal::open(path).await.map(drop) })
        })
        .collect();
    for journal in opened {
        journal.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_file_that_another_has_for_itself_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("busy.db");
    let options = SqliteConnectOptions::new().filename(&path).create_if_missing(true);
    let mut other = sqlx::SqliteConnection::connect_with(&options).await.unwrap();
    other.execute("BEGIN EXCLUSIVE; CREATE TABLE host (id INTEGER)").await.unwrap();
    let opened = tokio::spawn(SqliteJournal::open(path));
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!opened.is_finished());
    other.execute("COMMIT").await.unwrap();
    tokio::time::timeout(WAIT, opened).await.unwrap().unwrap().unwrap();
}

/// Starts, messages and entity locks of a turn are found without polling.
#[tokio::test]
async fn a_turn_that_makes_work_wakes_the_workers_of_its_process() {
    let dir = tempfile::tempdir().unwrap();
    let journal = SqliteJournal::open(dir.path().join("wake.db")).await.unwrap();
    let other = SqliteJournal::open(dir.path().join("wake.db")).await.unwrap();
    let (lease, _) = journal.open_lease("worker", LONG).await.unwrap();
    let (began, quiet) = (Instant::now(), Duration::from_millis(50));
    other.wait_for_work(quiet).await;
    assert!(began.elapsed() >= quiet, "there is none yet");
    let sagas = [new_saga("a"), new_saga("b")];
    journal.start(Some(lease), &sagas).await.unwrap();
    let asks = || Some(LockChange::Ask { step: "lock".into(), keys: vec!["k".to_owned()] });
    let told = Message { definition: "order".into(), key: "b".into(), id: "m".into(), body: "1".into() };
    let turns = [
        Turn { starts: vec![new_saga("child")], ..turn(&sagas[0], 1) },
        Turn { sends: vec![told], ..turn(&sagas[0], 2) },
        Turn { locks: asks(), ..turn(&sagas[0], 3) },
        Turn { locks: Some(LockChange::GiveUp), ..turn(&sagas[0], 4) },
    ];
    for turn in turns {
        if turn.seq == 4 {
            let waits = Turn { locks: asks(), ..self::turn(&sagas[1], 1) };
            assert_eq!(journal.append(lease, &[waits]).await.unwrap(), [Appended::Written]);
        }
        let began = Instant::now();
        let ((), answers) = tokio::join!(other.wait_for_work(WAIT), journal.append(lease, std::slice::from_ref(&turn)));
        assert_eq!(answers.unwrap(), [Appended::Written]);
        assert!(began.elapsed() < WAIT, "turn {}", turn.seq);
    }
}

#[tokio::test]
async fn a_newer_schema_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("newer.db");
    drop(SqliteJournal::open(&path).await.unwrap());
    let mut connection = sqlx::SqliteConnection::connect(&format!("sqlite://{}", path.display())).await.unwrap();
    connection.execute("INSERT INTO saga_schema_version (version) VALUES (999)").await.unwrap();
    let error = SqliteJournal::open(&path).await.unwrap_err();
    assert!(matches!(error, JournalError::NewerSchema { found: 999, .. }), "{error}");
}

#[tokio::test]
async fn what_cannot_be_written_is_refused_with_advice() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("read-only.db");
    drop(SqliteJournal::open(&path).await.unwrap());
    let read_only = SqliteConnectOptions::new().filename(&path).read_only(true);
    let error = SqliteJournal::from_options(read_only).await.unwrap_err();
    assert!(error.to_string().contains("make both writable"), "{error}");
    let missing = SqliteJournal::open(dir.path().join("no/such/folder.db")).await.unwrap_err();
    assert!(missing.to_string().contains("its folder exists"), "{missing}");
    let text = dir.path().join("text.db");
    std::fs::write(&text, "this is not a database, and long enough to be sure of it".repeat(20)).unwrap();
    // At once: what cannot pass is not waited for, as a file would be that another has for itself.
    let refused = tokio::time::timeout(Duration::from_secs(4), SqliteJournal::open(&text)).await.unwrap();
    let error = refused.unwrap_err();
    assert!(error.to_string().contains("not a SQLite database"), "{error}");
    assert!(std::fs::read_to_string(&text).unwrap().starts_with("this is not"), "it was left alone");
}

#[tokio::test]
async fn a_cancelled_call_leaves_the_journal_usable() {
    let dir = tempfile::tempdir().unwrap();
    let journal = SqliteJournal::open(dir.path().join("cancel.db")).await.unwrap();
    let (lease, _) = journal.open_lease("worker", LONG).await.unwrap();
    let saga = new_saga("k");
    journal.start(Some(lease), std::slice::from_ref(&saga)).await.unwrap();
    let (mut polls, mut seq) = (0, 1);
    loop {
        let next = [turn(&saga, seq)];
        let done = polled(journal.append(lease, &next), polls).await;
        let answers = journal.append(lease, &next).await.unwrap();
        assert!(matches!(answers[..], [Appended::Written | Appended::Repeated]), "{answers:?}");
        seq += 1;
        if done.is_some() {
            break;
        }
        polls += 1;
    }
    assert!(polls > 0, "at least one call was cancelled midway");
    assert_eq!(journal.load(&[saga.id]).await.unwrap()[0].turns.len() as u32, seq);
}

/// Not a test of its own: the process that the tests below start. It appends turns and says so, until
/// it is killed or has appended `APPENDER_TURNS`.
#[tokio::test]
async fn appender_process() {
    let (Ok(path), Ok(key)) = (std::env::var("APPENDER_FILE"), std::env::var("APPENDER_KEY")) else { return };
    let turns: u32 = std::env::var("APPENDER_TURNS").unwrap().parse().unwrap();
    let journal = SqliteJournal::open(path).await.unwrap();
    let (lease, _) = journal.open_lease("appender", LONG).await.unwrap();
    let saga = new_saga(&key);
    journal.start(Some(lease), std::slice::from_ref(&saga)).await.unwrap();
    for seq in 1..=turns {
        assert_eq!(journal.append(lease, &[turn(&saga, seq)]).await.unwrap(), [Appended::Written]);
        // Through the test harness's capture, to the parent.
        std::io::Write::write_all(&mut std::io::stderr(), format!("appended {seq}\n").as_bytes()).unwrap();
    }
}

fn appender(path: &Path, key: &str, turns: u32) -> std::process::Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["appender_process", "--exact", "--nocapture"])
        .env("APPENDER_FILE", path)
        .env("APPENDER_KEY", key)
        .env("APPENDER_TURNS", turns.to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

#[tokio::test]
async fn two_processes_write_to_one_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("shared.db");
    let journal = SqliteJournal::open(&path).await.unwrap();
    let mut children = [appender(&path, "a", 60), appender(&path, "b", 60)];
    for child in &mut children {
        // Read to the end, so that the pipe never fills.
        let stderr = child.stderr.take().unwrap();
        assert_eq!(
            BufReader::new(stderr).lines().map_while(Result::ok).filter(|line| line.starts_with("appended")).count(),
            60
        );
        assert!(child.wait().unwrap().success());
    }
    for key in ["a", "b"] {
        let found = journal.find("order", key).await.unwrap().unwrap();
        assert_eq!(journal.load(&[found.header.id]).await.unwrap()[0].turns.len(), 61);
    }
}

#[tokio::test]
async fn what_a_killed_process_had_been_told_is_written_is_there() {
    let dir = tempfile::tempdir().unwrap();
    for round in 0..5 {
        let path = dir.path().join(format!("{round}.db"));
        let mut child = appender(&path, "k", 100_000);
        let mut acknowledged = 0;
        for line in BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok) {
            if let Some(seq) = line.strip_prefix("appended ") {
                acknowledged = seq.parse().unwrap();
            }
            if acknowledged == 10 + round * 7 {
                break;
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let journal = SqliteJournal::open(&path).await.unwrap();
        let found = journal.find("order", "k").await.unwrap().unwrap();
        let turns = journal.load(&[found.header.id]).await.unwrap()[0].turns.len();
        assert!(turns > acknowledged, "{acknowledged} were acknowledged, {turns} turns are there");
    }
}

#[tokio::test]
async fn a_saga_started_in_a_transaction_exists_if_and_only_if_it_commits() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("host.db");
    let journal = SqliteJournal::open(&path).await.unwrap();
    let pool = SqlitePool::connect(&format!("sqlite://{}", path.display())).await.unwrap();
    pool.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY)").await.unwrap();
    let definition = Definition::build("echo", 1, |saga, input| {
        let step = saga.query("step", step_fn(async |_, n: i64| Ok(n)), input);
        saga.returns(step)
    })
    .unwrap();
    let mut tx = pool.begin().await.unwrap();
    start_in(&mut tx, &definition, "rolled-back", &1).await.unwrap();
    tx.rollback().await.unwrap();
    let mut tx = pool.begin().await.unwrap();
    tx.execute("INSERT INTO orders VALUES (1)").await.unwrap();
    let id = start_in(&mut tx, &definition, "committed", &2).await.unwrap();
    assert!(journal.find("echo", "committed").await.unwrap().is_none(), "not yet");
    tx.commit().await.unwrap();
    assert!(journal.find("echo", "rolled-back").await.unwrap().is_none());
    let mut tx = pool.begin().await.unwrap();
    assert_eq!(start_in(&mut tx, &definition, "committed", &2).await.unwrap(), id);
    assert!(start_in(&mut tx, &definition, "committed", &3).await.is_err());
    tx.rollback().await.unwrap();
    let engine = Engine::builder(journal).register(&definition).open().await.unwrap();
    assert_eq!(engine.handle(&definition, id).outcome().await.unwrap(), SagaOutcome::Completed(2));
}

#[tokio::test]
async fn a_start_that_is_sent_again_is_one_start() {
    let dir = tempfile::tempdir().unwrap();
    let journal = SqliteJournal::open(dir.path().join("again.db")).await.unwrap();
    let saga = new_saga("k");
    for _ in 0..2 {
        let receipts = journal.start(None, std::slice::from_ref(&saga)).await.unwrap();
        assert_eq!(receipts, [StartReceipt::Created]);
    }
}

/// Permissions do not bind root: where the tests run as root, the file is opened by another user.
#[test]
fn a_file_that_its_user_may_not_write_is_refused_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("theirs.db");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async { drop(SqliteJournal::open(&path).await.unwrap()) });
    let program = dir.path().join("opener");
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    for (file, mode) in [(dir.path(), 0o555), (&*path, 0o444), (&*program, 0o555)] {
        std::fs::set_permissions(file, std::fs::Permissions::from_mode(mode)).unwrap();
    }
    let mut command = Command::new(&program);
    command.args(["open_what_the_environment_says", "--exact", "--ignored", "--nocapture"]);
    command.env("SAGA_TEST_FILE", &path).current_dir("/");
    if std::fs::File::options().append(true).open(&path).is_ok() {
        command.uid(65_534).gid(65_534);
    }
    let output = command.output().unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("refused: ") && said.contains("make both writable"), "{said}");
}

#[tokio::test]
#[ignore = "run by the test above, in a process of its own"]
async fn open_what_the_environment_says() {
    let path = std::env::var_os("SAGA_TEST_FILE").unwrap();
    match SqliteJournal::open(path).await {
        Ok(_) => eprintln!("opened"),
        Err(error) => eprintln!("refused: {error}"),
    }
}
