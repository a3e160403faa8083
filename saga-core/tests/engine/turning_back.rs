//! Promise 5: compensation is complete and ordered.

use saga_core::journal::MemoryJournal;
use saga_core::{Definition, Outcome, Probe, RetryPolicy, Step, StepContext, StepError, async_trait, step_fn};

use super::support::{World, completed, engine, quick, rolled_back};

/// Has its effect, and then does what the test says.
#[derive(Clone)]
struct Effect {
    world: World,
    fail: Option<fn(&StepContext) -> Option<StepError>>,
}

#[async_trait]
impl Step for Effect {
    type Input = i64;
    type Output = i64;

    async fn run(&self, cx: &StepContext, input: i64) -> Result<i64, StepError> {
        self.world.apply(cx);
        match self.fail.and_then(|fail| fail(cx)) {
            Some(error) => Err(error),
            None => Ok(input + 1),
        }
    }
}

#[async_trait]
impl saga_core::Compensation for Effect {
    async fn compensate(&self, cx: &StepContext, _input: i64, outcome: Outcome<i64>) -> Result<(), StepError> {
        let what = match outcome {
            Outcome::Done(output) => format!("done {output}"),
            Outcome::Unknown => "unknown".to_owned(),
        };
        self.world.undo(cx, &what);
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn the_step_whose_fate_is_unknown_is_compensated_in_reverse_order() {
    let world = World::default();
    let step = |fail| Effect { world: world.clone(), fail };
    let definition = Definition::build("order", 1, |saga, amount| {
        let a = saga.compensatable("a", step(None), amount);
        let b = saga.compensatable("b", step(None), a);
        let c = saga.compensatable("c", step(Some(|_| Some(StepError::retry("no answer")))), b).retry(quick());
        saga.returns(c)
    })
    .unwrap();
    let engine = engine(&MemoryJournal::new()).register(&definition).open().await.unwrap();
    let saga = engine.start(&definition, "k", 1).await.unwrap();
    assert_eq!(rolled_back(&saga).await, "c failed: no answer");
    assert_eq!(
        world.log(),
        ["a #1", "b #1", "c #1", "c #2", "c #3", "undo c (unknown) #1", "undo b (done 3) #1", "undo a (done 2) #1"]
    );
    assert_eq!(world.standing(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_step_that_certainly_had_no_effect_is_not_compensated() {
    let world = World::default();
    let refusing = {
        let world = world.clone();
        step_fn(move |_cx, _: i64| {
            let world = world.clone();
            async move {
                world.note("refused");
                Err::<i64, _>(StepError::rejected("out of stock"))
            }
        })
        .compensate(|_, _, _| async { panic!("nothing to undo") })
    };
    let definition = Definition::build("refused", 1, |saga, amount| {
        let a = saga.compensatable("a", Effect { world: world.clone(), fail: None }, amount);
        let b = saga.compensatable("b", refusing, a);
        saga.returns(b)
    })
    .unwrap();
    let engine = engine(&MemoryJournal::new()).register(&definition).open().await.unwrap();
    let saga = engine.start(&definition, "k", 1).await.unwrap();
    assert_eq!(rolled_back(&saga).await, "b failed: out of stock");
    assert_eq!(world.log(), ["a #1", "refused", "undo a (done 2) #1"]);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_after_an_unknown_attempt_proves_nothing_about_that_attempt() {
    let world = World::default();
    let fail: fn(&StepContext) -> Option<StepError> =
        |cx| Some(if cx.attempt() == 1 { StepError::retry("no answer") } else { StepError::rejected("declined") });
    let definition = Definition::build("sticky", 1, |saga, amount| {
        let a = saga.compensatable("a", Effect { world: world.clone(), fail: Some(fail) }, amount).retry(quick());
        saga.returns(a)
    })
    .unwrap();
    let engine = engine(&MemoryJournal::new()).register(&definition).open().await.unwrap();
    let saga = engine.start(&definition, "k", 1).await.unwrap();
    assert_eq!(rolled_back(&saga).await, "a failed: declined");
    assert_eq!(world.log(), ["a #1", "a #2", "undo a (unknown) #1"]);
}

#[tokio::test(start_paused = true)]
async fn a_panic_and_a_time_out_are_unknown() {
    let world = World::default();
    let hang = {
        let world = world.clone();
        step_fn(move |cx: StepContext, _: i64| {
            let world = world.clone();
            async move {
                world.apply(&cx);
                match cx.attempt() {
                    1 => panic!("a bug"),
                    _ => std::future::pending::<Result<i64, StepError>>().await,
                }
            }
        })
    };
    let undone = world.clone();
    let hang = hang.compensate(move |cx, _, outcome| {
        let world = undone.clone();
        async move {
            assert_eq!(outcome, Outcome::Unknown);
            world.undo(&cx, "unknown");
            Ok(())
        }
    });
    let definition = Definition::build("hang", 1, |saga, amount| {
        let a = saga.compensatable("a", hang, amount).retry(RetryPolicy::never().attempts(2));
        saga.returns(a)
    })
    .unwrap();
    let engine = engine(&MemoryJournal::new()).register(&definition).open().await.unwrap();
    let saga = engine.start(&definition, "k", 1).await.unwrap();
    assert_eq!(rolled_back(&saga).await, "a failed: no answer within 30000 ms");
    assert_eq!(world.log(), ["a #1", "a #2", "undo a (unknown) #1"]);
}

#[tokio::test(start_paused = true)]
async fn no_compensation_starts_while_a_branch_is_still_running() {
    let world = World::default();
    let slow = {
        let world = world.clone();
        step_fn(move |cx: StepContext, n: i64| {
            let world = world.clone();
            async move {
                tokio::time::sleep(std::time::Duration::from_secs(5)).await;
                world.apply(&cx);
                Ok(n)
            }
        })
    };
    let undone = world.clone();
    let slow = slow.compensate(move |cx, _, _| {
        let world = undone.clone();
        async move {
            world.undo(&cx, "done");
            Ok(())
        }
    });
    let definition = Definition::build("branches", 1, |saga, amount| {
        let a = saga.compensatable("a", Effect { world: world.clone(), fail: None }, amount);
        saga.parallel(|group| {
            group.branch(|saga| saga.compensatable("slow", slow, a));
            group.branch(|saga| {
                saga.query("quick", step_fn(async |_, _: i64| Err::<i64, _>(StepError::rejected("no"))), a)
            });
        });
        saga.returns(a)
    })
    .unwrap();
    let engine = engine(&MemoryJournal::new()).register(&definition).open().await.unwrap();
    let saga = engine.start(&definition, "k", 1).await.unwrap();
    rolled_back(&saga).await;
    assert_eq!(world.log(), ["a #1", "slow #1", "undo slow (done) #1", "undo a (done 2) #1"]);
}

struct Capture(Probe<String>);

#[async_trait]
impl Step for Capture {
    type Input = i64;
    type Output = String;

    async fn run(&self, _cx: &StepContext, _: i64) -> Result<String, StepError> {
        Err(StepError::retry("no answer"))
    }

    async fn probe(&self, cx: &StepContext, _: i64) -> Result<Probe<String>, StepError> {
        assert_eq!(cx.key(), cx.step_key());
        Ok(self.0.clone())
    }
}

#[tokio::test(start_paused = true)]
async fn a_pivot_with_an_unknown_outcome_is_asked_about_before_any_direction_is_taken() {
    let journal = MemoryJournal::new();
    let build = |name: &str, probe: Probe<String>, world: World| {
        Definition::build(name, 1, |saga, amount| {
            let a = saga.compensatable("a", Effect { world, fail: None }, amount);
            let captured = saga.pivot("capture", Capture(probe), a).retry(quick());
            saga.returns(captured)
        })
        .unwrap()
    };
    let world = World::default();
    let forward = build("applied", Probe::Applied("captured".to_owned()), world.clone());
    let back = build("not-applied", Probe::NotApplied, world.clone());
    let open = build("unknown", Probe::Unknown, world.clone());
    let engine = engine(&journal).register(&forward).register(&back).register(&open).open().await.unwrap();
    assert_eq!(completed(&engine.start(&forward, "k", 1).await.unwrap()).await, "captured");
    assert_eq!(rolled_back(&engine.start(&back, "k", 1).await.unwrap()).await, "capture failed: no answer");
    assert_eq!(world.count("undo a"), 1);
    let saga = engine.start(&open, "k", 1).await.unwrap();
    let letters = super::support::dead_letters(&saga).await;
    assert_eq!(letters[0].reason, saga_core::machine::AttentionReason::UnknownOutcome);
    assert_eq!(world.count("undo a"), 1, "no direction was taken");
}
