//! Promise 10: signals are neither lost nor doubled; and wishes to cancel are signals as well.

use std::time::Duration;

use saga_core::engine::{OperatorError, Resolution, SignalError, Signalled};
use saga_core::journal::{End, ListFilter, MemoryJournal, SagaStatus};
use saga_core::{
    Definition, Engine, InputHandle, LateSignal, Outcome, Probe, Source as _, Step, StepContext, StepError,
    async_trait, step_fn,
};

use saga_testkit::faults::{Fault, FaultJournal, Planned};

use super::support::{World, completed, engine, engine_on, rolled_back, unhurried, until};

const HOUR: Duration = Duration::from_secs(3600);

/// Holds, waits for the payment for an hour, and says what came.
fn order(world: &World) -> Definition<String, String> {
    Definition::build("order", 1, |saga, order| {
        let (held, undone) = (world.clone(), world.clone());
        let hold = step_fn(move |cx: StepContext, order: String| {
            held.apply(&cx);
            async move { Ok(order) }
        })
        .compensate(move |cx: StepContext, _: String, _: Outcome<String>| {
            undone.undo(&cx, "hold");
            async { Ok(()) }
        });
        let held = saga.compensatable("hold", hold, order);
        let paid = saga.wait_for::<i64, _>("payment", "paid", held.map(|_: String| Some(HOUR)));
        let say = step_fn(async |_, paid: Option<i64>| match paid {
            Some(cents) => Ok(format!("{cents} paid")),
            None => Err(StepError::rejected("not paid in time")),
        });
        let said = saga.query("say", say, paid);
        saga.returns(said)
    })
    .unwrap()
}

async fn waiting(engine: &Engine, saga: saga_core::SagaId) {
    until("waiting", async || engine.status(saga).await.unwrap().unwrap().status == SagaStatus::Waiting).await;
}

#[tokio::test(start_paused = true)]
async fn a_signal_wakes_the_saga_that_waits_for_it() {
    let definition = order(&World::default());
    let engine = unhurried(&MemoryJournal::new()).register(&definition).open().await.unwrap();
    let saga = engine.start(&definition, "k", "o".to_owned()).await.unwrap();
    waiting(&engine, saga.id()).await;
    assert_eq!(engine.in_flight(), 0, "it waits in the journal, not in memory");
    let began = tokio::time::Instant::now();
    assert_eq!(engine.signal("order", "k", "paid", &42_i64, "evt-1").await.unwrap(), Signalled::Accepted);
    assert_eq!(completed(&saga).await, "42 paid");
    assert!(began.elapsed() < Duration::from_secs(1));
    assert_eq!(engine.signal("order", "k", "paid", &42_i64, "evt-1").await.unwrap(), Signalled::Duplicate);
    let late = engine.signal("order", "k", "paid", &43_i64, "evt-2").await.unwrap();
    assert!(matches!(late, Signalled::Late { .. }), "{late:?}");
    assert_eq!(engine.signal("order", "k", "paid", &43_i64, "evt-2").await.unwrap(), late, "one saga sees to it");
}

