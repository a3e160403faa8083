//! Sagas in which everything goes wrong, and what must hold.

use std::time::Duration;

use saga_core::{
    Compensation, Definition, Event, Limits, Outcome, Probe, RetryPolicy, SagaOutcome, Source as _, Step, StepContext,
    StepError, async_trait, step_fn,
};
use saga_testkit::random::Honest;
use saga_testkit::{Ending, Scene, Stop, TestEngine, World, explore};

const HOUR: Duration = Duration::from_secs(60 * 60);

fn honest(world: &World, what: &str) -> Honest {
    Honest::new(world, what)
}

fn tries(attempts: u32) -> RetryPolicy {
    RetryPolicy::fixed(Duration::from_secs(1)).attempts(attempts)
}

/// Reserves, holds the money, captures it, and sends the order.
fn order(world: &World, attempts: u32) -> Definition<i64, i64> {
    let retry = || tries(attempts);
    let definition = Definition::build("order", 1, |saga, n| {
        let reserved = saga.compensatable("reserve", honest(world, "goods reserved"), n).retry(retry());
        let held = saga.compensatable("hold", honest(world, "money held"), reserved).retry(retry());
        let captured = saga.pivot("capture", honest(world, "money captured"), held).retry(retry());
        let sent = saga.retryable("send", honest(world, "order sent"), captured).retry(retry());
        saga.returns(sent)
    });
    definition.unwrap()
}

#[test]
pub(crate) fn all_goes_back() {
    explore(async |world: World| Scene::new(order(&world, 3), 1)).run().unwrap();
}

#[test]
pub(crate) fn one_attempt_alone_goes_back() {
    explore(async |world: World| Scene::new(order(&world, 1), 1)).run().unwrap();
}

#[test]
pub(crate) fn a_new_key_needs_proof() {
    let explore = explore(async |world: World| Scene::new(order(&world, 3), 1));
    explore.replay("v1:run:capture#1=unknown-with-effect,probe:capture#1=unknown-without-effect").unwrap();
}

#[test]
pub(crate) fn events_arrive() {
    let scene = async |world: World| {
        let definition = Definition::build("news", 1, |saga, n| {
            let done = saga.compensatable("do", honest(&world, "done"), n).retry(tries(3));
            saga.publish("tell", done.map(|n: i64| Event::new("news", n)));
            saga.returns(done)
        });
        Scene::new(definition.unwrap(), 1)
    };
    explore(scene).run().unwrap();
}

#[test]
pub(crate) fn signals_are_taken_once() {
    let scene = async |world: World| {
        let definition = Definition::build("paid-order", 1, |saga, n| {
            let reserved = saga.compensatable("reserve", honest(&world, "goods reserved"), n).retry(tries(3));
            let paid = saga.wait_for::<i64, _>("paid", "paid", reserved.map(|_| Some(HOUR)));
            let check = step_fn(async |_, paid: Option<i64>| paid.ok_or_else(|| StepError::rejected("not paid")));
            let checked = saga.query("check", check, paid);
            saga.returns(checked)
        });
        Scene::new(definition.unwrap(), 1).signal("paid", &25_000)
    };
    explore(scene).run().unwrap();
}

#[test]
pub(crate) fn a_step_that_kills_its_workers_is_set_aside() {
    let scene = async |world: World| {
        let definition = Definition::build("deadly", 1, |saga, n| {
            let done = saga.compensatable("do", honest(&world, "done"), n).retry(tries(100));
            saga.returns(done)
        });
        let limits = |engine: saga_core::engine::EngineBuilder| {
            let mut limits = Limits::default();
            limits.crashes_max = 3;
            engine.limits(limits)
        };
        Scene::new(definition.unwrap(), 1).engine(limits)
    };
    let told = async |end: &Ending<'_, (), i64>| match end.letters {
        [] => Err("nobody was told".to_owned()),
        _ => Ok(()),
    };
    let crashes: Vec<String> = (1..=4).map(|nth| format!("call:done#{nth}=crash-before")).collect();
    explore(scene).check(told).follow(&format!("v1:{}", crashes.join(",")).parse().unwrap()).unwrap();
}

