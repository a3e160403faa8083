//! Child sagas: started once, awaited, undone with their parent, and kept until it is over.

use std::time::Duration;

use saga_core::journal::{End, ListFilter, MemoryJournal, SagaStatus};
use saga_core::{BuildError, Definition, Engine, Outcome, Source as _, StepContext, StepError, step_fn};

use saga_testkit::faults::{Fault, FaultJournal, Planned};

use super::support::{World, completed, engine, engine_on, rolled_back, until};

fn hold(world: &World, slow: bool, fails: bool) -> impl saga_core::Compensation<Input = i64, Output = i64> + use<> {
    let (held, undone) = (world.clone(), world.clone());
    step_fn(move |cx: StepContext, n: i64| {
        if !fails {
            held.apply(&cx);
        }
        async move {
            if slow {
                tokio::time::sleep(Duration::from_secs(10)).await;
            }
            if fails { Err(StepError::rejected("no")) } else { Ok(n + 1) }
        }
    })
    .compensate(move |cx: StepContext, _: i64, _: Outcome<i64>| {
        undone.undo(&cx, "hold");
        async { Ok(()) }
    })
}

#[derive(Clone, Copy, Default)]
struct Fails {
    grandchild: bool,
    child: bool,
    parent: bool,
    slow: bool,
}

/// Three levels, each with a step to undo.
fn family(world: &World, fails: Fails) -> Definition<i64, i64> {
    let grandchild = Definition::build("grandchild", 1, |saga, n| {
        let held = saga.compensatable("hold-3", hold(world, fails.slow, fails.grandchild), n);
        saga.returns(held)
    })
    .unwrap();
    let child = Definition::build("child", 1, |saga, n| {
        let held = saga.compensatable("hold-2", hold(world, false, false), n);
        let below = saga.child("below", &grandchild, held);
        let last = saga.compensatable("last-2", hold(world, false, fails.child), below);
        saga.returns(last)
    })
    .unwrap();
    Definition::build("parent", 1, |saga, n| {
        let held = saga.compensatable("hold-1", hold(world, false, false), n);
        let below = saga.child("below", &child, held);
        let check = step_fn(move |_, n: i64| async move {
            if fails.parent { Err(StepError::rejected("not like this")) } else { Ok(n) }
        });
        let checked = saga.query("check", check, below);
        saga.returns(checked)
    })
    .unwrap()
}