/// What looks for the saga of a late signal, or of one with a name that is not known, asks again, as what sends does.
#[tokio::test(start_paused = true)]
async fn a_journal_that_is_out_of_reach_for_a_moment_refuses_no_signal() {
    let (definition, journal) = (order(&World::default()), FaultJournal::new(MemoryJournal::new()));
    let engine = engine_on(journal.clone()).register(&definition).open().await.unwrap();
    let saga = engine.start(&definition, "k", "o".to_owned()).await.unwrap();
    engine.signal("order", "k", "paid", &1_i64, "evt-1").await.unwrap();
    completed(&saga).await;
    let lost = || journal.plan(Planned { method: "find", call: journal.calls("find"), fault: Fault::Before });
    lost();
    let late = engine.signal("order", "k", "paid", &2_i64, "evt-2").await;
    assert!(matches!(late, Ok(Signalled::Late { .. })), "{late:?}");
    assert!(journal.reached());
    lost();
    let misspelt = engine.signal("order", "k", "payed", &2_i64, "evt-3").await;
    assert!(matches!(misspelt, Err(SignalError::NoSuchSignal { .. })), "{misspelt:?}");
    // Nor does an outage that goes on: the sender is told to send it again.
    journal.outage(true);
    for name in ["paid", "payed"] {
        let began = tokio::time::Instant::now();
        let unsent = engine.signal("order", "k", name, &2_i64, "evt-4").await;
        let Err(SignalError::Unavailable { waited }) = unsent else { panic!("{unsent:?}") };
        assert!(began.elapsed() < waited + Duration::from_millis(10), "for all of it");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_in_another_process_signals_within_the_poll_interval() {
    let (definition, journal) = (order(&World::default()), MemoryJournal::new());
    let worker = engine(&journal).register(&definition).open().await.unwrap();
    let client = engine(&journal).register(&definition).client_only().open().await.unwrap();
    let saga = client.start(&definition, "k", "o".to_owned()).await.unwrap();
    waiting(&worker, saga.id()).await;
    client.signal("order", "k", "paid", &1_i64, "evt").await.unwrap();
    assert_eq!(completed(&saga).await, "1 paid");
}

#[tokio::test(start_paused = true)]
async fn an_early_signal_waits_and_the_first_of_several_is_taken() {
    let definition = order(&World::default());
    let engine = engine(&MemoryJournal::new()).register(&definition).open().await.unwrap();
    for (id, cents) in [("evt-1", 7_i64), ("evt-1", 8), ("evt-2", 9), ("evt-3", 10)] {
        engine.signal("order", "k", "paid", &cents, id).await.unwrap();
    }
    let saga = engine.start(&definition, "k", "o".to_owned()).await.unwrap();
    assert_eq!(completed(&saga).await, "7 paid");
    // Two are left, and are not passed over in silence.
    until("two dead letters", async || engine.dead_letters(10).await.unwrap().len() == 2).await;
}

#[tokio::test(start_paused = true)]
async fn a_signal_that_no_step_waits_for_is_refused_and_told_what_there_is() {
    let (definition, journal) = (order(&World::default()), MemoryJournal::new());
    let worker = engine(&journal).register(&definition).open().await.unwrap();
    let refused = worker.signal("order", "k", "payed", &7_i64, "evt").await.unwrap_err();
    assert!(
        matches!(&refused, SignalError::NoSuchSignal { signal, known, .. } if signal == "payed" && *known == ["paid"]),
        "{refused:?}"
    );
    assert!(refused.to_string().contains(r#"but for ["paid"]"#), "{refused}");
    // Nothing was kept, and the id is free. Where the definition is not known, nobody can tell.
    let stranger = engine(&journal).client_only().open().await.unwrap();
    assert_eq!(stranger.signal("order", "k", "payed", &7_i64, "evt").await.unwrap(), Signalled::Accepted);
}

/// While a deploy is under way, a web hook may come to a binary that is older than the saga.
#[tokio::test(start_paused = true)]
async fn a_signal_to_a_saga_of_a_version_that_is_not_known_here_is_sent() {
    let (old, journal) = (order(&World::default()), MemoryJournal::new());
    let new = Definition::build("order", 2, |saga, input: InputHandle<'_, String>| {
        let paid = saga.wait_for::<i64, _>("refund", "refunded", input.map(|_| None));
        saga.returns(paid)
    })
    .unwrap();
    let newer = unhurried(&journal).register(&new).open().await.unwrap();
    let older = engine(&journal).register(&old).client_only().open().await.unwrap();
    let saga = newer.start(&new, "k", "o".to_owned()).await.unwrap();
    assert_eq!(older.signal("order", "k", "refunded", &7_i64, "evt").await.unwrap(), Signalled::Accepted);
    assert_eq!(completed(&saga).await, Some(7));
    let other = older.signal("order", "another", "refunded", &7_i64, "evt").await;
    assert!(matches!(other, Err(SignalError::NoSuchSignal { .. })), "{other:?}");
}

fn of(definition: &str) -> ListFilter {
    ListFilter { definition: Some(definition.to_owned()), ..ListFilter::default() }
}

#[tokio::test(start_paused = true)]
async fn without_a_rule_a_late_signal_is_a_dead_letter_that_an_operator_answers() {
    let definition = order(&World::default());
    let engine = unhurried(&MemoryJournal::new()).register(&definition).open().await.unwrap();
    let saga = engine.start(&definition, "k", "o".to_owned()).await.unwrap();
    engine.signal("order", "k", "paid", &1_i64, "evt-1").await.unwrap();
    completed(&saga).await;
    let Signalled::Late { follow_up } = engine.signal("order", "k", "paid", &2_i64, "evt-2").await.unwrap() else {
        panic!("the saga is over");
    };
    until("a dead letter", async || !engine.dead_letters(10).await.unwrap().is_empty()).await;
    let letter = engine.dead_letters(10).await.unwrap().remove(0);
    assert_eq!((letter.saga, letter.definition.as_str()), (follow_up, "late-signal"));
    assert!(letter.error.contains("paid came too late for order k"), "{}", letter.error);
    engine.operator().resolve(follow_up, "decide", Resolution::Skip, "ann", "paid back by hand").await.unwrap();
    until("answered", async || {
        engine.status(follow_up).await.unwrap().unwrap().status == SagaStatus::Ended(End::Completed)
    })
    .await;
}

/// As [`order`], and pays back what comes too late.
fn order_that_pays_back(world: &World) -> Definition<i64, Option<i64>> {
    let paid_back = world.clone();
    let pay_back = Definition::build("pay-back", 1, |saga, late| {
        let refund = step_fn(move |cx: StepContext, late: LateSignal| {
            paid_back.apply(&cx);
            paid_back.note(format!("{} of {} for {}", late.decode::<i64>().unwrap(), late.signal, late.key));
            async { Ok(()) }
        });
        let refunded = saga.retryable("refund", refund, late);
        saga.returns(refunded)
    })
    .unwrap();
    Definition::build("order", 1, |saga, minutes| {
        saga.on_late_signal(&pay_back);
        let wait = minutes.map(|minutes: i64| Some(Duration::from_secs(minutes.unsigned_abs() * 60)));
        let paid = saga.wait_for::<i64, _>("payment", "paid", wait);
        saga.returns(paid)
    })
    .unwrap()
}

#[tokio::test(start_paused = true)]
async fn every_signal_is_taken_or_followed_up_and_once_whenever_it_comes() {
    // Sent before the start, while it waits, at the time-out, after the end: each twice.
    for at in [0_u64, 30, 59, 60, 61, 3600] {
        let world = World::default();
        let definition = order_that_pays_back(&world);
        let engine = engine(&MemoryJournal::new()).register(&definition).open().await.unwrap();
        let early = at == 0;
        if early {
            engine.signal("order", "k", "paid", &5_i64, "evt").await.unwrap();
        }
        let saga = engine.start(&definition, "k", 1).await.unwrap();
        if !early {
            tokio::time::sleep(Duration::from_secs(at)).await;
            engine.signal("order", "k", "paid", &5_i64, "evt").await.unwrap();
        }
        engine.signal("order", "k", "paid", &5_i64, "evt").await.unwrap();
        let taken = usize::from(completed(&saga).await.is_some());
        tokio::time::sleep(Duration::from_secs(10)).await;
        let followed = engine.list(&of("pay-back"), 10).await.unwrap();
        assert_eq!(taken + followed.len(), 1, "at {at}");
        assert_eq!(world.standing().len(), followed.len());
        assert_eq!(world.count("5 of paid for k"), followed.len());
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_without_the_definition_is_told_that_it_does_not_know_the_rule() {
    let (definition, journal) = (order(&World::default()), MemoryJournal::new());
    let worker = engine(&journal).register(&definition).open().await.unwrap();
    let saga = worker.start(&definition, "k", "o".to_owned()).await.unwrap();
    worker.signal("order", "k", "paid", &1_i64, "evt-1").await.unwrap();
    completed(&saga).await;
    let client = engine(&journal).client_only().open().await.unwrap();
    let told = client.signal("order", "k", "paid", &1_i64, "evt-2").await;
    assert!(matches!(told, Err(SignalError::TooLate { .. })), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_runs_out_is_a_branch() {
    let world = World::default();
    let definition = order(&world);
    let engine = unhurried(&MemoryJournal::new()).register(&definition).open().await.unwrap();
    let began = tokio::time::Instant::now();
    let saga = engine.start(&definition, "k", "o".to_owned()).await.unwrap();
    assert_eq!(rolled_back(&saga).await, "say failed: not paid in time");
    assert!(began.elapsed() >= HOUR);
    assert_eq!(world.standing(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_signal_survives_the_worker_that_took_it_in() {
    let (definition, journal) = (order(&World::default()), MemoryJournal::new());
    let first = engine(&journal).register(&definition).open().await.unwrap();
    let saga = first.start(&definition, "k", "o".to_owned()).await.unwrap().id();
    waiting(&first, saga).await;
    drop(first);
    let second = engine(&journal).register(&definition).open().await.unwrap();
    second.signal("order", "k", "paid", &5_i64, "evt").await.unwrap();
    assert_eq!(completed(&second.handle(&definition, saga)).await, "5 paid");
}

#[tokio::test(start_paused = true)]
async fn bad_signals_are_refused_before_anything_is_sent() {
    let definition = order(&World::default());
    let engine = engine(&MemoryJournal::new()).register(&definition).open().await.unwrap();
    let bad = engine.signal("order", "", "paid", &1_i64, "evt").await;
    assert!(matches!(bad, Err(SignalError::BadName { .. })), "{bad:?}");
    let large = engine.signal("order", "k", "paid", &"x".repeat(2 << 20), "evt").await;
    assert!(matches!(large, Err(SignalError::PayloadTooLarge { .. })), "{large:?}");
}

#[tokio::test(start_paused = true)]
async fn a_saga_that_waits_is_cancelled_and_undone() {
    let world = World::default();
    let definition = order(&world);
    let engine = unhurried(&MemoryJournal::new()).register(&definition).open().await.unwrap();
    let saga = engine.start(&definition, "k", "o".to_owned()).await.unwrap();
    waiting(&engine, saga.id()).await;
    let operator = engine.operator();
    assert!(operator.cancel(saga.id(), "ann", " ").await.is_err(), "a reason is needed");
    operator.cancel(saga.id(), "ann", "the customer changed her mind").await.unwrap();
    assert_eq!(rolled_back(&saga).await, "cancelled by ann: the customer changed her mind");
    assert_eq!(world.standing(), [""; 0]);
}

/// A pivot that hangs, or takes its time, and can be asked about.
#[derive(Clone)]
struct Take {
    world: World,
    applies: bool,
}

#[async_trait]
impl Step for Take {
    type Input = i64;
    type Output = i64;

    async fn run(&self, cx: &StepContext, n: i64) -> Result<i64, StepError> {
        tokio::time::sleep(Duration::from_secs(5)).await;
        if self.applies {
            self.world.apply(cx);
        }
        if n == 0 { Err(StepError::retry("no answer")) } else { Ok(n) }
    }

    async fn probe(&self, cx: &StepContext, _: i64) -> Result<Probe<i64>, StepError> {
        let _ = cx;
        Ok(if self.applies { Probe::Applied(1) } else { Probe::NotApplied })
    }
}

fn taking(take: &Take) -> Definition<i64, i64> {
    Definition::build("taking", 1, |saga, n| {
        let world = take.world.clone();
        let hold = step_fn(async |_, n: i64| Ok(n)).compensate(move |cx: StepContext, _: i64, _: Outcome<i64>| {
            world.undo(&cx, "hold");
            async { Ok(()) }
        });
        let held = saga.compensatable("hold", hold, n);
        let taken = saga.pivot("take", take.clone(), held);
        let told = step_fn(async |_, n: i64| {
            tokio::time::sleep(Duration::from_secs(20)).await;
            Ok(n)
        });
        let told = saga.retryable("tell", told, taken);
        saga.returns(told)
    })
    .unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_wish_to_cancel_waits_for_the_pivots_outcome_and_never_mixes_the_directions() {
    // Applied and answered; applied and no answer; not applied and no answer.
    for (applies, n, cancelled) in [(true, 3, false), (true, 0, false), (false, 0, true)] {
        let take = Take { world: World::default(), applies };
        let definition = taking(&take);
        let engine = engine(&MemoryJournal::new()).register(&definition).open().await.unwrap();
        let saga = engine.start(&definition, "k", n).await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        engine.operator().cancel(saga.id(), "ann", "too expensive").await.unwrap();
        match saga.outcome().await.unwrap() {
            saga_core::SagaOutcome::Completed(_) => assert!(!cancelled && take.world.count("undo") == 0),
            saga_core::SagaOutcome::RolledBack(failure) => {
                assert!(cancelled && take.world.count("undo") == 1);
                assert_eq!(failure.to_string(), "cancelled by ann: too expensive");
            }
            waits @ saga_core::SagaOutcome::NeedsAttention(_) => panic!("{waits:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn past_the_point_of_no_return_a_cancellation_is_refused_with_the_reason() {
    let take = Take { world: World::default(), applies: true };
    let definition = taking(&take);
    let engine = engine(&MemoryJournal::new()).register(&definition).open().await.unwrap();
    let saga = engine.start(&definition, "k", 3).await.unwrap();
    tokio::time::sleep(Duration::from_secs(10)).await;
    let refused = engine.operator().cancel(saga.id(), "ann", "too late").await.unwrap_err();
    assert!(matches!(refused, OperatorError::Refused { .. }));
    assert!(refused.to_string().contains("Committed"), "{refused}");
    assert_eq!(completed(&saga).await, 3);
    let refused = engine.operator().cancel(saga.id(), "ann", "much too late").await.unwrap_err();
    assert!(refused.to_string().contains("Completed"), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn a_signal_of_another_process_reaches_a_saga_that_is_busy_with_something_else() {
    let journal = MemoryJournal::new();
    let definition = Definition::build("busy", 1, |saga, n: InputHandle<'_, i64>| {
        let long = step_fn(async |_, n: i64| {
            tokio::time::sleep(Duration::from_secs(20)).await;
            Ok(n)
        });
        saga.parallel(|group| {
            group.branch(|saga| saga.query("long", long, n));
            group.branch(|saga| {
                let paid = saga.wait_for::<i64, _>("payment", "paid", n.map(|_: i64| Some(HOUR)));
                saga.query("thank", step_fn(async |_, _: Option<i64>| Ok(0)), paid)
            });
        });
        saga.returns(())
    })
    .unwrap();
    let worker = engine(&journal).register(&definition).open().await.unwrap();
    let sender = Engine::builder(journal).register(&definition).client_only().open().await.unwrap();
    let saga = worker.start(&definition, "k", 0).await.unwrap();
    let thanked = async || {
        let turns = worker.history(saga.id()).await.unwrap().unwrap();
        format!("{turns:?}").contains("thank")
    };
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(!thanked().await);
    assert_eq!(sender.signal("busy", "k", "paid", &42_i64, "evt-1").await.unwrap(), Signalled::Accepted);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(thanked().await, "it hears of the payment while the other branch works");
    completed(&saga).await;
}
