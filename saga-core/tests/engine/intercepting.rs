//! What stands around attempts sees each of them, may answer in their place, and counts as part of them.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use saga_core::engine::{Answer, Call, Interceptor};
use saga_core::journal::MemoryJournal;
use saga_core::{Definition, Outcome, StepContext, StepError, async_trait, step_fn};

use super::support::{World, completed, engine, quick, rolled_back};

type Log = Arc<Mutex<Vec<String>>>;

/// Notes what it sees, under its name, and does what its name says.
#[derive(Debug)]
struct Noting(&'static str, Log);

#[async_trait]
impl Interceptor for Noting {
    async fn intercept(&self, cx: &StepContext, call: Call) -> Result<Answer, StepError> {
        let note = |what: &str| self.1.lock().unwrap().push(format!("{} {} {} {what}", self.0, cx.op(), cx.step()));
        note("begins");
        match self.0 {
            "refuses" if cx.step().as_str() == "b" => return Err(StepError::rejected("not today")),
            "hangs" if cx.attempt() == 1 => std::future::pending().await,
            "panics" if cx.attempt() == 1 => panic!("as told"),
            _ => {}
        }
        let answer = call.make(cx).await;
        note(if answer.is_ok() { "ok" } else { "failed" });
        answer
    }
}

fn definition(world: &World) -> Definition<i64, i64> {
    let step = |world: &World| {
        let (done, undone) = (world.clone(), world.clone());
        step_fn(move |cx: StepContext, n: i64| {
            done.apply(&cx);
            async move { Ok(n) }
        })
        .compensate(move |cx: StepContext, _, _: Outcome<i64>| {
            undone.undo(&cx, "ok");
            async { Ok(()) }
        })
    };
    Definition::build("intercepted", 1, |saga, n| {
        let a = saga.compensatable("a", step(world), n).retry(quick()).timeout(Duration::from_secs(5));
        let b = saga.compensatable("b", step(world), a).retry(quick()).timeout(Duration::from_secs(5));
        saga.returns(b)
    })
    .unwrap()
}

#[tokio::test(start_paused = true)]
async fn interceptors_nest_in_their_order_and_one_may_answer_in_place_of_the_step() {
    let (world, log) = (World::default(), Log::default());
    let definition = definition(&world);
    let engine = engine(&MemoryJournal::new()).register(&definition);
    let engine = engine.interceptor(Noting("watches", log.clone())).interceptor(Noting("refuses", log.clone()));
    let engine = engine.open().await.unwrap();
    let saga = engine.start(&definition, "k", 1).await.unwrap();
    assert_eq!(rolled_back(&saga).await, "b failed: not today");
    assert_eq!(world.log(), ["a #1", "undo a (ok) #1"], "the step itself was never called");
    let seen = log.lock().unwrap().clone();
    assert_eq!(seen[..4], ["watches run a begins", "refuses run a begins", "refuses run a ok", "watches run a ok"]);
    assert_eq!(seen[4..7], ["watches run b begins", "refuses run b begins", "watches run b failed"]);
    assert_eq!(seen[7], "watches compensate a begins", "a certain refusal is not undone");
}

#[tokio::test(start_paused = true)]
async fn an_interceptor_stands_under_the_attempts_time_limit_and_its_panic_is_the_attempts() {
    for name in ["hangs", "panics"] {
        let (world, log) = (World::default(), Log::default());
        let definition = definition(&world);
        let engine = engine(&MemoryJournal::new()).register(&definition).interceptor(Noting(name, log.clone()));
        let engine = engine.open().await.unwrap();
        let saga = engine.start(&definition, "k", 1).await.unwrap();
        assert_eq!(completed(&saga).await, 1, "{name}");
        assert_eq!(world.log(), ["a #2", "b #2"], "{name}: each first attempt came to nothing, and counts");
    }
}
