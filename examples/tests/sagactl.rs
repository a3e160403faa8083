//! The operator's command line, on a journal with sagas of every kind.

#![allow(clippy::unwrap_used, reason = "tests")]

use clap::Parser;
use examples::sagactl::{Command, run};
use saga_core::{Definition, Engine, Outcome, SagaOutcome, Source as _, StepContext, StepError, step_fn};
use saga_sqlite::SqliteJournal;

#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// Pays 1, refuses 2, cannot be undone for 3, and waits for a signal for 4.
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

async fn ctl(engine: &Engine, line: &str, json: bool) -> Result<String, String> {
    let words = std::iter::once("sagactl").chain(line.split_whitespace());
    let cli = Cli::try_parse_from(words).map_err(|error| error.to_string())?;
    run(engine, cli.command, json).await.map_err(|error| error.to_string())
}

#[tokio::test]
async fn an_operator_finds_reads_and_decides() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sagas.db");
    let definition = definition();
    let worker = Engine::builder(SqliteJournal::open(&path).await.unwrap()).register(&definition);
    let worker = worker.poll_interval(std::time::Duration::from_millis(10)).open().await.unwrap();
    let mut sagas = Vec::new();
    for n in 1..=4 {
        sagas.push(worker.start(&definition, &format!("order-{n}"), n).await.unwrap());
    }
    for saga in &sagas[..3] {
        saga.outcome().await.unwrap();
    }
    while worker.in_flight() > 0 {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    // From another process: it has the definition, and runs nothing.
    let client = Engine::builder(SqliteJournal::open(&path).await.unwrap()).register(&definition);
    let client = client.client_only().open().await.unwrap();

    let all = ctl(&client, "list", false).await.unwrap();
    for expected in ["order-1", "completed", "order-2", "rolled-back", "order-3", "attention", "order-4", "waiting"] {
        assert!(all.contains(expected), "{expected} is missing:\n{all}");
    }
    let waiting: serde_json::Value =
        serde_json::from_str(&ctl(&client, "list --status waiting --key order-", true).await.unwrap()).unwrap();
    assert_eq!(waiting.as_array().unwrap().len(), 1);
    assert_eq!(waiting[0]["key"], "order-4");
    let found = async |line: &str| {
        let found: Vec<serde_json::Value> = serde_json::from_str(&ctl(&client, line, true).await.unwrap()).unwrap();
        found.into_iter().map(|saga| saga["key"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(found("list --mentions declined").await, ["order-3", "order-2"], "an error's text");
    assert_eq!(found("list --mentions declined --status attention --since 1h").await, ["order-3"]);
    assert_eq!(found("list --until 1h").await, [""; 0], "they are younger than an hour");
    let second = client.status(sagas[1].id()).await.unwrap().unwrap().header.created_at.to_utc();
    let line = format!("list --since {} --key order-2", second.to_rfc3339());
    assert_eq!(found(&line).await, ["order-2"], "the beginning of the interval is in it");
    let line = format!("list --until {} --key order-2", second.to_rfc3339());
    assert_eq!(found(&line).await, [""; 0], "its end is not");
    let refused = ctl(&client, "list --since yesterday", false).await.unwrap_err();
    assert!(refused.contains("an age like"), "{refused}");
    let stats: serde_json::Value = serde_json::from_str(&ctl(&client, "stats", true).await.unwrap()).unwrap();
    assert_eq!((&stats["completed"], &stats["attention"]), (&1.into(), &1.into()));

    let checked = ctl(&client, "check", false).await.unwrap();
    assert!(checked.contains("can continue") && checked.contains("pay v1") && checked.contains("2 sagas"), "{checked}");
    let stranger = Engine::builder(SqliteJournal::open(&path).await.unwrap()).client_only().open().await.unwrap();
    let refused = ctl(&stranger, "check", false).await.unwrap_err();
    assert!(refused.contains("only another binary can finish"), "{refused}");

    let verified = ctl(&client, "verify", false).await.unwrap();
    assert!(verified.contains("pay v1") && verified.contains("nothing is wrong"), "{verified}");

    let third = sagas[2].id();
    let shown = ctl(&client, &format!("show {third}"), false).await.unwrap();
    for expected in [
        "take\n└ ",
        "failed: declined",
        "hold\n",
        "compensate #1",
        "the gateway refuses the void",
        "waits for a human (failed)",
    ] {
        assert!(shown.contains(expected), "{expected:?} is missing:\n{shown}");
    }
    let letters = ctl(&client, "dead-letters", false).await.unwrap();
    assert!(letters.contains("compensate hold") && letters.contains("order-3"), "{letters}");

    let refused = ctl(&client, &format!("probe {third} hold --actor ann --reason looked"), false).await.unwrap_err();
    assert!(refused.contains("no pivot with an unknown outcome"), "{refused}");
    let nameless = ctl(&client, &format!("retry {third} hold --reason looked"), false).await.unwrap_err();
    assert!(nameless.contains("--actor"), "{nameless}");
    ctl(&client, &format!("retry {third} hold --actor ann --reason back"), false).await.unwrap();
    while !matches!(sagas[2].outcome_now().await.unwrap(), Some(SagaOutcome::RolledBack(_))) {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let shown = ctl(&client, &format!("show {third}"), false).await.unwrap();
    assert!(shown.contains("retry by ann: back") && shown.contains("rolled back"), "{shown}");

    let fourth = sagas[3].id();
    let refused = ctl(&client, &format!("retry-now {fourth} --actor ann --reason hurry"), false).await.unwrap_err();
    assert!(refused.contains("nothing of the saga waits for its next attempt"), "it waits for a signal: {refused}");
    let picture = ctl(&client, &format!("diagram {fourth}"), false).await.unwrap();
    assert!(picture.starts_with("flowchart TD") && picture.contains("class s0 done"), "{picture}");
    let picture = ctl(&client, "diagram pay --dot", false).await.unwrap();
    assert!(picture.starts_with("digraph \"pay v1\""), "{picture}");
    assert!(ctl(&client, "diagram nothing", false).await.unwrap_err().contains("no definition nothing v1"));
    assert_eq!(ctl(&client, "locks", true).await.unwrap(), "[]");
    assert_eq!(ctl(&client, "dead-events", true).await.unwrap(), "[]");
    let unknown = ctl(&client, "republish none --actor ann --reason mended", false).await.unwrap_err();
    assert!(unknown.contains("waits for a decision"), "{unknown}");

    let done = ctl(&client, &format!("rollback {fourth} --actor ann --reason enough"), false).await.unwrap();
    assert!(done.contains("is rolled back"), "{done}");
    assert!(matches!(sagas[3].outcome().await.unwrap(), SagaOutcome::RolledBack(_)));
    let shown: serde_json::Value =
        serde_json::from_str(&ctl(&client, &format!("show {fourth}"), true).await.unwrap()).unwrap();
    let whats: Vec<_> = shown["attempts"].as_array().unwrap().iter().map(|attempt| attempt["what"].clone()).collect();
    assert!(whats.contains(&"cancelled by ann: enough".into()), "{whats:?}");
    let late = ctl(&client, &format!("cancel {fourth} --actor ann --reason again"), false).await.unwrap_err();
    assert!(late.contains("cannot be cancelled"), "{late}");
}

#[tokio::test]
async fn a_journal_that_was_tampered_with_is_not_verified() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sagas.db");
    let definition = definition();
    let engine = Engine::builder(SqliteJournal::open(&path).await.unwrap()).register(&definition).open().await.unwrap();
    let saga = engine.start(&definition, "order-2", 2).await.unwrap();
    saga.outcome().await.unwrap();
    let one = format!("verify {}", saga.id());
    ctl(&engine, &one, true).await.unwrap();
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&path);
    let pool = sqlx::SqlitePool::connect_with(options).await.unwrap();
    // As if the compensation had been forgotten.
    let forget = "UPDATE saga_turn SET body = '[\"rolled_back\"]' WHERE seq = (SELECT max(seq) FROM saga_turn)";
    assert_eq!(sqlx::query(forget).execute(&pool).await.unwrap().rows_affected(), 1);
    let found = ctl(&engine, &one, false).await.unwrap_err();
    assert!(found.contains("I6") && found.contains("hold"), "{found}");
    let found = ctl(&engine, "verify", true).await.unwrap_err();
    assert!(found.contains("\"invariant\":\"I6\""), "{found}");
    let nobody = ctl(&engine, &format!("verify {}", saga_core::SagaId::new()), false).await.unwrap_err();
    assert!(nobody.contains("there is no saga"), "{nobody}");
}
