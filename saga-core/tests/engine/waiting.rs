//! Retry waits are timers of the engine, and hold no slot.

use std::time::Duration;

use saga_core::journal::{MemoryJournal, SagaStatus};
use saga_core::{Definition, Limits, RetryPolicy, StepContext, StepError, step_fn};

use super::support::{completed, engine, until};

fn twice(delay: Duration) -> Definition<i64, u32> {
    Definition::build("twice", 1, |saga, input| {
        let step = step_fn(
            async |cx: StepContext, _: i64| {
                if cx.attempt() == 1 { Err(StepError::unsent("refused")) } else { Ok(cx.attempt()) }
            },
        );
        let step = saga.query("step", step, input).retry(RetryPolicy::fixed(delay).cap(delay));
        saga.returns(step)
    })
    .unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_saga_that_waits_long_is_parked_and_comes_back_when_due() {
    let definition = twice(Duration::from_secs(3600));
    let journal = MemoryJournal::new();
    let engine = engine(&journal).register(&definition).open().await.unwrap();
    let began = tokio::time::Instant::now();
    let saga = engine.start(&definition, "k", 1).await.unwrap();
    until("parked", async || {
        engine.status(saga.id()).await.unwrap().unwrap().status == SagaStatus::Waiting && engine.in_flight() == 0
    })
    .await;
    assert_eq!(completed(&saga).await, 2);
    assert!(began.elapsed() >= Duration::from_secs(1800));
}

#[tokio::test(start_paused = true)]
async fn a_saga_that_waits_shortly_stays_with_its_worker() {
    let definition = twice(Duration::from_millis(900));
    let engine = engine(&MemoryJournal::new()).register(&definition).open().await.unwrap();
    let saga = engine.start(&definition, "k", 1).await.unwrap();
    until("waits", async || engine.in_flight() == 0).await;
    assert_eq!(
        engine.status(saga.id()).await.unwrap().unwrap().status,
        SagaStatus::Running,
        "it would be claimed anew"
    );
    assert_eq!(completed(&saga).await, 2);
}

#[tokio::test(start_paused = true)]
async fn a_short_wait_holds_no_slot() {
    let definition = twice(Duration::from_millis(900));
    let other = Definition::build("other", 1, |saga, input| {
        let step = saga.query("step", step_fn(async |_, n: i64| Ok(n)), input);
        saga.returns(step)
    })
    .unwrap();
    let mut limits = Limits::default();
    limits.in_flight_max = 1;
    let engine =
        engine(&MemoryJournal::new()).register(&definition).register(&other).limits(limits).open().await.unwrap();
    let waiting = engine.start(&definition, "k", 1).await.unwrap();
    until("waits", async || engine.in_flight() == 0).await;
    let began = tokio::time::Instant::now();
    completed(&engine.start(&other, "k", 1).await.unwrap()).await;
    assert!(began.elapsed() < Duration::from_millis(300), "the only slot was free");
    assert_eq!(completed(&waiting).await, 2);
}

#[tokio::test(start_paused = true)]
async fn a_participants_wish_to_wait_is_honoured_within_reason() {
    for (wish, granted) in
        [(60, 60), (1_000_000_000, 120)].map(|(a, b)| (Duration::from_secs(a), Duration::from_secs(b)))
    {
        let waited = wait_for(wish).await;
        assert!(waited >= granted && waited < granted + Duration::from_secs(2), "{waited:?}");
    }
}

async fn wait_for(wish: Duration) -> Duration {
    let definition = Definition::build("after", 1, |saga, input| {
        let step = step_fn(move |cx: StepContext, _: i64| async move {
            if cx.attempt() == 1 { Err(StepError::retry("slow down").after(wish)) } else { Ok(()) }
        });
        let retry = RetryPolicy::standard().cap(Duration::from_secs(120));
        let step = saga.query("step", step, input).retry(retry);
        saga.returns(step)
    })
    .unwrap();
    let engine = engine(&MemoryJournal::new()).register(&definition).open().await.unwrap();
    let began = tokio::time::Instant::now();
    completed(&engine.start(&definition, "k", 1).await.unwrap()).await;
    began.elapsed()
}

#[tokio::test(start_paused = true)]
async fn more_sagas_than_slots_are_all_run() {
    let definition = Definition::build("many", 1, |saga, input| {
        let step = step_fn(async |_, n: i64| {
            tokio::time::sleep(Duration::from_millis(20)).await;
            Ok(n)
        });
        let step = saga.query("step", step, input);
        saga.returns(step)
    })
    .unwrap();
    let mut limits = Limits::default();
    limits.in_flight_max = 4;
    let engine = engine(&MemoryJournal::new()).register(&definition).limits(limits).open().await.unwrap();
    let mut sagas = Vec::new();
    for n in 0..50 {
        sagas.push(engine.start(&definition, &format!("k{n}"), n).await.unwrap());
    }
    for (n, saga) in sagas.iter().enumerate() {
        assert_eq!(completed(saga).await, n as i64);
    }
}

#[tokio::test(start_paused = true)]
async fn a_retry_is_on_time_though_another_branch_is_at_work() {
    let began = tokio::time::Instant::now();
    let retried = std::sync::Arc::new(std::sync::Mutex::new(None));
    let noted = retried.clone();
    let definition = Definition::build("branches", 1, |saga, input| {
        saga.parallel(|group| {
            group.branch(|saga| {
                let long = step_fn(async |_, _: i64| {
                    tokio::time::sleep(Duration::from_secs(20)).await;
                    Ok(())
                });
                saga.query("long", long, input)
            });
            group.branch(|saga| {
                let twice = step_fn(move |cx: StepContext, _: i64| {
                    if cx.attempt() == 2 {
                        *noted.lock().unwrap() = Some(began.elapsed());
                    }
                    async move { if cx.attempt() == 1 { Err(StepError::unsent("refused")) } else { Ok(()) } }
                });
                let pause = Duration::from_secs(3);
                saga.query("twice", twice, input).timeout(pause).retry(RetryPolicy::fixed(pause).cap(pause))
            });
        });
        saga.returns(input)
    })
    .unwrap();
    let engine = engine(&MemoryJournal::new()).register(&definition).open().await.unwrap();
    completed(&engine.start(&definition, "k", 1).await.unwrap()).await;
    let retried = retried.lock().unwrap().unwrap();
    assert!(retried < Duration::from_secs(10), "{retried:?}");
}
