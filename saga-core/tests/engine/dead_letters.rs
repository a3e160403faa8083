//! Promise 7: no failure is swallowed, and a human can mend it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use saga_core::engine::{Engine, OperatorError};
use saga_core::journal::{MemoryJournal, SagaStatus};
use saga_core::machine::{AttentionReason, Refused, Resolution};
use saga_core::{Definition, Op, Outcome, Payload, RetryPolicy, StepContext, StepError, step_fn};

use super::support::{World, completed, dead_letters, engine, rolled_back, until};

/// Two branches, then a step that refuses. The compensation of `a` fails until it is mended.
fn stubborn(world: &World, mended: &Arc<AtomicBool>) -> Definition<i64, ()> {
    Definition::build("stubborn", 1, |saga, input| {
        let effect = |mended: Option<Arc<AtomicBool>>| {
            let (world, undone) = (world.clone(), world.clone());
            step_fn(move |cx: StepContext, n: i64| {
                world.apply(&cx);
                async move { Ok(n) }
            })
            .compensate(move |cx, _, _: Outcome<i64>| {
                let ok = mended.as_ref().is_none_or(|mended| mended.load(Ordering::SeqCst));
                if ok {
                    undone.undo(&cx, "ok");
                }
                async move { if ok { Ok(()) } else { Err(StepError::retry("void refused")) } }
            })
        };
        saga.parallel(|group| {
            group.branch(|saga| {
                saga.compensatable("a", effect(Some(mended.clone())), input)
                    .compensation_retry(RetryPolicy::fixed(Duration::from_secs(10)).attempts(3))
            });
            group.branch(|saga| saga.compensatable("b", effect(None), input));
        });
        let no = saga.query("no", step_fn(async |_, _: i64| Err::<(), _>(StepError::rejected("no"))), input);
        saga.returns(no)
    })
    .unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_compensation_that_fails_for_good_waits_for_a_human_while_others_go_on() {
    let (world, mended) = (World::default(), Arc::new(AtomicBool::new(false)));
    let definition = stubborn(&world, &mended);
    let engine = engine(&MemoryJournal::new()).register(&definition).open().await.unwrap();
    let saga = engine.start(&definition, "k", 1).await.unwrap();
    let letters = dead_letters(&saga).await;
    assert_eq!(letters.len(), 1);
    let letter = &letters[0];
    assert_eq!((letter.step.as_ref().unwrap().as_str(), letter.op), ("a", Op::Compensate));
    assert_eq!((letter.reason, letter.attempts), (AttentionReason::Failed, 3));
    assert_eq!(letter.error, "void refused");
    assert_eq!(world.standing(), ["a"], "the independent compensation was done");

    // Still broken: a new dead letter.
    let operator = engine.operator();
    operator.resolve(saga.id(), "a", Resolution::Retry, "ann", "gateway says it is back").await.unwrap();
    until("tried again", async || {
        let letters = engine.dead_letters(10).await.unwrap();
        letters.first().is_some_and(|letter| letter.attempts == 6)
    })
    .await;

    mended.store(true, Ordering::SeqCst);
    operator.resolve(saga.id(), "a", Resolution::Retry, "ann", "now it is").await.unwrap();
    assert_eq!(rolled_back(&saga).await, "no failed: no");
    assert_eq!(world.standing(), [""; 0]);
    assert!(engine.dead_letters(10).await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_compensation_done_by_hand_is_skipped_with_a_reason() {
    let world = World::default();
    let definition = stubborn(&world, &Arc::default());
    let journal = MemoryJournal::new();
    let worker = engine(&journal).register(&definition).open().await.unwrap();
    let saga = worker.start(&definition, "k", 1).await.unwrap();
    dead_letters(&saga).await;
    // An operator's process is no worker.
    let console = Engine::builder(journal.clone()).register(&definition).client_only().open().await.unwrap();
    let operator = console.operator();
    let refused = operator.resolve(saga.id(), "a", Resolution::Skip, "ann", " ").await;
    assert!(matches!(refused, Err(OperatorError::Refused { source: Refused::NoReason, .. })));
    let refused = operator.resolve(saga.id(), "b", Resolution::Skip, "ann", "why not").await;
    assert!(matches!(refused, Err(OperatorError::Refused { source: Refused::NotWaiting { .. }, .. })));
    operator.resolve(saga.id(), "a", Resolution::Skip, "ann", "voided in the gateway's own console").await.unwrap();
    assert_eq!(rolled_back(&saga).await, "no failed: no");
    let again = operator.resolve(saga.id(), "a", Resolution::Retry, "ann", "again").await;
    assert!(again.is_err());
}

#[tokio::test(start_paused = true)]
async fn the_result_of_a_step_past_the_pivot_can_be_supplied() {
    let definition = Definition::build("supply", 1, |saga, input| {
        let paid = saga.pivot("pay", step_fn(async |_, n: i64| Ok(n)), input);
        let ship = step_fn(async |_, _: i64| Err::<String, _>(StepError::fatal("carrier unknown")));
        let shipped = saga.retryable("ship", ship, paid);
        saga.returns(shipped)
    })
    .unwrap();
    let engine = engine(&MemoryJournal::new()).register(&definition).open().await.unwrap();
    let saga = engine.start(&definition, "k", 1).await.unwrap();
    assert_eq!(dead_letters(&saga).await[0].reason, AttentionReason::Failed);
    let operator = engine.operator();
    let skip = operator.resolve(saga.id(), "ship", Resolution::Skip, "ann", "by courier").await;
    assert!(matches!(skip, Err(OperatorError::Refused { source: Refused::CannotSkip { .. }, .. })));
    let wrong = Resolution::Supply(Payload::from_json("17".to_owned()).unwrap());
    let wrong = operator.resolve(saga.id(), "ship", wrong, "ann", "by courier").await;
    assert!(matches!(wrong, Err(OperatorError::BadResult { .. })));
    let not = operator.resolve(saga.id(), "ship", Resolution::NotApplied, "ann", "never went out").await;
    assert!(matches!(not, Err(OperatorError::Refused { source: Refused::MustBeDone { .. }, .. })));
    assert_eq!(engine.status(saga.id()).await.unwrap().unwrap().status, SagaStatus::NeedsAttention);
    let output = Resolution::Supply(Payload::from_json("\"parcel 7\"".to_owned()).unwrap());
    operator.resolve(saga.id(), "ship", output, "ann", "by courier").await.unwrap();
    assert_eq!(completed(&saga).await, "parcel 7");
}

#[tokio::test(start_paused = true)]
async fn a_history_that_grows_past_its_limit_calls_a_human_and_names_the_limit() {
    let definition = Definition::build("long", 1, |saga, input| {
        let paid = saga.pivot("pay", step_fn(async |_, n: i64| Ok(n)), input);
        let ship = step_fn(async |_, _: i64| Err::<(), _>(StepError::retry("busy")));
        let shipped =
            saga.retryable("ship", ship, paid).retry(RetryPolicy::fixed(Duration::from_millis(1)).unbounded());
        saga.returns(shipped)
    })
    .unwrap();
    let mut limits = saga_core::Limits::default();
    limits.turns_max = 50;
    let engine = engine(&MemoryJournal::new()).register(&definition).limits(limits).open().await.unwrap();
    let saga = engine.start(&definition, "k", 1).await.unwrap();
    let letters = dead_letters(&saga).await;
    assert_eq!(letters[0].error, "busy; not tried again: turns_max (50) is reached");
}

#[tokio::test(start_paused = true)]
async fn what_a_human_has_decided_waits_for_nobody_while_it_is_carried_out() {
    let definition = Definition::build("slow", 1, |saga, n| {
        let paid = saga.pivot("pay", step_fn(async |_, n: i64| Ok(n)), n);
        let send = step_fn(async |cx: StepContext, n: i64| {
            if cx.attempt() == 1 {
                return Err(StepError::fatal("broken"));
            }
            tokio::time::sleep(Duration::from_secs(20)).await;
            Ok(n)
        });
        let sent = saga.retryable("send", send, paid);
        saga.returns(sent)
    })
    .unwrap();
    let engine = engine(&MemoryJournal::new()).register(&definition).open().await.unwrap();
    let saga = engine.start(&definition, "k", 7).await.unwrap();
    dead_letters(&saga).await;
    engine.operator().resolve(saga.id(), "send", Resolution::Retry, "ann", "mended").await.unwrap();
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(engine.dead_letters(10).await.unwrap().is_empty(), "somebody has seen to it");
    assert_eq!(completed(&saga).await, 7);
}
