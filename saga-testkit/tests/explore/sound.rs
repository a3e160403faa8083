//! Sagas without a bug, with everything that a definition can hold.

use std::time::Duration;

use saga_core::{Definition, Event, RetryPolicy, SagaOutcome, Source as _, StepError, step_fn};
use saga_testkit::{Depth, Ending, Explored, Fate, Invariant, Scene, World, explore};

use super::shop::{honest, quick, scene};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

#[test]
fn a_sound_saga_passes_whatever_goes_wrong() {
    let explored = explore(scene).run().unwrap();
    // Four steps: what becomes of each and of its calls, and a crash at each of five writes.
    assert_eq!(explored.runs_by_depth[&1], 4 * (9 + 8) + 5 * 2);
    for fate in [Fate::Refused, Fate::TimedOut, Fate::UnknownLate, Fate::CrashBefore, Fate::CrashAfter] {
        assert!(explored.fates[&fate] > 20, "{fate}: {explored:?}");
    }
    assert!(explored.completed > 50 && explored.rolled_back > 50 && explored.needed_a_human > 20, "{explored}");
}

#[test]
fn a_small_saga_passes_whatever_two_things_go_wrong() {
    let scene = async |world: World| {
        let definition = Definition::build("small", 1, |saga, n| {
            let held = saga.compensatable("hold", honest(&world, "money held"), n).retry(quick());
            let captured = saga.pivot("capture", honest(&world, "money captured"), held).retry(quick());
            saga.returns(captured)
        });
        Scene::new(definition.unwrap(), 1)
    };
    let explored = explore(scene).depth(Depth::Pairs).run().unwrap();
    assert!(explored.runs > 500, "{explored}");
}

#[test]
fn a_sound_saga_passes_walks_on_which_up_to_a_dozen_things_go_wrong() {
    let explored = explore(scene).depth(Depth::Singles).walks(300, 7).run().unwrap();
    assert!(explored.runs_by_depth.keys().max() > Some(&5), "{explored:?}");
}

#[test]
fn the_same_schedule_tells_the_same_story() {
    for seed in ["v1:", "v1:run:send#1=refused", "v1:write#3=crash-before,run:capture#2=timed-out"] {
        let tell = || explore(scene).replay(seed).unwrap();
        assert_eq!(tell(), tell(), "{seed}");
    }
}

/// Waits for a payment for a day, tells the world, and ships.
fn paid_order(world: &World, at_most: Option<Duration>) -> Definition<i64, i64> {
    Definition::build("paid-order", 1, |saga, n| {
        let reserved = saga.compensatable("reserve", honest(world, "goods reserved"), n).retry(quick());
        let paid = saga.wait_for::<i64, _>("paid", "paid", reserved.map(move |_| at_most));
        let check = step_fn(async |_, paid: Option<i64>| paid.ok_or_else(|| StepError::rejected("not paid in time")));
        let checked = saga.query("check", check, paid);
        saga.publish("tell", checked.map(|cents: i64| Event::new("orders", cents)));
        saga.sleep("overnight", checked.map(|_| DAY / 3));
        let shipped = saga.pivot("ship", honest(world, "goods shipped"), reserved).retry(quick());
        saga.publish("tell-again", shipped.map(|n: i64| Event::new("orders", n)));
        saga.returns(shipped)
    })
    .unwrap()
}