/// Takes a second to undo.
struct Slow(Honest);

#[async_trait]
impl Step for Slow {
    type Input = i64;
    type Output = i64;

    async fn run(&self, cx: &StepContext, n: i64) -> Result<i64, StepError> {
        self.0.run(cx, n).await
    }
}

#[async_trait]
impl Compensation for Slow {
    async fn compensate(&self, cx: &StepContext, n: i64, outcome: Outcome<i64>) -> Result<(), StepError> {
        tokio::time::sleep(Duration::from_secs(1)).await;
        self.0.compensate(cx, n, outcome).await
    }
}

#[test]
pub(crate) fn compensations_know_no_deadline() {
    let scene = async |world: World| {
        let definition = Definition::build("hurried", 1, |saga, n| {
            saga.deadline(HOUR);
            let held = saga.compensatable("hold", Slow(honest(&world, "money held")), n).compensation_retry(tries(3));
            saga.sleep("overnight", held.map(|_| 8 * HOUR));
            saga.returns(held)
        });
        Scene::new(definition.unwrap(), 1)
    };
    explore(scene).replay("v1:").unwrap();
}

/// Locks, and does what fails for good.
fn locked(world: &World) -> Definition<i64, i64> {
    let definition = Definition::build("locked", 1, |saga, n| {
        let _ = saga.lock("lock", n.map(|n: i64| vec![format!("cart-{n}")]), HOUR);
        let looked = saga.query("look", step_fn(async |_, n: i64| Ok(n)), n);
        let sent = saga.retryable("send", honest(world, "order sent"), looked).retry(tries(1));
        saga.returns(sent)
    });
    definition.unwrap()
}

async fn assert_locked(test: &TestEngine<i64, i64>) {
    let locks = test.engine().operator().locks(10).await.unwrap();
    assert!(!locks.is_empty(), "the lock is gone while its saga goes on");
}

#[tokio::test(start_paused = true)]
pub(crate) async fn locks_are_kept_for_a_human() {
    let world = World::new();
    let mut test = TestEngine::within(&world, &locked(&world), |engine| engine).await;
    test.go_wrong("run:send#1=refused");
    test.start("k", 1).await;
    test.run_until(Stop::needs_attention()).await;
    assert_locked(&test).await;
}

#[tokio::test(start_paused = true)]
pub(crate) async fn locks_outlive_workers() {
    let world = World::new();
    let mut test = TestEngine::within(&world, &locked(&world), |engine| engine).await;
    test.start("k", 1).await;
    test.run_until(Stop::done("lock")).await;
    test.crash().await;
    test.run_until(Stop::done("look")).await;
    assert_locked(&test).await;
    assert!(matches!(test.outcome("k").await, SagaOutcome::Completed(_)));
}

/// A participant that remembers a key for an hour or so.
struct Forgetful(Honest);

#[async_trait]
impl Step for Forgetful {
    type Input = i64;
    type Output = i64;

    async fn run(&self, cx: &StepContext, n: i64) -> Result<i64, StepError> {
        let hour = cx.now().as_micros() / 3_600_000_000;
        self.0.world.apply(format!("{} {hour}", cx.key()), &self.0.what);
        Ok(n)
    }

    async fn probe(&self, _: &StepContext, n: i64) -> Result<Probe<i64>, StepError> {
        let stands = self.0.world.standing().iter().any(|effect| effect.what == self.0.what);
        Ok(if stands { Probe::Applied(n) } else { Probe::NotApplied })
    }
}

#[test]
pub(crate) fn a_key_is_not_used_past_its_time() {
    let scene = async |world: World| {
        let definition = Definition::build("slow", 1, |saga, n| {
            let step = Forgetful(honest(&world, "money captured"));
            let retry = RetryPolicy::fixed(2 * HOUR).cap(2 * HOUR).attempts(3);
            let captured = saga.pivot("capture", step, n).retry(retry).key_horizon(HOUR);
            saga.returns(captured)
        });
        Scene::new(definition.unwrap(), 1)
    };
    explore(scene).replay("v1:run:capture#1=answer-lost").unwrap();
}
