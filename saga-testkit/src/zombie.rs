//! A worker process that is frozen past its lease and thawed again, on any journal that processes can
//! share.

#![allow(clippy::unwrap_used, clippy::missing_panics_doc, reason = "tests, by nature")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use saga_core::journal::Journal;
use saga_core::machine::{Record, decode_turn};
use saga_core::{Definition, Engine, RetryPolicy, SagaOutcome, StepContext, step_fn};

const STORE: &str = "SAGA_ZOMBIE_STORE";
const LOG: &str = "SAGA_ZOMBIE_LOG";
const LEASE_TTL: Duration = Duration::from_millis(400);
const SAGAS: usize = 20;

/// Two steps, each of which notes its idempotency key in the log before it does anything else. The
/// first attempt of the first step takes a while: long enough to be frozen in.
fn definition(log: &Path) -> Definition<u32, u32> {
    let noting = |log: &Path, first: Duration| {
        let log = log.to_owned();
        step_fn(move |cx: StepContext, n: u32| {
            let log = log.clone();
            async move {
                let line = format!("{} {} {} {}\n", std::process::id(), cx.saga_id(), cx.step(), cx.key());
                std::fs::OpenOptions::new().append(true).create(true).open(&log)?.write_all(line.as_bytes())?;
                if cx.attempt() == 1 {
                    tokio::time::sleep(first).await;
                }
                Ok(n + 1)
            }
        })
    };
    let retry = RetryPolicy::fixed(Duration::from_millis(10)).unbounded();
    Definition::build("zombie", 1, |saga, n| {
        let first = saga.query("first", noting(log, Duration::from_secs(3)), n).retry(retry.clone());
        let second = saga.query("second", noting(log, Duration::ZERO), first).retry(retry);
        saga.returns(second)
    })
    .unwrap()
}

/// The frozen worker's process. Call it in a test of its own, named `zombie_process`; it does nothing
/// unless [`a_frozen_worker_is_fenced`] has started it.
pub async fn process<J: Journal>(open: impl AsyncFn(&str) -> J) {
    let (Ok(store), Ok(log)) = (std::env::var(STORE), std::env::var(LOG)) else { return };
    let definition = definition(Path::new(&log));
    let engine = Engine::builder(open(&store).await).register(&definition).lease_ttl(LEASE_TTL);
    let _engine = engine.poll_interval(Duration::from_millis(20)).open().await.unwrap();
    // Until it is killed.
    std::future::pending::<()>().await;
}

/// Freezes a worker process (SIGSTOP) in the middle of its steps, lets another worker take over and
/// finish, thaws the first (SIGCONT), and checks that nothing of it entered late, that no effect was
/// recorded twice, and that no operation was asked for under two keys.
pub async fn a_frozen_worker_is_fenced<J: Journal>(store: &str, open: impl AsyncFn(&str) -> J) {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let definition = definition(&log);
    let client = Engine::builder(open(store).await).register(&definition).client_only().open().await.unwrap();
    let mut zombie = Zombie::start(store, &log);
    let mut sagas = Vec::new();
    for nth in 0..SAGAS {
        sagas.push(client.start(&definition, &format!("frozen-{nth}"), 0).await.unwrap());
    }
    until("all first steps have begun", || lines(&log).len() >= SAGAS).await;
    freeze(&zombie, &open(store).await).await;

    let worker = Engine::builder(open(store).await).register(&definition).lease_ttl(LEASE_TTL);
    let worker = worker.poll_interval(Duration::from_millis(20)).open().await.unwrap();
    for saga in &sagas {
        assert_eq!(saga.outcome().await.unwrap(), SagaOutcome::Completed(2));
    }
    worker.shutdown(Duration::from_secs(5)).await;
    zombie.signal("-CONT");
    // It has understood once it works again, under a lease of its own.
    for nth in 0..SAGAS {
        sagas.push(client.start(&definition, &format!("thawed-{nth}"), 0).await.unwrap());
    }
    for saga in &sagas[SAGAS..] {
        assert_eq!(saga.outcome().await.unwrap(), SagaOutcome::Completed(2));
    }
    zombie.kill();
    check(&open(store).await, &sagas.iter().map(|saga| saga.id()).collect::<Vec<_>>(), &log).await;
}

/// Stops the process, but not while it holds a lock that others need to go on: an embedded database
/// has one for its whole file.
async fn freeze(zombie: &Zombie, journal: &impl Journal) {
    for _ in 0..50 {
        zombie.signal("-STOP");
        let probe = journal.open_lease("probe", Duration::from_millis(1));
        if let Ok(Ok((lease, _))) = tokio::time::timeout(Duration::from_millis(200), probe).await {
            journal.close_lease(lease).await.unwrap();
            return;
        }
        zombie.signal("-CONT");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("the process always holds the lock");
}

async fn check(journal: &impl Journal, sagas: &[saga_core::SagaId], log: &Path) {
    let mut taken_over = 0;
    for history in journal.load(sagas).await.unwrap() {
        let epochs: Vec<_> = history.turns.iter().filter_map(|turn| turn.epoch).collect();
        assert!(epochs.is_sorted(), "a late append entered: {epochs:?}");
        let records: Vec<Record> = history.turns.iter().flat_map(|turn| decode_turn(&turn.body).unwrap()).collect();
        let count = |matches: fn(&Record) -> bool| records.iter().filter(|record| matches(record)).count();
        assert_eq!(count(|record| matches!(record, Record::Done { .. })), 2);
        assert_eq!(count(|record| matches!(record, Record::Completed)), 1);
        taken_over += count(|record| matches!(record, Record::Interrupted { crashed: true, .. }));
    }
    assert!(taken_over >= SAGAS, "the takeover happened in the middle of the steps");
    let mut keys: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in lines(log) {
        let words: Vec<&str> = line.split(' ').collect();
        keys.entry(format!("{} {}", words[1], words[2])).or_default().insert(words[3].to_owned());
    }
    assert_eq!(keys.len(), 2 * sagas.len());
    assert!(keys.values().all(|keys| keys.len() == 1), "one key for each operation");
}

fn lines(log: &Path) -> Vec<String> {
    std::fs::read_to_string(log).unwrap_or_default().lines().map(ToOwned::to_owned).collect()
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..2_000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never came true: {what}");
}

/// The process, killed when dropped.
struct Zombie {
    child: Child,
}

impl Zombie {
    fn start(store: &str, log: &Path) -> Self {
        let program: PathBuf = std::env::current_exe().unwrap();
        let child = Command::new(program)
            .args(["zombie_process", "--exact", "--nocapture"])
            .env(STORE, store)
            .env(LOG, log)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { child }
    }

    fn signal(&self, signal: &str) {
        assert!(Command::new("kill").arg(signal).arg(self.child.id().to_string()).status().unwrap().success());
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Zombie {
    fn drop(&mut self) {
        // Already gone, when all went well.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
