//! The engine on a journal that fails: nothing is lost, nothing is done twice under two keys, and it goes
//! on by itself.

use std::time::Duration;

use saga_core::engine::StartError;
use saga_core::journal::{Journal as _, MemoryJournal};
use saga_core::machine::{Record, decode_turn};
use saga_core::{Definition, Outcome, RetryPolicy, StepContext, StepError, step_fn};
use saga_testkit::faults::{Fault, FaultJournal, Planned};

use super::support::{World, completed, engine_on, until};

/// Two compensatable steps in parallel, one of them retried after two seconds, and then a refusal.
fn story(world: &World) -> Definition<i64, i64> {
    let effect = |first_fails: bool| {
        let (world, undone) = (world.clone(), world.clone());
        step_fn(move |cx: StepContext, n: i64| {
            world.apply(&cx);
            async move { if first_fails && cx.attempt() == 1 { Err(StepError::retry("lost")) } else { Ok(n) } }
        })
        .compensate(move |cx, _, _: Outcome<i64>| {
            undone.undo(&cx, "ok");
            async { Ok(()) }
        })
    };
    Definition::build("story", 1, |saga, n| {
        let retry = RetryPolicy::fixed(Duration::from_secs(2)).attempts(9);
        saga.parallel(|group| {
            group.branch(|saga| saga.compensatable("a", effect(true), n).retry(retry.clone()));
            group.branch(|saga| saga.compensatable("b", effect(false), n).retry(retry));
        });
        let no = saga.query("no", step_fn(async |_, _: i64| Err::<i64, _>(StepError::rejected("no"))), n);
        saga.returns(no)
    })
    .unwrap()
}

