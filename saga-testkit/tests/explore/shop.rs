//! A small shop: three steps with effects, a pivot between them, and something after it.

use std::time::Duration;

use saga_core::{Definition, RetryPolicy};
use saga_testkit::random::Honest;
use saga_testkit::{Scene, World};

pub(crate) fn quick() -> RetryPolicy {
    RetryPolicy::fixed(Duration::from_millis(100)).attempts(4)
}

pub(crate) fn honest(world: &World, what: &'static str) -> Honest {
    Honest::new(world, what)
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
