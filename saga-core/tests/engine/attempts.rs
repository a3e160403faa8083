//! Promises 2, 3 and 4: idempotent starts, one key for each operation, checkpoints before effects.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use saga_core::journal::{Journal, MemoryJournal};
use saga_core::machine::{Record, decode_turn};
use saga_core::{Definition, Soft, StepContext, StepError, step_fn};

use super::support::{completed, engine, quick};

#[tokio::test(start_paused = true)]
async fn every_attempt_of_an_operation_carries_the_same_key() {
    let keys = Arc::new(Mutex::new(BTreeSet::new()));
    let seen = keys.clone();
    let definition = Definition::build("keys", 1, |saga, input| {
        let step = step_fn(move |cx: StepContext, n: i64| {
            seen.lock().unwrap().insert(cx.key());
            async move { if cx.attempt() < 3 { Err(StepError::retry("again")) } else { Ok(n) } }
        });
        let step = saga.query("step", step, input).retry(quick());
        saga.returns(step)
    })
    .unwrap();
    let engine = engine(&MemoryJournal::new()).register(&definition).open().await.unwrap();
    assert_eq!(completed(&engine.start(&definition, "k", 7).await.unwrap()).await, 7);
    assert_eq!(keys.lock().unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn starting_again_returns_the_same_saga_and_outcome() {
    let definition = Definition::build("again", 1, |saga, input| {
        let step = saga.query("step", step_fn(async |cx: StepContext, _: i64| Ok(cx.key().to_string())), input);
        saga.returns(step)
    })
    .unwrap();
    let journal = MemoryJournal::new();
    let engine = engine(&journal).register(&definition).open().await.unwrap();
    let first = engine.start(&definition, "k", 1).await.unwrap();
    let output = completed(&first).await;
    let second = engine.start(&definition, "k", 1).await.unwrap();
    assert_eq!(first.id(), second.id());
    assert_eq!(completed(&second).await, output);
    let found = engine.find(&definition, "k").await.unwrap().unwrap();
    assert_eq!(completed(&found).await, output);
    assert!(engine.find(&definition, "other").await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn an_n_step_saga_costs_one_append_and_one_for_each_step() {
    let definition = Definition::build("cost", 1, |saga, input| {
        let a = saga.query("a", step_fn(async |_, n: i64| Ok(n)), input);
        let b = saga.query("b", step_fn(async |_, n: i64| Ok(n)), a);
        let c = saga.query("c", step_fn(async |_, n: i64| Ok(n)), b);
        saga.returns(c)
    })
    .unwrap();
    let journal = MemoryJournal::new();
    let engine = engine(&journal).register(&definition).open().await.unwrap();
    let saga = engine.start(&definition, "k", 1).await.unwrap();
    completed(&saga).await;
    let history = journal.load(&[saga.id()]).await.unwrap().remove(0);
    let turns: Vec<Vec<Record>> = history.turns.iter().map(|turn| decode_turn(&turn.body).unwrap()).collect();
    assert_eq!(turns.len(), 4);
    // Each checkpoint carries the intent of the step after it.
    assert!(matches!(&turns[0][..], [Record::Started { .. }, Record::Begun { .. }]));
    assert!(matches!(&turns[1][..], [Record::Done { .. }, Record::Begun { .. }]));
    assert!(matches!(&turns[2][..], [Record::Done { .. }, Record::Begun { .. }]));
    assert!(matches!(&turns[3][..], [Record::Done { .. }, Record::Completed]));
}

#[tokio::test(start_paused = true)]
async fn branches_run_side_by_side_and_join() {
    let definition = Definition::build("parallel", 1, |saga, input| {
        let wait = |n: i64| {
            step_fn(move |_, input: i64| async move {
                tokio::time::sleep(Duration::from_secs(10)).await;
                Ok(input + n)
            })
        };
        let (a, b) = saga.parallel(|group| {
            (
                group.branch(|saga| saga.query("a", wait(1), input)),
                group.branch(|saga| {
                    let b = saga.query("b", wait(2), input);
                    saga.query("c", step_fn(async |_, n: i64| Ok(n * 10)), b)
                }),
            )
        });
        saga.returns((a, b))
    })
    .unwrap();
    let engine = engine(&MemoryJournal::new()).register(&definition).open().await.unwrap();
    let began = tokio::time::Instant::now();
    assert_eq!(completed(&engine.start(&definition, "k", 1).await.unwrap()).await, (2, 30));
    assert!(began.elapsed() < Duration::from_secs(11));
}

#[tokio::test(start_paused = true)]
async fn a_soft_failure_is_recorded_and_the_saga_goes_on() {
    let definition = Definition::build("soft", 1, |saga, input| {
        let mail = saga.best_effort(
            "mail",
            step_fn(async |_, _: i64| Err::<(), _>(StepError::fatal("no such mailbox"))),
            input,
        );
        let told = saga.query("told", step_fn(async |_, soft: Soft<()>| Ok(format!("{soft:?}"))), mail);
        saga.returns((mail, told))
    })
    .unwrap();
    let engine = engine(&MemoryJournal::new()).register(&definition).open().await.unwrap();
    let (soft, told) = completed(&engine.start(&definition, "k", 1).await.unwrap()).await;
    assert_eq!(soft, Soft::Failed("no such mailbox".to_owned()));
    assert_eq!(told, r#"Failed("no such mailbox")"#);
}
