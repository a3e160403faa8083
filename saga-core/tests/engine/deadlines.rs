//! S08: limits over all attempts, and over the whole saga.

use std::time::Duration;

use saga_core::journal::MemoryJournal;
use saga_core::{Definition, Outcome, RetryPolicy, StepContext, StepError, step_fn};

use super::support::{World, completed, engine, rolled_back};

const SECOND: Duration = Duration::from_secs(1);

/// Hold, then a pivot that takes as long as its input says; its compensation takes ten seconds.
fn slow(world: &World, pivot: RetryPolicy) -> Definition<u64, u64> {
    Definition::build("slow", 1, |saga, seconds| {
        saga.deadline(5 * SECOND);
        let (applied, undone) = (world.clone(), world.clone());
        let hold = step_fn(move |cx: StepContext, n: u64| {
            applied.apply(&cx);
            async move { Ok(n) }
        })
        .compensate(move |cx: StepContext, _: u64, _: Outcome<u64>| {
            let world = undone.clone();
            async move {
                tokio::time::sleep(10 * SECOND).await;
                world.undo(&cx, "hold");
                Ok(())
            }
        });
        let hold = saga.compensatable("hold", hold, seconds);
        let take = step_fn(async |_: StepContext, seconds: u64| {
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            if seconds == 0 { Err(StepError::unsent("closed")) } else { Ok(seconds) }
        });
        let taken = saga.pivot("take", take, hold).retry(pivot);
        let told = step_fn(async |_: StepContext, n: u64| {
            tokio::time::sleep(20 * SECOND).await;
            Ok(n)
        });
        let told = saga.retryable("tell", told, taken);
        saga.returns(told)
    })
    .unwrap()
}

#[tokio::test(start_paused = true)]
async fn past_its_deadline_a_saga_turns_back_and_its_compensations_take_their_time() {
    let world = World::default();
    let hourly = RetryPolicy::fixed(SECOND * 3600).cap(SECOND * 3600);
    let definition = slow(&world, hourly);
    let engine = engine(&MemoryJournal::new()).register(&definition).open().await.unwrap();
    let began = tokio::time::Instant::now();
    let saga = engine.start(&definition, "k", 0).await.unwrap();
    assert_eq!(rolled_back(&saga).await, "the saga's deadline passed");
    let took = began.elapsed();
    assert!(took >= 15 * SECOND && took < 17 * SECOND, "five seconds forward, ten back: {took:?}");
    assert_eq!(world.standing(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn past_the_point_of_no_return_a_deadline_has_no_meaning() {
    let world = World::default();
    let definition = slow(&world, RetryPolicy::never());
    let engine = engine(&MemoryJournal::new()).register(&definition).open().await.unwrap();
    assert_eq!(completed(&engine.start(&definition, "k", 4).await.unwrap()).await, 4);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_ends_with_the_deadline_and_an_unknown_pivot_is_asked_about_first() {
    let world = World::default();
    let definition = slow(&world, RetryPolicy::never());
    let engine = engine(&MemoryJournal::new()).register(&definition).open().await.unwrap();
    let began = tokio::time::Instant::now();
    let saga = engine.start(&definition, "k", 3600).await.unwrap();
    let letters = super::support::dead_letters(&saga).await;
    assert!(began.elapsed() < 6 * SECOND);
    assert_eq!(letters[0].reason.as_str(), "unknown-outcome", "no direction is taken on a guess");
    assert_eq!(world.standing(), ["hold"]);
}

#[tokio::test(start_paused = true)]
async fn a_limit_over_all_attempts_ends_them() {
    let definition = Definition::build("within", 1, |saga, input| {
        let step = step_fn(async |cx: StepContext, _: i64| {
            tokio::time::sleep(4 * SECOND).await;
            Err::<(), _>(StepError::retry(format!("attempt {} had {:?}", cx.attempt(), cx.timeout())))
        });
        let retry = RetryPolicy::fixed(SECOND).jitter(saga_core::Jitter::None).unbounded().within(12 * SECOND);
        let step = saga.query("step", step, input).retry(retry);
        saga.returns(step)
    })
    .unwrap();
    let engine = engine(&MemoryJournal::new()).register(&definition).open().await.unwrap();
    let began = tokio::time::Instant::now();
    let failure = rolled_back(&engine.start(&definition, "k", 1).await.unwrap()).await;
    // At 0, 5 and 10 seconds; the third is cut short by what is left.
    assert!(failure.starts_with("step failed: no answer within "), "{failure}");
    assert!(began.elapsed() >= 12 * SECOND && began.elapsed() < 13 * SECOND, "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn sagas_that_fail_together_come_back_at_their_budgets_rate() {
    let world = World::default();
    let noted = world.clone();
    let definition = Definition::build("storm", 1, |saga, input| {
        let step = step_fn(move |cx: StepContext, n: i64| {
            let world = noted.clone();
            async move {
                if cx.attempt() == 1 {
                    return Err(StepError::unsent("down"));
                }
                world.note("retried");
                Ok(n)
            }
        });
        let retry = RetryPolicy::fixed(Duration::from_millis(10)).cap(60 * SECOND);
        let step = saga.query("step", step, input).calls("gateway").retry(retry);
        saga.returns(step)
    })
    .unwrap();
    let retries = saga_core::engine::RetryBudget { ratio: 0.0, per_second: 10.0, burst: 1.0 };
    let policy = saga_core::engine::DependencyPolicy { retries, ..Default::default() };
    let engine =
        engine(&MemoryJournal::new()).register(&definition).dependency("gateway", policy).open().await.unwrap();
    let began = tokio::time::Instant::now();
    let mut sagas = Vec::new();
    for n in 0..101 {
        sagas.push(engine.start(&definition, &format!("k{n}"), n).await.unwrap());
    }
    tokio::time::sleep_until(began + 5 * SECOND).await;
    let halfway = world.count("retried");
    for saga in &sagas {
        completed(saga).await;
    }
    assert!((40..=60).contains(&halfway), "ten a second: {halfway} after five");
    assert!(began.elapsed() >= 9 * SECOND, "{:?}", began.elapsed());
}