async fn all_over(engine: &Engine) {
    until("all sagas over", async || {
        let all = engine.list(&ListFilter::default(), 10).await.unwrap();
        all.iter().all(|saga| matches!(saga.status, SagaStatus::Ended(_)))
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_parent_waits_parked_and_takes_what_its_child_returns() {
    let (world, journal) = (World::default(), MemoryJournal::new());
    let definition = family(&world, Fails { slow: true, ..Fails::default() });
    let engine = engine(&journal).register(&definition).open().await.unwrap();
    let saga = engine.start(&definition, "k", 0).await.unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(engine.status(saga.id()).await.unwrap().unwrap().status, SagaStatus::Waiting);
    assert_eq!(completed(&saga).await, 4);
    assert_eq!(world.standing().len(), 4);
    all_over(&engine).await;
}

#[tokio::test(start_paused = true)]
async fn a_done_child_is_kept_and_undone_when_its_parent_turns_back() {
    let world = World::default();
    let definition = family(&world, Fails { parent: true, ..Fails::default() });
    let engine = engine(&MemoryJournal::new()).register(&definition).open().await.unwrap();
    assert_eq!(rolled_back(&engine.start(&definition, "k", 0).await.unwrap()).await, "check failed: not like this");
    assert_eq!(world.standing(), [""; 0]);
    let undone: Vec<String> = world.log().into_iter().filter(|entry| entry.starts_with("undo")).collect();
    let order: Vec<&str> = undone.iter().map(|entry| entry.split(' ').nth(1).unwrap()).collect();
    assert_eq!(order, ["last-2", "hold-3", "hold-2", "hold-1"]);
    all_over(&engine).await;
}

#[tokio::test(start_paused = true)]
async fn a_child_that_rolls_back_turns_its_parent_back_with_its_reason() {
    for fails in [Fails { child: true, ..Fails::default() }, Fails { grandchild: true, ..Fails::default() }] {
        let world = World::default();
        let definition = family(&world, fails);
        let engine = engine(&MemoryJournal::new()).register(&definition).open().await.unwrap();
        let saga = engine.start(&definition, "k", 0).await.unwrap();
        assert_eq!(rolled_back(&saga).await, "below failed: no");
        assert_eq!(world.standing(), [""; 0]);
        all_over(&engine).await;
    }
}

#[tokio::test(start_paused = true)]
async fn cancelling_the_parent_cancels_a_child_that_still_runs() {
    let world = World::default();
    let definition = family(&world, Fails { slow: true, ..Fails::default() });
    let engine = engine(&MemoryJournal::new()).register(&definition).open().await.unwrap();
    let saga = engine.start(&definition, "k", 0).await.unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    engine.operator().cancel(saga.id(), "ann", "not wanted").await.unwrap();
    assert_eq!(rolled_back(&saga).await, "cancelled by ann: not wanted");
    assert_eq!(world.standing(), [""; 0]);
    all_over(&engine).await;
}

#[tokio::test(start_paused = true)]
async fn workers_that_crash_at_any_time_leave_a_family_whole_or_undone() {
    for fails in [Fails::default(), Fails { parent: true, ..Fails::default() }] {
        for (call, fault) in (0..).flat_map(|call| [(call, Fault::Before), (call, Fault::After)]) {
            let (world, journal) = (World::default(), MemoryJournal::new());
            let definition = family(&world, fails);
            let faulty = FaultJournal::new(journal.clone());
            faulty.plan(Planned { method: "append", call, fault });
            let first = engine_on(faulty.clone()).register(&definition).open().await.unwrap();
            let saga = first.start(&definition, "k", 0).await.unwrap().id();
            let over = async || matches!(first.status(saga).await.unwrap().unwrap().status, SagaStatus::Ended(_));
            until("the fault, or the end", async || faulty.reached() || over().await).await;
            if !faulty.reached() {
                break;
            }
            drop(first);
            let second = engine(&journal).register(&definition).open().await.unwrap();
            let handle = second.handle(&definition, saga);
            let expected = if fails.parent {
                rolled_back(&handle).await;
                0
            } else {
                assert_eq!(completed(&handle).await, 4);
                4
            };
            all_over(&second).await;
            assert_eq!(world.standing().len(), expected, "append {call} lost: {fault:?}");
            let children = second.list(&ListFilter::default(), 10).await.unwrap();
            assert_eq!(children.len(), 3, "each is started once");
            let end = if fails.parent { End::RolledBack } else { End::Completed };
            assert!(children.iter().all(|saga| saga.status == SagaStatus::Ended(end)));
        }
    }
}

#[test]
fn a_child_that_could_not_be_undone_is_refused() {
    let child = Definition::build("child", 1, |saga, n| {
        let charged = saga.pivot("charge", step_fn(async |_, n: i64| Ok(n)), n);
        saga.returns(charged)
    })
    .unwrap();
    let built = Definition::build("parent", 1, |saga, n: saga_core::InputHandle<'_, i64>| {
        let below = saga.child("below", &child, n.map(|n: i64| n));
        saga.returns(below)
    });
    let refused = built.unwrap_err();
    assert!(matches!(refused, BuildError::ChildCannotBeUndone { .. }), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_knows_the_child_alone_runs_it_for_its_parent() {
    let (world, journal) = (World::default(), MemoryJournal::new());
    let child = Definition::build("child", 1, |saga, n| {
        let held = saga.compensatable("hold", hold(&world, true, false), n);
        saga.returns(held)
    })
    .unwrap();
    let parent = Definition::build("parent", 1, |saga, n| {
        let below = saga.child("below", &child, n);
        saga.returns(below)
    })
    .unwrap();
    let both = engine(&journal).register(&parent).open().await.unwrap();
    let saga = both.start(&parent, "k", 1).await.unwrap();
    let children = ListFilter { definition: Some("child".to_owned()), ..ListFilter::default() };
    until("the child is under way", async || {
        let children = both.list(&children, 1).await.unwrap();
        children.first().is_some_and(|child| child.status == SagaStatus::Running)
    })
    .await;
    // It ends on an engine that has never heard of the parent.
    let alone = engine(&journal).register(&child).open().await.unwrap();
    drop(both);
    until("the child is kept", async || {
        let children = alone.list(&children, 1).await.unwrap();
        assert_ne!(children[0].status, SagaStatus::NeedsAttention);
        children[0].status == SagaStatus::Retained
    })
    .await;
    let both = engine(&journal).register(&parent).open().await.unwrap();
    assert_eq!(completed(&both.handle(&parent, saga.id())).await, 2);
    all_over(&both).await;
}

#[tokio::test(start_paused = true)]
async fn each_parent_has_a_child_of_its_own() {
    let definition = family(&World::default(), Fails::default());
    let engine = engine(&MemoryJournal::new()).register(&definition).open().await.unwrap();
    let one = engine.start(&definition, "one", 1).await.unwrap();
    let other = engine.start(&definition, "other", 100).await.unwrap();
    assert_eq!(completed(&other).await - completed(&one).await, 99);
    assert_eq!(engine.list(&ListFilter::default(), 10).await.unwrap().len(), 2 * 3);
}
