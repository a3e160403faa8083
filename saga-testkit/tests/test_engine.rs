//! The engine for unit tests: it stands still, crashes, and lets time fly.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use saga_core::engine::Resolution;
use saga_core::{Definition, Outcome, RetryPolicy, SagaOutcome, Source as _, StepContext, StepError, step_fn};
use saga_testkit::{Stop, TestEngine, World};

const HOUR: Duration = Duration::from_secs(60 * 60);

/// Two steps that are undone, a wait for a payment, and the pivot.
fn order(world: &World) -> Definition<i64, Option<i64>> {
    let effect = |what: &'static str| {
        let (world, undo) = (world.clone(), world.clone());
        step_fn(move |cx: StepContext, n: i64| {
            let world = world.clone();
            async move {
                world.apply(cx.key(), what);
                Ok::<_, StepError>(n)
            }
        })
        .compensate(move |cx: StepContext, _n, _outcome: Outcome<i64>| {
            let world = undo.clone();
            async move {
                world.undo(cx.step_key());
                Ok(())
            }
        })
    };
    let retry = RetryPolicy::fixed(Duration::from_secs(1)).attempts(2);
    Definition::build("order", 1, |saga, n| {
        let reserved = saga.compensatable("reserve", effect("reserved"), n).retry(retry.clone());
        let held = saga.compensatable("hold", effect("held"), reserved).retry(retry.clone());
        let paid = saga.wait_for::<i64, _>("paid", "paid", held.map(|_| Some(24 * HOUR)));
        let check = step_fn(async |_, paid: Option<i64>| paid.ok_or_else(|| StepError::rejected("not paid")));
        let checked = saga.query("check", check, paid);
        let capture = step_fn(async |_, n: i64| Ok(n));
        let captured = saga.pivot("capture", capture, checked).retry(retry);
        saga.returns((paid, captured).map(|(paid, _)| paid))
    })
    .unwrap()
}

async fn test() -> TestEngine<i64, Option<i64>> {
    let world = World::new();
    TestEngine::within(&world, &order(&world), |engine| engine).await
}

#[tokio::test(start_paused = true)]
async fn it_stands_still_after_the_checkpoint_that_was_asked_for() {
    let mut test = test().await;
    test.start("k", 1).await;
    assert_eq!(test.history("k").await, ["the saga starts"]);
    assert_eq!(test.world().effects(), [], "nothing has begun");
    test.run_until(Stop::done("reserve")).await;
    tokio::time::sleep(100 * HOUR).await;
    assert_eq!(test.world().effects().len(), 1, "nothing goes on by itself");
}

#[tokio::test(start_paused = true)]
async fn a_crash_before_the_checkpoint_repeats_the_step_under_its_key() {
    let mut test = test().await;
    test.start("k", 1).await;
    test.run_until(Stop::before_checkpoint("hold")).await;
    assert_eq!(test.world().standing().len(), 2, "its effect is there");
    assert_eq!(test.history("k").await.len(), 3, "and its checkpoint is not");
    test.crash().await;
    test.run_until(Stop::done("hold")).await;
    assert_eq!(test.world().effects().len(), 2, "nothing happened twice");
    let history = test.history("k").await;
    assert_eq!(
        history[3..],
        ["hold was interrupted; hold may begin, try 2".to_owned(), "hold done; paid waits".to_owned(),]
    );
}

#[tokio::test(start_paused = true)]
async fn a_signal_is_taken_and_a_day_without_one_passes_at_once() {
    let mut test = test().await;
    test.start("with", 1).await;
    test.start("without", 1).await;
    test.signal("with", "paid", &25, "m-1").await;
    assert_eq!(test.outcome("with").await, SagaOutcome::Completed(Some(25)));
    test.advance(HOUR).await;
    assert!(test.outcome_now("without").await.is_none());
    test.advance(24 * HOUR).await;
    let outcome = test.outcome_now("without").await.unwrap();
    assert!(matches!(&outcome, SagaOutcome::RolledBack(failure) if failure.to_string() == "check failed: not paid"));
    assert_eq!(test.world().standing().len(), 2, "what the paid one did stands, the rest is gone");
}

#[tokio::test(start_paused = true)]
async fn what_is_to_go_wrong_goes_wrong_and_a_human_decides() {
    let mut test = test().await;
    test.go_wrong("compensate:hold#1=refused,write#1=crash-after");
    test.start("k", 1).await;
    let SagaOutcome::NeedsAttention(letters) = test.outcome("k").await else { panic!("nobody was called") };
    assert_eq!(letters[0].step.as_ref().unwrap().as_str(), "hold");
    test.resolve("k", "hold", Resolution::Retry).await;
    test.run_until(Stop::undone("hold")).await;
    assert_eq!(test.world().standing().len(), 1);
    assert!(matches!(test.outcome("k").await, SagaOutcome::RolledBack(_)));
    assert_eq!(test.world().standing(), []);
    assert!(test.story().iter().any(|line| line.contains("CRASH after write 1")), "{:#?}", test.story());
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "was never reached")]
async fn a_place_that_is_never_reached_fails_the_test() {
    let mut test = test().await;
    test.start("k", 1).await;
    test.run_until(Stop::undone("nothing")).await;
}
