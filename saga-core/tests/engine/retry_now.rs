//! An operator has a saga tried at once that waits for its next attempt.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use saga_core::engine::{Engine, OperatorError};
use saga_core::journal::MemoryJournal;
use saga_core::machine::{Record, Refused};
use saga_core::{Definition, Jitter, Outcome, RetryPolicy, SagaId, Source as _, StepContext, StepError, step_fn};

use super::support::{completed, dead_letters, engine, rolled_back, until};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Three attempts, a day apart.
fn daily() -> RetryPolicy {
    RetryPolicy::fixed(DAY).cap(DAY).jitter(Jitter::None).attempts(3)
}

/// Asks a participant that is away until it is back, once a day, three times at most.
fn patient(back: &Arc<AtomicBool>) -> Definition<i64, i64> {
    let back = back.clone();
    Definition::build("patient", 1, |saga, n| {
        let ask = step_fn(move |_, n: i64| {
            let back = back.load(Ordering::SeqCst);
            async move { if back { Ok(n) } else { Err(StepError::retry("nobody there")) } }
        });
        let asked = saga.retryable("ask", ask, n).retry(daily());
        saga.returns(asked)
    })
    .unwrap()
}

fn refusal(answer: Result<(), OperatorError>) -> Refused {
    match answer {
        Err(OperatorError::Refused { source, .. }) => source,
        other => unreachable!("{other:?}"),
    }
}

async fn records(engine: &Engine, saga: SagaId) -> Vec<Record> {
    engine.history(saga).await.unwrap().unwrap().into_iter().flat_map(|turn| turn.records).collect()
}

/// How many attempts have failed.
async fn failures(engine: &Engine, saga: SagaId) -> usize {
    records(engine, saga).await.iter().filter(|record| matches!(record, Record::Failed { .. })).count()
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_its_next_attempt_is_tried_at_once_under_its_old_budget() {
    let back = Arc::new(AtomicBool::new(false));
    let definition = patient(&back);
    let journal = MemoryJournal::new();
    let worker = engine(&journal).register(&definition).open().await.unwrap();
    let saga = worker.start(&definition, "k", 7).await.unwrap();
    until("it has failed", async || failures(&worker, saga.id()).await == 1).await;
    // From another process, which runs nothing.
    let console = Engine::builder(journal.clone()).register(&definition).client_only().open().await.unwrap();
    let operator = console.operator();
    assert_eq!(refusal(operator.retry_now(saga.id(), "ann", " ").await), Refused::NoReason);
    let began = tokio::time::Instant::now();
    operator.retry_now(saga.id(), "ann", "they say it is back").await.unwrap();
    until("it has failed again", async || failures(&worker, saga.id()).await == 2).await;
    back.store(true, Ordering::SeqCst);
    operator.retry_now(saga.id(), "ann", "now it is").await.unwrap();
    assert_eq!(completed(&saga).await, 7);
    assert!(began.elapsed() < DAY / 2, "nobody waited for the timer");
    let records = records(&console, saga.id()).await;
    let told = |reason: &str| Record::RetriedNow { actor: "ann".to_owned(), reason: reason.to_owned() };
    assert!(records.contains(&told("they say it is back")) && records.contains(&told("now it is")), "{records:?}");
    assert_eq!(refusal(operator.retry_now(saga.id(), "ann", "again").await), Refused::NoRetryPending, "it is over");
    let checked = worker.verify(None).await.unwrap();
    assert!(checked.violations.is_empty(), "the timers were put aside by a decision: {:?}", checked.violations);
}

#[tokio::test(start_paused = true)]
async fn asking_twice_is_asking_once() {
    let definition = patient(&Arc::default());
    let journal = MemoryJournal::new();
    let console = Engine::builder(journal.clone()).register(&definition).client_only().open().await.unwrap();
    let worker = engine(&journal).register(&definition).open().await.unwrap();
    let saga = worker.start(&definition, "k", 7).await.unwrap();
    until("it has failed", async || failures(&console, saga.id()).await == 1).await;
    let operator = console.operator();
    let ask = async || operator.retry_now(saga.id(), "ann", "they say it is back").await;
    let (one, other) = tokio::join!(ask(), ask());
    one.and(other).unwrap();
    until("it has failed again", async || failures(&console, saga.id()).await == 2).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    let records = records(&console, saga.id()).await;
    let told = records.iter().filter(|record| matches!(record, Record::RetriedNow { .. })).count();
    assert_eq!((told, failures(&console, saga.id()).await), (1, 2), "{records:?}");
}

#[tokio::test(start_paused = true)]
async fn a_compensation_that_waits_is_tried_at_once_as_well() {
    let back = Arc::new(AtomicBool::new(false));
    let undoes = back.clone();
    let definition = Definition::build("undoing", 1, |saga, n| {
        let hold = step_fn(async |_, n: i64| Ok(n)).compensate(move |_: StepContext, _, _: Outcome<i64>| {
            let back = undoes.load(Ordering::SeqCst);
            async move { if back { Ok(()) } else { Err(StepError::retry("nobody there")) } }
        });
        let held = saga.compensatable("hold", hold, n).compensation_retry(daily());
        let no = saga.query("no", step_fn(async |_, _: i64| Err::<i64, _>(StepError::rejected("no"))), held);
        saga.returns(no)
    })
    .unwrap();
    let engine = engine(&MemoryJournal::new()).register(&definition).open().await.unwrap();
    let saga = engine.start(&definition, "k", 7).await.unwrap();
    until("it has failed", async || failures(&engine, saga.id()).await == 2).await;
    back.store(true, Ordering::SeqCst);
    let began = tokio::time::Instant::now();
    engine.operator().retry_now(saga.id(), "ann", "it is back").await.unwrap();
    assert_eq!(rolled_back(&saga).await, "no failed: no");
    assert!(began.elapsed() < DAY / 2);
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_something_else_is_refused_and_stays_as_it_is() {
    let waits = Definition::build("waits", 1, |saga, n| {
        let _ = saga.sleep("rest", ().map(|()| DAY));
        let taken = saga.query("take", step_fn(async |_, n: i64| Ok(n)), n);
        saga.returns(taken)
    })
    .unwrap();
    let fails = Definition::build("fails", 1, |saga, n| {
        let fail = saga.retryable("fail", step_fn(async |_, _: i64| Err::<i64, _>(StepError::fatal("no"))), n);
        saga.returns(fail)
    })
    .unwrap();
    let engine = engine(&MemoryJournal::new()).register(&waits).register(&fails).open().await.unwrap();
    let operator = engine.operator();
    let (sleeping, failed) = (engine.start(&waits, "k", 1).await.unwrap(), engine.start(&fails, "k", 1).await.unwrap());
    dead_letters(&failed).await;
    let sleeps = |record: &Record| matches!(record, Record::Sleeping { .. });
    until("it sleeps", async || records(&engine, sleeping.id()).await.iter().any(sleeps)).await;
    for saga in [sleeping.id(), failed.id()] {
        let before = records(&engine, saga).await;
        assert_eq!(refusal(operator.retry_now(saga, "ann", "hurry").await), Refused::NoRetryPending);
        assert_eq!(records(&engine, saga).await, before, "nothing was written");
    }
    let nobody = operator.retry_now(SagaId::new(), "ann", "hurry").await;
    assert!(matches!(nobody, Err(OperatorError::NotFound { .. })), "{nobody:?}");
}
