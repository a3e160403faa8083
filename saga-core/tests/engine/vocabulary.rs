//! Conditions, waits and inclusion.

use std::time::Duration;

use saga_core::journal::{MemoryJournal, SagaStatus};
use saga_core::{
    BuildError, Definition, InputHandle, Outcome, Source as _, StepContext, StepError, Timestamp, step_fn,
};

use super::support::{World, completed, rolled_back, unhurried, until};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Pays when something is due, and says what was paid.
fn pay(world: &World, fails: bool) -> Result<Definition<i64, String>, BuildError> {
    Definition::build("pay", 1, |saga, cents| {
        let (paid, undone) = (world.clone(), world.clone());
        let charge = step_fn(move |cx: StepContext, cents: i64| {
            paid.apply(&cx);
            async move { Ok(cents) }
        })
        .compensate(move |cx: StepContext, _: i64, _: Outcome<i64>| {
            undone.undo(&cx, "charge");
            async { Ok(()) }
        });
        let receipt = saga.when("anything-due", cents.map(|cents: i64| cents > 0), |saga| {
            let charged = saga.compensatable("charge", charge, cents);
            let large = saga.when("large", cents.map(|cents: i64| cents > 100), |saga| {
                saga.query("thank", step_fn(async |_, n: i64| Ok(format!("thank you for {n}"))), charged)
            });
            (charged, large)
        });
        let say = step_fn(async move |_, receipt: Option<(i64, Option<String>)>| match receipt {
            _ if false => Err(StepError::rejected("never")),
            None => Ok("nothing due".to_owned()),
            Some((cents, None)) => Ok(format!("{cents} paid")),
            Some((cents, Some(thanks))) => Ok(format!("{cents} paid, {thanks}")),
        });
        let said = saga.query("say", say, receipt);
        let last = step_fn(
            async |_, (said, fails): (String, bool)| {
                if fails { Err(StepError::rejected("no")) } else { Ok(said) }
            },
        );
        let last = saga.query("last", last, (said, cents.map(move |_: i64| fails)));
        saga.returns(last)
    })
}

#[tokio::test(start_paused = true)]
async fn what_a_condition_guards_is_taken_or_not_and_seen_as_an_option() {
    let world = World::default();
    let definition = pay(&world, false).unwrap();
    let engine = unhurried(&MemoryJournal::new()).register(&definition).open().await.unwrap();
    for (cents, said) in [(0, "nothing due"), (5, "5 paid"), (500, "500 paid, thank you for 500")] {
        let saga = engine.start(&definition, &format!("{cents}"), cents).await.unwrap();
        assert_eq!(completed(&saga).await, said);
    }
    assert_eq!(world.count("charge"), 2);
}

#[tokio::test(start_paused = true)]
async fn what_was_not_taken_is_not_compensated_and_what_was_is() {
    let world = World::default();
    let definition = pay(&world, true).unwrap();
    let engine = unhurried(&MemoryJournal::new()).register(&definition).open().await.unwrap();
    for cents in [0, 5] {
        rolled_back(&engine.start(&definition, &format!("{cents}"), cents).await.unwrap()).await;
    }
    assert_eq!(world.log(), ["charge #1", "undo charge (charge) #1"]);
}

#[tokio::test(start_paused = true)]
async fn a_sleeping_saga_is_parked_and_goes_on_when_it_is_time_on_any_worker() {
    let definition = Definition::build("remind", 1, |saga, at| {
        let slept = saga.sleep("a-day", ().map(|()| DAY));
        let until = saga.sleep_until("until", (at, slept).map(|(at, ()): (Timestamp, ())| at));
        let done = saga.query("done", step_fn(async |cx: StepContext, ()| Ok(cx.now())), until);
        saga.returns(done)
    })
    .unwrap();
    let journal = MemoryJournal::new();
    let first = unhurried(&journal).register(&definition).open().await.unwrap();
    let began = tokio::time::Instant::now();
    let passed = Timestamp::from_micros(0);
    let saga = first.start(&definition, "k", passed).await.unwrap().id();
    until("parked", async || first.status(saga).await.unwrap().unwrap().status == SagaStatus::Waiting).await;
    assert_eq!(first.in_flight(), 0);
    drop(first);
    let second = unhurried(&journal).register(&definition).open().await.unwrap();
    completed(&second.handle(&definition, saga)).await;
    let took = began.elapsed();
    assert!(took >= DAY && took < DAY + Duration::from_secs(5), "{took:?}; a time that has passed is not waited for");
}

#[tokio::test(start_paused = true)]
async fn a_wait_ends_when_the_saga_turns_back() {
    let definition = Definition::build("both", 1, |saga, n| {
        saga.parallel(|group| {
            group.branch(|saga| saga.sleep("long", ().map(|()| 1000 * DAY)));
            let refuse = step_fn(async |_, _: i64| Err::<(), _>(StepError::rejected("no")));
            group.branch(|saga| saga.query("refuse", refuse, n));
        });
        saga.returns(())
    })
    .unwrap();
    let engine = unhurried(&MemoryJournal::new()).register(&definition).open().await.unwrap();
    let began = tokio::time::Instant::now();
    assert_eq!(rolled_back(&engine.start(&definition, "k", 1).await.unwrap()).await, "refuse failed: no");
    assert!(began.elapsed() < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn an_included_definition_runs_in_place_and_is_undone_in_place() {
    let world = World::default();
    let included = pay(&world, false).unwrap();
    let build = |fails: bool| {
        Definition::build("twice", 1, |saga, _: InputHandle<'_, ()>| {
            let first = saga.include("first", &included, ().map(|()| 7));
            let second = saga.include("second", &included, first.clone().map(|said: String| said.len() as i64));
            let last = step_fn(
                async |_, (a, b, fails): (String, String, bool)| {
                    if fails { Err(StepError::rejected("no")) } else { Ok(format!("{a}; {b}")) }
                },
            );
            let last = saga.query("last", last, (first, second, ().map(move |()| fails)));
            saga.returns(last)
        })
    };
    let good: Definition<(), String> = build_one(build(false));
    let engine = unhurried(&MemoryJournal::new()).register(&good).open().await.unwrap();
    assert_eq!(completed(&engine.start(&good, "k", ()).await.unwrap()).await, "7 paid; 6 paid");
    let bad = build_one(build(true));
    let engine = unhurried(&MemoryJournal::new()).register(&bad).open().await.unwrap();
    rolled_back(&engine.start(&bad, "k", ()).await.unwrap()).await;
    assert_eq!(
        world.log(),
        [
            "first/charge #1",
            "second/charge #1",
            "first/charge #1",
            "second/charge #1",
            "undo second/charge (charge) #1",
            "undo first/charge (charge) #1"
        ]
    );
    let names: Vec<_> = good.plan().steps().iter().map(|step| step.name.to_string()).collect();
    assert_eq!(names[..3], ["first/anything-due", "first/charge", "first/large"]);
}

fn build_one<O>(built: Result<Definition<(), O>, BuildError>) -> Definition<(), O> {
    built.unwrap()
}

#[tokio::test]
async fn names_stay_unique_across_inclusions() {
    let included = pay(&World::default(), false).unwrap();
    let refused = Definition::build("same", 1, |saga, _: InputHandle<'_, ()>| {
        let first = saga.include("a", &included, ().map(|()| 7));
        let second = saga.include("a", &included, ().map(|()| 7));
        saga.returns((first, second))
    });
    assert_eq!(refused.unwrap_err(), BuildError::DuplicateName { step: "a/anything-due".into() });
}
