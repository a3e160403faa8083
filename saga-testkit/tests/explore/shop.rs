//! A small shop: three steps with effects, a pivot between them, and something after it.

use std::time::Duration;

use saga_core::{
    Compensation, Definition, Outcome, Probe, RetryPolicy, Step, StepContext, StepError, async_trait,
};
use saga_testkit::{Applied, Scene, World};

/// A step whose participant keeps its word.
#[derive(Clone)]
pub(crate) struct Honest {
    pub(crate) world: World,
    pub(crate) what: &'static str,
}

#[async_trait]
impl Step for Honest {
    type Input = i64;
    type Output = i64;

    async fn run(&self, cx: &StepContext, n: i64) -> Result<i64, StepError> {
        let (world, key, what) = (self.world.clone(), cx.key(), self.what);
        match self.world.call(what, move || world.apply(key, what)).await? {
            Applied::Now | Applied::Before => Ok(n + 1),
            Applied::Closed => Err(StepError::rejected("undone before it arrived")),
        }
    }

    async fn probe(&self, cx: &StepContext, n: i64) -> Result<Probe<i64>, StepError> {
        match self.world.find(cx.key()) {
            Some(effect) if effect.stands => Ok(Probe::Applied(n + 1)),
            Some(_) => Ok(Probe::NotApplied),
            None => {
                // It closes the key: what comes late is refused.
                self.world.undo(cx.key());
                Ok(Probe::NotApplied)
            }
        }
    }
}

#[async_trait]
impl Compensation for Honest {
    async fn compensate(&self, cx: &StepContext, _n: i64, _outcome: Outcome<i64>) -> Result<(), StepError> {
        let (world, key) = (self.world.clone(), cx.step_key());
        self.world.call(&format!("undo {}", self.what), move || world.undo(key)).await?;
        Ok(())
    }
}

pub(crate) fn quick() -> RetryPolicy {
    RetryPolicy::fixed(Duration::from_millis(100)).attempts(4)
}

pub(crate) fn honest(world: &World, what: &'static str) -> Honest {
    Honest { world: world.clone(), what }
}

/// Reserve, hold, capture, send.
pub(crate) fn order(world: &World) -> Definition<i64, i64> {
    Definition::build("order", 1, |saga, n| {
        let reserved = saga.compensatable("reserve", honest(world, "goods reserved"), n).retry(quick());
        let held = saga.compensatable("hold", honest(world, "money held"), reserved).retry(quick());
        let captured = saga.pivot("capture", honest(world, "money captured"), held).retry(quick());
        let sent = saga.retryable("send", honest(world, "goods sent"), captured).retry(quick());
        saga.returns(sent)
    })
    .unwrap()
}

pub(crate) async fn scene(world: World) -> Scene<(), i64, i64> {
    Scene::new(order(&world), 1)
}
