//! What is special about a server: connections, locks, migrations, outages.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use saga_core::journal::{
    After, Appended, Journal as _, JournalError, LockChange, Message, NewSaga, StartReceipt, Turn,
};
use saga_core::{Definition, Engine, SagaOutcome, step_fn};
use saga_postgres::{PostgresBuilder, PostgresJournal, StartInError, start_in};
use saga_testkit::contract::new_saga;
use saga_testkit::faults::polled;
use saga_testkit::postgres::{Cluster, TestDatabase};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, PgPool, Row as _};

const LONG: Duration = Duration::from_secs(600);

async fn database() -> TestDatabase {
    Cluster::shared().await.unwrap().database().await.unwrap()
}

fn turn(saga: &NewSaga, seq: u32) -> Turn {
    Turn::new(saga.id, seq, 7, "[]".to_owned(), After::Keep)
}

fn echo() -> Definition<i64, i64> {
    Definition::build("echo", 1, |saga, input| {
        let step = saga.query("step", step_fn(async |_, n: i64| Ok(n)), input);
        saga.returns(step)
    })
    .unwrap()
}

#[tokio::test]
async fn eight_processes_may_migrate_at_once() {
    let database = database().await;
    let opened: Vec<_> = (0..8)
        .map(|_| {
            let url = database.url().to_owned();
            tokio::spawn(async move { PostgresJournal::connect(&url).await.map(drop) })
        })
        .collect();
    for journal in opened {
        journal.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_newer_schema_and_a_missing_one_are_refused() {
    let database = database().await;
    let builder = || PostgresBuilder::from_url(database.url()).unwrap();
    let missing = builder().migrate(false).open().await.unwrap_err();
    assert!(missing.to_string().contains("run the migrations"), "{missing}");
    builder().open().await.unwrap();
    builder().migrate(false).open().await.unwrap();
    let mut connection = PgConnection::connect(database.url()).await.unwrap();
    connection.execute("INSERT INTO saga.schema_version (version, name) VALUES (999, 'future')").await.unwrap();
    let newer = builder().open().await.unwrap_err();
    assert!(matches!(newer, JournalError::NewerSchema { found: 999, .. }), "{newer}");
}

#[tokio::test]
async fn the_migration_sql_sets_up_an_empty_database() {
    let database = database().await;
    let mut connection = PgConnection::connect(database.url()).await.unwrap();
    let sql = PostgresJournal::migration_sql("other").unwrap();
    connection.execute(AssertSqlSafe(sql)).await.unwrap();
    let builder = PostgresBuilder::from_url(database.url()).unwrap().schema("other").migrate(false);
    let journal = builder.open().await.unwrap();
    journal.start(None, &[new_saga("k")]).await.unwrap();
    // A journal in another schema knows nothing of it.
    let saga = PostgresJournal::connect(database.url()).await.unwrap();
    assert!(saga.find("order", "k").await.unwrap().is_none());
}

#[tokio::test]
async fn a_server_that_may_lose_what_it_acknowledged_is_refused() {
    let database = database().await;
    let mut connection = PgConnection::connect(database.url()).await.unwrap();
    let alter = format!("ALTER DATABASE {} SET synchronous_commit = off", database.name());
    connection.execute(AssertSqlSafe(alter)).await.unwrap();
    let refused = PostgresJournal::connect(database.url()).await.unwrap_err();
    assert!(refused.to_string().contains("synchronous_commit is off"), "{refused}");
    let builder = PostgresBuilder::from_url(database.url()).unwrap();
    builder.allow_unsafe_durability().open().await.unwrap();
}

#[tokio::test]
async fn a_server_that_does_not_wait_for_its_disk_is_refused() {
    // Its setting is for all of a server.
    let cluster = Cluster::start_private().await.unwrap();
    let database = cluster.database().await.unwrap();
    let mut connection = PgConnection::connect(database.url()).await.unwrap();
    connection.execute("ALTER SYSTEM SET fsync = off").await.unwrap();
    connection.execute("SELECT pg_reload_conf()").await.unwrap();
    while sqlx::query_scalar::<_, String>("SHOW fsync").fetch_one(&mut connection).await.unwrap() == "on" {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let refused = PostgresJournal::connect(database.url()).await.unwrap_err();
    assert!(refused.to_string().contains("fsync off"), "{refused}");
    let builder = PostgresBuilder::from_url(database.url()).unwrap();
    builder.allow_unsafe_durability().open().await.unwrap();
}

#[tokio::test]
async fn a_wrong_url_is_named_without_its_password() {
    for url in ["postgres://u:s3cret@127.0.0.1:1/x", "mysql://u:s3cret@h/x"] {
        let error = PostgresJournal::connect(url).await.unwrap_err();
        let text = format!("{error} {error:?}");
        assert!(!text.contains("s3cret"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fencing_waits_for_an_append_that_is_under_way() {
    let database = database().await;
    let journal = Arc::new(PostgresJournal::connect(database.url()).await.unwrap());
    let (lease, _) = journal.open_lease("slow", Duration::from_millis(50)).await.unwrap();
    let saga = new_saga("k");
    journal.start(Some(lease), std::slice::from_ref(&saga)).await.unwrap();
    // An append that has checked the fence, and has not committed.
    let mut slow = PgConnection::connect(database.url()).await.unwrap();
    let mut tx = slow.begin().await.unwrap();
    sqlx::query("SELECT saga.hold_lease($1)").bind(lease.epoch.0).execute(&mut *tx).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let fencing = tokio::spawn({
        let journal = journal.clone();
        async move { journal.fence_lapsed().await }
    });
    // It is waiting for the lock that the append holds.
    let mut probe = PgConnection::connect(database.url()).await.unwrap();
    let waiting =
        "SELECT count(*) AS n FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()";
    while probe.fetch_one(waiting).await.unwrap().get::<i64, _>("n") == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(!fencing.is_finished());
    let insert = "INSERT INTO saga.turn (saga_id, seq, epoch, nonce, at, body) VALUES ($1, 1, $2, 7, now(), '[]')";
    sqlx::query(insert).bind(saga.id.as_uuid()).bind(lease.epoch.0).execute(&mut *tx).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(fencing.await.unwrap().unwrap(), [lease.epoch]);
    let history = journal.load(&[saga.id]).await.unwrap().remove(0);
    assert_eq!(history.turns.len(), 2, "the takeover reads what went in before it");
    assert!(journal.append(lease, &[turn(&saga, 2)]).await.unwrap_err().is_fenced());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_call_leaves_no_transaction_open() {
    let database = database().await;
    for pooling in [false, true] {
        let builder = PostgresBuilder::from_url(database.url()).unwrap().transaction_pooling(pooling).listen(false);
        let journal = builder.open().await.unwrap();
        let (lease, _) = journal.open_lease("worker", LONG).await.unwrap();
        let saga = new_saga(&format!("k{pooling}"));
        journal.start(Some(lease), std::slice::from_ref(&saga)).await.unwrap();
        let mut probe = PgConnection::connect(database.url()).await.unwrap();
        let open = "SELECT count(*) AS n FROM pg_stat_activity WHERE state LIKE 'idle in transaction%' \
                    AND datname = current_database()";
        let mut polls = 0;
        let mut seq = 1;
        loop {
            let next = [turn(&saga, seq)];
            let done = polled(journal.append(lease, &next), polls).await;
            // Whatever became of the first try, the second one settles it.
            let answers = journal.append(lease, &next).await.unwrap();
            assert!(matches!(answers[..], [Appended::Written | Appended::Repeated]), "{answers:?}");
            seq += 1;
            let mut tries = 0;
            while probe.fetch_one(open).await.unwrap().get::<i64, _>("n") > 0 {
                tries += 1;
                assert!(tries < 1000, "a transaction stays open after {polls} polls");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            if done.is_some() {
                break;
            }
            polls += 1;
        }
        assert!(polls > 0, "at least one call was cancelled midway");
        assert_eq!(journal.load(&[saga.id]).await.unwrap()[0].turns.len() as u32, seq);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_in_mid_run_loses_nothing_and_ends_by_itself() {
    // Longer than the lease, so that it lapses while nobody can renew it.
    outage(Duration::from_millis(1_500)).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes half a minute; cargo xtask test runs it"]
async fn an_outage_of_thirty_seconds_loses_nothing_and_ends_by_itself() {
    outage(Duration::from_secs(30)).await;
}

async fn outage(lasts: Duration) {
    let cluster = Cluster::start_private().await.unwrap();
    let database = cluster.database().await.unwrap();
    let definition = Definition::build("slow", 1, |saga, input| {
        let mut last = saga.query("s0", step_fn(async |_, n: i64| Ok(n)), input);
        for nth in 1..20 {
            let step = step_fn(async |_, n: i64| {
                tokio::time::sleep(Duration::from_millis(10)).await;
                Ok(n + 1)
            });
            last = saga.query(&format!("s{nth}"), step, last);
        }
        saga.returns(last)
    })
    .unwrap();
    let journal = PostgresJournal::connect(database.url()).await.unwrap();
    let engine = Engine::builder(journal).register(&definition).lease_ttl(Duration::from_secs(1)).open().await.unwrap();
    let mut sagas = Vec::new();
    for nth in 0..50 {
        sagas.push(engine.start(&definition, &format!("k{nth}"), nth).await.unwrap());
    }
    tokio::time::sleep(Duration::from_millis(60)).await;
    cluster.stop_immediately().unwrap();
    tokio::time::sleep(lasts).await;
    cluster.start_again().await.unwrap();
    for (nth, saga) in sagas.iter().enumerate() {
        let outcome = loop {
            match saga.outcome().await {
                Ok(outcome) => break outcome,
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        };
        assert_eq!(outcome, SagaOutcome::Completed(nth as i64 + 19));
    }
}

#[tokio::test]
async fn a_server_that_is_down_at_the_start_is_an_error_that_can_be_repeated() {
    let cluster = Cluster::start_private().await.unwrap();
    let database = cluster.database().await.unwrap();
    let journal = PostgresJournal::connect(database.url()).await.unwrap();
    let definition = echo();
    let engine =
        Engine::builder(journal).register(&definition).start_timeout(Duration::from_millis(300)).open().await.unwrap();
    cluster.stop_immediately().unwrap();
    let error = PostgresJournal::connect(database.url()).await.unwrap_err();
    assert!(error.is_unavailable(), "{error}");
    let error = engine.start(&definition, "k", 1).await.unwrap_err();
    assert!(matches!(error, saga_core::engine::StartError::Unavailable { .. }), "{error}");
    cluster.start_again().await.unwrap();
    let saga = loop {
        match engine.start(&definition, "k", 1).await {
            Ok(saga) => break saga,
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    };
    assert_eq!(saga.outcome().await.unwrap(), SagaOutcome::Completed(1));
}

#[tokio::test]
async fn a_saga_started_in_a_transaction_exists_if_and_only_if_it_commits() {
    let database = database().await;
    let pool = PgPool::connect(database.url()).await.unwrap();
    let journal = PostgresJournal::from_pool(&pool).await.unwrap();
    let definition = echo();
    let mut tx = pool.begin().await.unwrap();
    start_in(&journal, &mut tx, &definition, "rolled-back", &1).await.unwrap();
    tx.rollback().await.unwrap();
    let mut tx = pool.begin().await.unwrap();
    let id = start_in(&journal, &mut tx, &definition, "committed", &2).await.unwrap();
    assert!(journal.find("echo", "committed").await.unwrap().is_none(), "not yet");
    tx.commit().await.unwrap();
    assert!(journal.find("echo", "rolled-back").await.unwrap().is_none());
    let mut tx = pool.begin().await.unwrap();
    assert_eq!(start_in(&journal, &mut tx, &definition, "committed", &2).await.unwrap(), id);
    let conflict = start_in(&journal, &mut tx, &definition, "committed", &3).await;
    assert!(matches!(conflict, Err(StartInError::Start { .. })));
    drop(tx);
    let engine = Engine::builder(journal).register(&definition).open().await.unwrap();
    assert_eq!(engine.handle(&definition, id).outcome().await.unwrap(), SagaOutcome::Completed(2));
}

#[tokio::test]
async fn a_client_in_another_process_wakes_the_worker() {
    let database = database().await;
    let definition = echo();
    let open = || async { PostgresJournal::connect(database.url()).await.unwrap() };
    // It polls once an hour: what it finds, it was told of.
    let worker = Engine::builder(open().await).register(&definition).poll_interval(Duration::from_secs(3600));
    let _worker = worker.open().await.unwrap();
    let client = Engine::builder(open().await).register(&definition).client_only().open().await.unwrap();
    let saga = client.start(&definition, "k", 1).await.unwrap();
    assert_eq!(saga.outcome().await.unwrap(), SagaOutcome::Completed(1));
}

#[tokio::test]
async fn the_hot_path_reads_no_table_from_end_to_end() {
    let database = database().await;
    let journal = PostgresJournal::connect(database.url()).await.unwrap();
    let mut probe = PgConnection::connect(database.url()).await.unwrap();
    // Making an index reads its table once: what counts is what comes after.
    let before = scans(&mut probe, 0).await;
    let definition = echo();
    let engine = Engine::builder(journal).register(&definition).open().await.unwrap();
    for nth in 0..30 {
        let saga = engine.start(&definition, &format!("k{nth}"), nth).await.unwrap();
        saga.outcome().await.unwrap();
    }
    engine.shutdown(Duration::from_secs(1)).await;
    drop(engine);
    assert_eq!(scans(&mut probe, 60).await, before);
}

/// How often each large table was read from end to end, once so many turns have been counted: backends
/// report what they have done with a delay.
async fn scans(probe: &mut PgConnection, turns: i64) -> Vec<(String, i64)> {
    let counts = "SELECT relname::text, seq_scan, n_tup_ins FROM pg_stat_user_tables \
                  WHERE schemaname = 'saga' AND relname IN ('turn', 'live') ORDER BY relname";
    let mut last = Vec::new();
    for _ in 0..500 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let rows = probe.fetch_all(counts).await.unwrap();
        let now: Vec<(String, i64)> = rows.iter().map(|row| (row.get("relname"), row.get("seq_scan"))).collect();
        let counted = |row: &sqlx::postgres::PgRow| {
            row.get::<&str, _>("relname") == "turn" && row.get::<i64, _>("n_tup_ins") >= turns
        };
        if rows.iter().any(counted) && now == last {
            return now;
        }
        last = now;
    }
    panic!("the server never counted {turns} turns");
}

#[tokio::test]
async fn a_start_whose_backend_was_terminated_is_settled_by_sending_it_again() {
    let database = database().await;
    let journal = PostgresJournal::connect(database.url()).await.unwrap();
    let mut probe = PgConnection::connect(database.url()).await.unwrap();
    for nth in 0..20 {
        let saga = new_saga(&format!("k{nth}"));
        let kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                    WHERE datname = current_database() AND pid <> pg_backend_pid()";
        let (_, started) = tokio::join!(probe.fetch_all(kill), journal.start(None, std::slice::from_ref(&saga)));
        let receipts = match started {
            Ok(receipts) => receipts,
            Err(error) => {
                assert!(error.is_unavailable(), "{error}");
                journal.start(None, std::slice::from_ref(&saga)).await.unwrap()
            }
        };
        assert_eq!(receipts, [StartReceipt::Created]);
        assert_eq!(journal.load(&[saga.id]).await.unwrap()[0].turns.len(), 1);
    }
}

/// What a server says when two transactions are in each other's way is not the caller's trouble.
#[tokio::test]
async fn serialization_failures_and_deadlocks_are_ridden_out() {
    for code in ["40001", "40P01"] {
        let database = database().await;
        let journal = PostgresJournal::connect(database.url()).await.unwrap();
        let mut connection = PgConnection::connect(database.url()).await.unwrap();
        // A sequence does not roll back: the first three writes fail, the fourth goes in.
        let failing = format!(
            "CREATE SEQUENCE public.tries; \
             CREATE FUNCTION public.fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
             IF nextval('public.tries') % 4 <> 0 THEN RAISE EXCEPTION 'as planned' USING ERRCODE = '{code}'; END IF; \
             RETURN NEW; END $$; \
             CREATE TRIGGER fail BEFORE INSERT ON saga.turn FOR EACH STATEMENT EXECUTE FUNCTION public.fail()"
        );
        connection.execute(AssertSqlSafe(failing)).await.unwrap();
        let (lease, _) = journal.open_lease("w", LONG).await.unwrap();
        let saga = new_saga("k");
        assert_eq!(journal.start(Some(lease), std::slice::from_ref(&saga)).await.unwrap(), [StartReceipt::Created]);
        assert_eq!(journal.append(lease, &[turn(&saga, 1)]).await.unwrap(), [Appended::Written]);
        assert_eq!(journal.load(&[saga.id]).await.unwrap()[0].turns.len(), 2);
        let tries: i64 =
            sqlx::query_scalar("SELECT last_value FROM public.tries").fetch_one(&mut connection).await.unwrap();
        assert_eq!(tries, 8, "{code}: each write was tried until it went in");
    }
}

/// The poll interval is long: what wakes the saga that waits is the notification.
#[tokio::test(flavor = "multi_thread")]
async fn a_signal_from_another_process_wakes_the_saga_that_waits() {
    let database = database().await;
    let definition = Definition::build("waits", 1, |saga, most| {
        let came = saga.wait_for::<i64, _>("wait", "news", most);
        saga.returns(came)
    })
    .unwrap();
    let journal = PostgresJournal::connect(database.url()).await.unwrap();
    let worker = Engine::builder(journal).register(&definition).poll_interval(Duration::from_secs(60));
    let worker = worker.lease_ttl(Duration::from_secs(300)).open().await.unwrap();
    let journal = PostgresJournal::connect(database.url()).await.unwrap();
    let client = Engine::builder(journal).register(&definition).client_only().open().await.unwrap();
    let saga = worker.start(&definition, "k", None).await.unwrap();
    while worker.status(saga.id()).await.unwrap().unwrap().status != saga_core::journal::SagaStatus::Waiting {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let sent = std::time::Instant::now();
    client.signal("waits", "k", "news", &7_i64, "m").await.unwrap();
    assert_eq!(saga.outcome().await.unwrap(), SagaOutcome::Completed(Some(7)));
    assert!(sent.elapsed() < Duration::from_secs(30), "long before the next poll");
}

/// The work is told of in a moment; without a word it would be found when `wait_for_work` is over.
async fn told<T>(other: &PostgresJournal, made: impl Future<Output = T>) -> T {
    const QUIET: Duration = Duration::from_millis(100);
    const WAIT: Duration = Duration::from_secs(30);
    loop {
        // What was told before this is no news.
        let began = Instant::now();
        other.wait_for_work(QUIET).await;
        if began.elapsed() >= QUIET {
            break;
        }
    }
    let began = Instant::now();
    let ((), made) = tokio::join!(other.wait_for_work(WAIT), made);
    assert!(began.elapsed() < WAIT, "nobody was told");
    made
}

#[tokio::test]
async fn whatever_makes_work_wakes_the_workers_of_other_processes() {
    let database = database().await;
    let journal = PostgresJournal::connect(database.url()).await.unwrap();
    let other = PostgresJournal::connect(database.url()).await.unwrap();
    let (lease, _) = journal.open_lease("worker", LONG).await.unwrap();
    let sagas = [new_saga("a"), new_saga("b")];
    journal.start(Some(lease), &sagas).await.unwrap();
    let asks = || Some(LockChange::Ask { step: "lock".into(), keys: vec!["k".to_owned()] });
    let message = |id: &str| Message { definition: "order".into(), key: "b".into(), id: id.into(), body: "1".into() };
    let turns = [
        Turn { starts: vec![new_saga("child")], ..turn(&sagas[0], 1) },
        Turn { sends: vec![message("m")], ..turn(&sagas[0], 2) },
        Turn { locks: asks(), ..turn(&sagas[0], 3) },
        Turn { locks: Some(LockChange::GiveUp), ..turn(&sagas[0], 4) },
    ];
    for turn in turns {
        let answers = told(&other, journal.append(lease, std::slice::from_ref(&turn))).await;
        assert_eq!(answers.unwrap(), [Appended::Written], "turn {}", turn.seq);
    }
    told(&other, journal.start(None, &[new_saga("c")])).await.unwrap();
    told(&other, journal.send(&[message("n")])).await.unwrap();
    told(&other, journal.close_lease(lease)).await.unwrap();
}

#[tokio::test]
async fn a_journal_that_is_closed_leaves_no_connection() {
    let database = database().await;
    let builder = PostgresBuilder::from_url(database.url()).unwrap().listen(false);
    let journal = builder.open().await.unwrap();
    let mut observer = PgConnection::connect(database.url()).await.unwrap();
    let others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
    journal.start(None, &[new_saga("k")]).await.unwrap();
    assert!(sqlx::query_scalar::<_, i64>(others).fetch_one(&mut observer).await.unwrap() > 0);
    journal.close().await;
    let closed = async {
        // The server's process takes a moment to end.
        while sqlx::query_scalar::<_, i64>(others).fetch_one(&mut observer).await.unwrap() > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), closed).await.expect("it has closed all");
    // It connects again when it is used.
    journal.start(None, &[new_saga("l")]).await.unwrap();
}

/// A second claim would not name what a first one took whose answer was lost: whoever claims has to know, and asks what
/// it owns. A start says the same each time.
#[tokio::test]
async fn a_claim_whose_connection_broke_is_not_made_again_behind_its_callers_back() {
    let database = database().await;
    let builder = PostgresBuilder::from_url(database.url()).unwrap().listen(false).connections(1);
    let journal = builder.open().await.unwrap();
    let (lease, _) = journal.open_lease("worker", LONG).await.unwrap();
    let wanted = [("order".to_owned(), 1)];
    journal.claim(lease, &wanted, 10).await.unwrap();
    let mut observer = PgConnection::connect(database.url()).await.unwrap();
    kill_others(&mut observer).await;
    let lost = journal.claim(lease, &wanted, 10).await.unwrap_err();
    assert!(lost.is_unavailable(), "{lost}");
    journal.claim(lease, &wanted, 10).await.unwrap();
    kill_others(&mut observer).await;
    journal.start(None, &[new_saga("k")]).await.unwrap();
}

/// Ends all other connections to the database, and returns once they have ended.
async fn kill_others(observer: &mut PgConnection) {
    let kill = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                WHERE datname = current_database() AND pid <> pg_backend_pid()";
    while sqlx::query_scalar::<_, i64>(kill).fetch_one(&mut *observer).await.unwrap() > 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