async fn run(planned: Option<Planned>) -> bool {
    let (world, journal) = (World::default(), FaultJournal::new(MemoryJournal::new()));
    if let Some(planned) = planned {
        journal.plan(planned);
    }
    let definition = story(&world);
    let engine = loop {
        match engine_on(journal.clone()).register(&definition).open().await {
            Ok(engine) => break engine,
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    };
    let saga = engine.start(&definition, "k", 1).await.unwrap();
    let failure = loop {
        // A handle's own reading may be the one that is lost; the saga goes on regardless.
        match saga.outcome().await {
            Ok(saga_core::SagaOutcome::RolledBack(failure)) => break failure,
            Ok(other) => panic!("{planned:?}: {other:?}"),
            Err(_) => {}
        }
    };
    assert_eq!(failure.to_string(), "no failed: no", "{planned:?}");
    assert_eq!(world.standing(), [""; 0], "{planned:?}");
    engine.shutdown(Duration::from_secs(1)).await;
    let history = journal.load(&[saga.id()]).await;
    let history = match history {
        Ok(mut history) => history.remove(0),
        Err(_) => journal.load(&[saga.id()]).await.unwrap().remove(0),
    };
    let records: Vec<Record> = history.turns.iter().flat_map(|turn| decode_turn(&turn.body).unwrap()).collect();
    let undone = records.iter().filter(|record| matches!(record, Record::Compensated { .. })).count();
    assert_eq!(undone, 2, "{planned:?}");
    assert!(matches!(records.last(), Some(Record::RolledBack)), "{planned:?}");
    journal.reached()
}

#[tokio::test(start_paused = true)]
async fn every_journal_call_of_a_run_may_be_lost_before_or_after_it_was_made() {
    run(None).await;
    let calls = [
        ("register", 1),
        ("open_lease", 1),
        ("start", 1),
        ("append", 5),
        ("claim", 4),
        ("load", 1),
        ("close_lease", 1),
        ("renew_lease", 1),
        ("fence_lapsed", 1),
    ];
    for (method, calls) in calls {
        for call in 0..calls {
            for fault in [Fault::Before, Fault::After, Fault::CancelledAfterPolls(0)] {
                let planned = Planned { method, call, fault };
                assert!(run(Some(planned)).await, "{planned:?} was not reached");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_turn_that_is_refused_keeps_no_other_saga_and_is_tried_again_in_peace() {
    let journal = FaultJournal::new(MemoryJournal::new());
    let (begun, seen) = tokio::sync::watch::channel(0);
    let definition = Definition::build("refused", 1, |saga, n| {
        let step = step_fn(move |_, n: i64| {
            begun.send_modify(|begun| *begun += 1);
            async move {
                tokio::time::sleep(Duration::from_secs(1)).await;
                Ok(n)
            }
        });
        let done = saga.query("step", step, n);
        saga.returns(done)
    })
    .unwrap();
    let engine = engine_on(journal.clone()).register(&definition).open().await.unwrap();
    let mut sagas = Vec::new();
    for n in 0..5 {
        sagas.push(engine.start(&definition, &n.to_string(), n).await.unwrap());
    }
    journal.refuse(Some(sagas[0].id()));
    // Their turns come together, and so in one batch.
    for saga in &sagas[1..] {
        tokio::time::timeout(Duration::from_secs(5), completed(saga)).await.expect("the others go on");
    }
    let before = journal.calls("append");
    tokio::time::sleep(Duration::from_secs(60)).await;
    let tries = journal.calls("append") - before;
    assert!((5..120).contains(&tries), "{tries} in a minute");
    journal.refuse(None);
    assert_eq!(completed(&sagas[0]).await, 0);
    let begun = *seen.borrow();
    assert_eq!(begun, 6, "nothing says that it was done: it was done again, under its key");
}

#[tokio::test(start_paused = true)]
async fn a_start_that_is_refused_is_told_so_and_keeps_no_other() {
    let definition = Definition::build("refused", 1, |saga, n| {
        let done = saga.query("step", step_fn(async |_, n: i64| Ok(n)), n);
        saga.returns(done)
    })
    .unwrap();
    let journal = FaultJournal::new(MemoryJournal::new());
    let engine = engine_on(journal.clone()).register(&definition).open().await.unwrap();
    journal.refuse_start(Some("2"));
    let before = journal.calls("start");
    let keys: Vec<String> = (0..5).map(|n: i64| n.to_string()).collect();
    let starts = keys.iter().zip(0..).map(|(key, n)| engine.start(&definition, key, n));
    let started = futures_util::future::join_all(starts).await;
    assert_eq!(journal.calls("start") - before, 1 + 5, "together, and then each by itself");
    for (saga, n) in started.into_iter().zip(0..) {
        match saga {
            Ok(saga) => assert_eq!(completed(&saga).await, n),
            Err(problem) => assert!(n == 2 && matches!(problem, StartError::Journal { .. }), "{n}: {problem}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_journal_that_panics_costs_the_lease_and_no_saga() {
    let calls = [
        ("start", 1),
        ("append", 5),
        ("claim", 4),
        ("load", 1),
        ("close_lease", 1),
        ("renew_lease", 1),
        ("fence_lapsed", 1),
        ("unalerted", 1),
    ];
    for (method, calls) in calls {
        for call in 0..calls {
            let planned = Planned { method, call, fault: Fault::Panics };
            assert!(run(Some(planned)).await, "{planned:?} was not reached");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_journal_that_is_gone_for_half_a_minute_in_mid_run_loses_nothing() {
    let (world, journal) = (World::default(), FaultJournal::new(MemoryJournal::new()));
    let slow = world.clone();
    let definition = Definition::build("slow", 1, |saga, n| {
        let step = |nth: i64| {
            let world = slow.clone();
            step_fn(move |cx: StepContext, n: i64| {
                world.apply(&cx);
                async move {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    Ok(n + nth)
                }
            })
        };
        let a = saga.query("a", step(1), n);
        let b = saga.query("b", step(1), a);
        let c = saga.query("c", step(1), b);
        saga.returns(c)
    })
    .unwrap();
    let engine = engine_on(journal.clone()).register(&definition).open().await.unwrap();
    let mut sagas = Vec::new();
    for nth in 0..20 {
        sagas.push(engine.start(&definition, &format!("k{nth}"), nth).await.unwrap());
    }
    until("all have begun", async || world.count("a") == 20).await;
    journal.outage(true);
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(world.count("b"), 0, "nothing begins that is not written down");
    assert!(matches!(engine.start(&definition, "new", 0).await, Err(StartError::Unavailable { .. })));
    journal.outage(false);
    for (nth, saga) in sagas.iter().enumerate() {
        assert_eq!(completed(saga).await, nth as i64 + 3);
    }
    let again = engine.start(&definition, "new", 0).await.unwrap();
    assert_eq!(completed(&again).await, 3, "the start that was not answered had been taken");
    let counts = (world.count("a"), world.count("b"), world.count("c"));
    assert_eq!(counts, (21, 21, 21), "each step of each saga once");
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_cannot_renew_its_lease_begins_nothing() {
    let (world, journal) = (World::default(), FaultJournal::new(MemoryJournal::new()));
    let noting = world.clone();
    let definition = Definition::build("lapse", 1, |saga, n| {
        let step = step_fn(move |cx: StepContext, n: i64| {
            noting.apply(&cx);
            async move { if cx.attempt() == 1 { Err(StepError::unsent("not yet")) } else { Ok(n) } }
        });
        let step = saga.query("step", step, n).retry(RetryPolicy::fixed(Duration::from_millis(900)));
        saga.returns(step)
    })
    .unwrap();
    let engine = engine_on(journal.clone()).register(&definition).open().await.unwrap();
    let saga = engine.start(&definition, "k", 1).await.unwrap();
    until("failed once", async || world.count("step") == 1).await;
    journal.outage(true);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(world.count("step"), 1);
    journal.outage(false);
    assert_eq!(completed(&saga).await, 1);
    assert_eq!(completed(&saga).await, 1, "the outcome can be asked for again");
}

#[tokio::test(start_paused = true)]
async fn a_worker_can_be_shut_down_while_its_journal_is_gone() {
    let journal = FaultJournal::new(MemoryJournal::new());
    let definition = story(&World::default());
    let engine = engine_on(journal.clone()).register(&definition).open().await.unwrap();
    let saga = engine.start(&definition, "k", 1).await.unwrap();
    journal.outage(true);
    assert!(engine.start(&definition, "not-taken", 1).await.is_err());
    let began = tokio::time::Instant::now();
    engine.shutdown(Duration::from_secs(1)).await;
    assert!(began.elapsed() < Duration::from_secs(20));
    journal.outage(false);
    let next = engine_on(journal).register(&definition).open().await.unwrap();
    let outcome = next.handle(&definition, saga.id()).outcome().await.unwrap();
    assert!(matches!(outcome, saga_core::SagaOutcome::RolledBack(_)));
}