#[test]
fn signals_come_early_twice_late_or_never_and_events_are_published_once_committed() {
    for at_most in [Some(DAY), None] {
        let scene = async |world: World| Scene::new(paid_order(&world, at_most), 1).signal("paid", &25_000);
        let explored = explore(scene).run().unwrap();
        let count = |fate| explored.fates.get(&fate).copied().unwrap_or(0);
        assert!(count(Fate::Early) > 0 && count(Fate::Twice) > 0, "{explored:?}");
        assert_eq!((count(Fate::Never) > 0, count(Fate::TooLate) > 0), (at_most.is_some(), at_most.is_some()));
    }
    let check = async |end: &Ending<'_, (), i64>| {
        let SagaOutcome::RolledBack(failure) = end.outcome else { return Ok(()) };
        assert_ne!(failure.to_string(), "check failed: not paid in time");
        Ok(())
    };
    let scene = async |world: World| Scene::new(paid_order(&world, Some(DAY)), 1).signal("paid", &25_000);
    let found = explore(scene).check(check).run().unwrap_err();
    assert_eq!(found.violation().unwrap().invariant(), Invariant::Own);
    assert_eq!(found.violation().unwrap().seed(), "v1:signal:paid#1=too-late");
}

/// Locks, lists, a branch, two side by side, another definition inlined, and one as a saga of its own.
fn everything(world: &World) -> Definition<i64, i64> {
    let parcel = Definition::build("parcel", 1, |saga, n| {
        let packed = saga.compensatable("pack", honest(world, "parcel packed"), n).retry(quick());
        saga.returns(packed)
    });
    let parcel = parcel.unwrap();
    let notes = Definition::build("notes", 1, |saga, n| {
        let noted = saga.compensatable("note", honest(world, "noted"), n).retry(quick());
        saga.returns(noted)
    });
    Definition::build("everything", 1, |saga, n| {
        let _ = saga.lock("cart", n.map(|n: i64| vec![format!("cart-{n}")]), DAY);
        let items = saga.query("items", step_fn(async |_, n: i64| Ok(vec![n, n + 1])), n);
        let each = saga.for_each("take").at_once(2);
        let taken = each.compensatable(honest(world, "item taken"), items).retry(quick());
        let several = taken.map(|taken: Vec<i64>| taken.len() > 1);
        let _ = saga
            .when("several", several, |saga| saga.compensatable("wrap", honest(world, "wrapped"), n).retry(quick()));
        saga.parallel(|group| {
            group.branch(|saga| saga.compensatable("left", honest(world, "left done"), n).retry(quick()));
            group.branch(|saga| saga.compensatable("right", honest(world, "right done"), n).retry(quick()));
        });
        let _ = saga.include("noted", &notes.unwrap(), n);
        let packed = saga.child("pack", &parcel, n);
        let paid = saga.pivot("pay", honest(world, "paid"), packed).retry(quick());
        let told = saga.best_effort("tell", honest(world, "told"), paid).retry(RetryPolicy::never());
        let sent = saga.retryable("send", honest(world, "sent"), paid).retry(quick());
        saga.returns((sent, told).map(|(sent, _)| sent))
    })
    .unwrap()
}

#[test]
fn everything_that_a_definition_can_hold_is_explored() {
    let explored = explore(async |world: World| Scene::new(everything(&world), 1));
    let explored = explored.depth(Depth::Singles).walks(100, 1).run().unwrap();
    for what in ["cart", "take", "undo of take", "several", "undo of pack", "parcel/pack", "undo of parcel/pack"] {
        assert!(explored.reached().contains(what), "{what}: {:?}", explored.reached());
    }
    assert_seconds(&explored);
}

/// Not minutes, on any machine that is not busy with something else.
fn assert_seconds(explored: &Explored) {
    println!("{explored}");
    assert!(explored.took < Duration::from_secs(300), "{explored}");
}

#[test]
fn a_saga_with_a_deadline_may_turn_back_at_any_time() {
    let scene = async |world: World| {
        let definition = Definition::build("hurried", 1, |saga, n| {
            saga.deadline(Duration::from_secs(5));
            let reserved = saga.compensatable("reserve", honest(&world, "goods reserved"), n).retry(quick());
            let paid = saga.pivot("pay", honest(&world, "paid"), reserved).retry(quick());
            saga.returns(paid)
        });
        Scene::new(definition.unwrap(), 1)
    };
    explore(scene).depth(Depth::Pairs).run().unwrap();
}
