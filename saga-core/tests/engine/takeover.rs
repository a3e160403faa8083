//! Promises 1 and 8: a started saga reaches its end whichever worker dies, and a worker that lost
//! its lease cannot append.

use std::time::Duration;

use saga_core::engine::Engine;
use saga_core::journal::{Journal, MemoryJournal, SagaStatus};
use saga_core::machine::{Record, decode_turn};
use saga_core::{Definition, Limits, Outcome, SagaOutcome, Source as _, StepContext, StepError, step_fn};
use saga_testkit::faults::{Fault, FaultJournal, Planned};

use super::support::{World, completed, dead_letters, engine, engine_on, until};

/// Hangs in its first attempt, and answers in every later one.
fn hangs_once(world: &World) -> Definition<i64, u32> {
    let world = world.clone();
    Definition::build("hangs", 1, |saga, input| {
        let step = step_fn(move |cx: StepContext, _: i64| {
            let world = world.clone();
            async move {
                world.apply(&cx);
                if cx.attempt() == 1 {
                    std::future::pending::<()>().await;
                }
                Ok::<_, StepError>(cx.attempt())
            }
        });
        let step = saga.query("step", step, input).timeout(Duration::from_secs(3600));
        saga.returns(step)
    })
    .unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_dead_workers_sagas_are_taken_over_and_its_attempt_counts() {
    let (world, journal) = (World::default(), MemoryJournal::new());
    let definition = hangs_once(&world);
    let first = engine(&journal).register(&definition).open().await.unwrap();
    let id = first.start(&definition, "k", 1).await.unwrap().id();
    until("begun", async || world.count("step") == 1).await;
    drop(first);
    let second = engine(&journal).register(&definition).open().await.unwrap();
    assert_eq!(completed(&second.handle(&definition, id)).await, 2);
    assert_eq!(world.log(), ["step #1", "step #2"]);
    let history = journal.load(&[id]).await.unwrap().remove(0);
    let crashes = history.turns.iter().flat_map(|turn| decode_turn(&turn.body).unwrap());
    assert_eq!(crashes.filter(|record| matches!(record, Record::Interrupted { crashed: true, .. })).count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_client_only_engine_leaves_its_sagas_to_workers() {
    let journal = MemoryJournal::new();
    let definition = Definition::build("client", 1, |saga, input| {
        let step = saga.query("step", step_fn(async |_, n: i64| Ok(n + 1)), input);
        saga.returns(step)
    })
    .unwrap();
    let client = Engine::builder(journal.clone()).register(&definition).client_only().open().await.unwrap();
    let saga = client.start(&definition, "k", 1).await.unwrap();
    assert!(saga.outcome_now().await.unwrap().is_none());
    let _worker = engine(&journal).register(&definition).open().await.unwrap();
    assert_eq!(completed(&saga).await, 2);
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_was_fenced_drops_its_sagas_and_works_on_under_a_new_epoch() {
    let journal = MemoryJournal::new();
    let definition = Definition::build("fenced", 1, |saga, input| {
        let step = step_fn(async |cx: StepContext, _: i64| {
            tokio::time::sleep(Duration::from_secs(30)).await;
            Ok(cx.epoch().0)
        });
        let step = saga.query("step", step, input).timeout(Duration::from_secs(60));
        saga.returns(step)
    })
    .unwrap();
    let engine = engine(&journal).register(&definition).open().await.unwrap();
    let saga = engine.start(&definition, "k", 1).await.unwrap();
    until("begun", async || engine.in_flight() == 1).await;
    // Somebody closes the worker's lease behind its back, which fences it as a takeover would.
    journal.close_lease(saga_core::journal::Lease { epoch: saga_core::Epoch(1) }).await.unwrap();
    let epoch = completed(&saga).await;
    assert!(epoch > 1, "the attempt that counts ran under a later lease");
    let history = journal.load(&[saga.id()]).await.unwrap().remove(0);
    let late = history.turns.iter().skip(1).filter(|turn| turn.epoch == Some(saga_core::Epoch(1)));
    assert_eq!(late.count(), 0, "nothing of the fenced lease entered");
}

#[tokio::test(start_paused = true)]
async fn a_step_that_kills_its_worker_again_and_again_is_dead_lettered_as_poison() {
    let (world, journal) = (World::default(), MemoryJournal::new());
    let killer = world.clone();
    let definition = Definition::build("poison", 1, |saga, input| {
        let step = step_fn(move |cx: StepContext, _: i64| {
            killer.apply(&cx);
            std::future::pending::<Result<i64, StepError>>()
        });
        let step = saga
            .query("step", step, input)
            .timeout(Duration::from_secs(3600))
            .retry(saga_core::RetryPolicy::standard().unbounded());
        saga.returns(step)
    })
    .unwrap();
    let mut limits = Limits::default();
    limits.crashes_max = 3;
    let mut id = None;
    for life in 1..=3 {
        let engine = engine(&journal).register(&definition).limits(limits.clone()).open().await.unwrap();
        let saga = engine.start(&definition, "k", 1).await.unwrap();
        id = Some(saga.id());
        until("begun", async || world.count("step") == life).await;
    }
    let engine = engine(&journal).register(&definition).limits(limits).open().await.unwrap();
    let letters = dead_letters(&engine.handle(&definition, id.unwrap())).await;
    assert_eq!(letters[0].reason, saga_core::machine::AttentionReason::Poison);
    assert_eq!(world.count("step"), 3);
}

#[tokio::test(start_paused = true)]
async fn a_worker_claims_only_definitions_that_it_knows() {
    let journal = MemoryJournal::new();
    let build = |version| {
        Definition::build("versions", version, |saga, input| {
            let step = saga.query("step", step_fn(async |_, n: i64| Ok(n)), input);
            saga.returns(step)
        })
        .unwrap()
    };
    let (old, new) = (build(1), build(2));
    let client = Engine::builder(journal.clone()).register(&old).client_only().open().await.unwrap();
    let saga = client.start(&old, "k", 1).await.unwrap();
    let newer = engine(&journal).register(&new).open().await.unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(saga.outcome_now().await.unwrap().is_none());
    let _older = engine(&journal).register(&old).open().await.unwrap();
    assert_eq!(completed(&saga).await, 1);
    assert!(matches!(
        newer.handle(&new, saga.id()).outcome().await,
        Err(saga_core::engine::OutcomeError::OtherVersion { runs: 1, asked: 2, .. })
    ));
}

#[tokio::test(start_paused = true)]
async fn a_saga_that_is_claimed_again_before_its_parking_was_answered_goes_on() {
    let definition = Definition::build("d", 1, |saga, n| {
        let first = saga.query("first", step_fn(async |_, n: i64| Ok(n)), n);
        let came = saga.wait_for::<i64, _>("wait", "go", first.map(|_: i64| None));
        saga.returns(came)
    })
    .unwrap();
    let inner = MemoryJournal::new();
    let journal = FaultJournal::new(inner.clone());
    // The turn that parks the saga is written, and its writer learns of it five seconds later.
    let late = Fault::AnsweredLate(Duration::from_secs(5));
    journal.plan(Planned { method: "append", call: 0, fault: late });
    let engine = Engine::builder(journal.clone()).register(&definition).lease_ttl(Duration::from_secs(600));
    let engine = engine.poll_interval(Duration::from_millis(50)).open().await.unwrap();
    let saga = engine.start(&definition, "k", 1).await.unwrap();
    until("parked", async || inner.load(&[saga.id()]).await.unwrap()[0].turns.len() == 2).await;
    engine.signal("d", "k", "go", &7_i64, "evt").await.unwrap();
    let outcome = tokio::time::timeout(Duration::from_secs(60), saga.outcome()).await;
    assert_eq!(outcome.expect("it goes on").unwrap(), SagaOutcome::Completed(Some(7)));
    assert!(journal.reached());
}

/// Promise 1: what a caller is told is what has become of the saga, and not what a worker thought before it lost it.
#[tokio::test(start_paused = true)]
async fn an_end_that_was_never_written_is_told_to_nobody() {
    let world = World::default();
    let definition = Definition::build("untold", 1, |saga, n| {
        let (held, undone) = (world.clone(), world.clone());
        let hold = step_fn(move |cx: StepContext, n: i64| {
            held.apply(&cx);
            async move { Ok(n) }
        })
        .compensate(move |cx: StepContext, _: i64, _: Outcome<i64>| {
            undone.undo(&cx, "hold");
            async { Ok(()) }
        });
        let held = saga.compensatable("hold", hold, n);
        // The worker that takes over finds that it is too late.
        let check = step_fn(async |cx: StepContext, n: i64| {
            tokio::time::sleep(Duration::from_secs(1)).await;
            if cx.attempt() == 1 { Ok(n) } else { Err(StepError::rejected("too late")) }
        });
        let checked = saga.query("check", check, held);
        saga.returns(checked)
    })
    .unwrap();
    let inner = MemoryJournal::new();
    let journal = FaultJournal::new(inner.clone());
    let first = engine_on(journal.clone()).register(&definition).open().await.unwrap();
    let saga = first.start(&definition, "k", 7).await.unwrap();
    until("held", async || world.count("hold") == 1 && inner.load(&[saga.id()]).await.unwrap()[0].turns.len() == 2)
        .await;
    journal.outage(true);
    let _second = engine(&inner).register(&definition).open().await.unwrap();
    until("rolled back elsewhere", async || {
        matches!(inner.summary(saga.id()).await.unwrap().unwrap().status, SagaStatus::Ended(_))
    })
    .await;
    journal.outage(false);
    let told = saga.outcome().await.unwrap();
    assert!(matches!(&told, SagaOutcome::RolledBack(_)), "{told:?}");
    assert_eq!(world.standing(), [""; 0]);
}

/// The checkpoint is written, and answered when the lease may have lapsed: the next step is begun by whoever owns the
/// saga then.
#[tokio::test(start_paused = true)]
async fn a_worker_whose_lease_may_have_lapsed_begins_nothing() {
    let world = World::default();
    let step = |name: &'static str| {
        let world = world.clone();
        step_fn(move |_, n: i64| {
            world.note(name);
            async move { Ok(n) }
        })
    };
    let definition = Definition::build("lapse", 1, |saga, n| {
        let first = saga.query("first", step("first"), n);
        let second = saga.query("second", step("second"), first);
        saga.returns(second)
    })
    .unwrap();
    let journal = FaultJournal::new(MemoryJournal::new());
    let late = Fault::AnsweredLate(Duration::from_secs(10));
    journal.plan(Planned { method: "append", call: 0, fault: late });
    let engine = engine_on(journal.clone()).register(&definition).open().await.unwrap();
    let saga = engine.start(&definition, "k", 7).await.unwrap();
    until("first", async || journal.reached()).await;
    journal.outage(true);
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(world.log(), ["first"]);
    journal.outage(false);
    assert_eq!(completed(&saga).await, 7);
    assert_eq!(world.log(), ["first", "second"]);
}

#[tokio::test(start_paused = true)]
async fn a_worker_whose_lease_is_renewed_late_goes_on_with_its_sagas_then() {
    let took = |secs: f64| {
        step_fn(move |_, n: i64| async move {
            tokio::time::sleep(Duration::from_secs_f64(secs)).await;
            Ok(n)
        })
    };
    let definition = Definition::build("late", 1, |saga, n| {
        let first = saga.query("first", took(3.2), n);
        let second = saga.query("second", took(0.1), first);
        saga.returns(second)
    })
    .unwrap();
    let journal = FaultJournal::new(MemoryJournal::new());
    // Asked after one second and answered when the three of the lease are over for the worker, but not for the journal.
    let late = Fault::AnsweredLate(Duration::from_millis(2_500));
    journal.plan(Planned { method: "renew_lease", call: 0, fault: late });
    let engine = engine_on(journal.clone()).register(&definition).open().await.unwrap();
    let began = tokio::time::Instant::now();
    let saga = engine.start(&definition, "k", 7).await.unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(60), completed(&saga)).await;
    assert_eq!(ended.expect("it is nobody else's, and goes on here"), 7);
    assert!(journal.reached());
    let took = began.elapsed();
    assert!(took > Duration::from_millis(3_400) && took < Duration::from_secs(6), "{took:?}");
}
