//! The checkout as it was before: its two gravest defects, each found, each told as a story.

use std::time::Duration;

use checkout_workflows::payment::KeyRules;
use saga_core::{Definition, Outcome, RetryPolicy, StepContext, StepError, step_fn};
use saga_testkit::{CallFailed, Invariant, Scene, Violation, World, explore};

const CENTS: i64 = 47_293;

/// The gateway and the shop, as a handler calls them.
#[derive(Clone)]
struct Outside(World);

impl Outside {
    async fn does(&self, what: &'static str, key: String) -> Result<(), CallFailed> {
        let world = self.0.clone();
        self.0.call(what, move || world.apply(key, what)).await.map(drop)
    }

    async fn undoes(&self, call: &str, key: String) -> Result<(), CallFailed> {
        let world = self.0.clone();
        self.0.call(call, move || world.undo(key)).await.map(drop)
    }
}

fn retry() -> RetryPolicy {
    RetryPolicy::fixed(Duration::from_millis(200)).attempts(3)
}

/// Authorize, create the order, capture, in one handler: no checkpoint in between, and no key that outlives it.
fn one_handler(world: &World) -> Definition<i64, i64> {
    let outside = Outside(world.clone());
    Definition::build("confirm-in-one-go", 1, |saga, cents| {
        let confirm = step_fn(move |cx: StepContext, cents: i64| {
            let outside = outside.clone();
            async move {
                // What a handler has at hand: a key that is made up on the spot.
                let key = |what: &str| format!("{what}-{}-{}", cx.saga_id(), cx.attempt());
                outside.does("money held", key("hold")).await?;
                outside.does("order created", key("order")).await?;
                outside.does("money captured", key("capture")).await?;
                Ok::<_, StepError>(cents)
            }
        });
        let confirmed = saga.pivot("confirm", confirm, cents).retry(retry());
        saga.returns(confirmed)
    })
    .unwrap()
}

/// A step for each, and a compensation whose error is ignored: `_ = rollback(...)`.
fn ignored_roll_back(world: &World) -> Definition<i64, i64> {
    let (hold, void, capture) = (Outside(world.clone()), Outside(world.clone()), Outside(world.clone()));
    Definition::build("confirm-and-hope", 1, |saga, cents| {
        let hold = step_fn(move |cx: StepContext, cents: i64| {
            let outside = hold.clone();
            async move {
                outside.does("money held", cx.key().to_string()).await?;
                Ok::<_, StepError>(cents)
            }
        });
        let hold = hold.compensate(move |cx: StepContext, _cents, _outcome: Outcome<i64>| {
            let outside = void.clone();
            async move {
                let _ = outside.undoes("void", cx.step_key().to_string()).await;
                Ok(())
            }
        });
        let held = saga.compensatable("authorize", hold, cents).retry(retry());
        let capture = step_fn(move |cx: StepContext, cents: i64| {
            let outside = capture.clone();
            async move {
                outside.does("money captured", cx.key().to_string()).await?;
                Ok::<_, StepError>(cents)
            }
        });
        let captured = saga.pivot("capture", capture, held).retry(retry());
        saga.returns(captured)
    })
    .unwrap()
}

fn found(definition: fn(&World) -> Definition<i64, i64>) -> Violation {
    let found = explore(async |world: World| Scene::new(definition(&world), CENTS)).run().unwrap_err();
    found.violation().unwrap().clone()
}

#[test]
fn a_crash_between_order_and_capture_charges_twice_without_a_checkpoint_in_between() {
    let scene = async |world: World| Scene::new(one_handler(&world), CENTS);
    let crash = explore(scene).replay("v1:call:money%20;captured#1=crash-before").unwrap_err();
    let violation = crash.violation().unwrap();
    assert_eq!(violation.invariant(), Invariant::AllOrNothing);
    assert_eq!(violation.found(), "confirm happened 2 times: money held, under 2 keys", "{violation}");
    assert_eq!(found(one_handler).invariant(), Invariant::AllOrNothing, "it is found by itself as well");
}

#[test]
fn an_ignored_error_of_the_roll_back_leaves_the_customers_money_held() {
    let violation = found(ignored_roll_back);
    assert_eq!(violation.found(), "the saga is rolled back, and this still stands: money held");
    assert!(violation.seed().contains("call:void#1="), "{violation}");
}

/// The same two points in our own flow: they pass, and so does everything else.
#[test]
fn neither_of_the_two_defects_is_in_the_flow_that_runs() {
    let template = super::Template::new();
    let rules = KeyRules::default();
    let ours =
        explore(async |world: World| super::scene(&template, rules, world).await).check(super::balanced).real_io();
    for seed in [
        "v1:call:capture#1=crash-before",
        "v1:call:capture#1=crash-after",
        "v1:call:capture#1=refused,call:void#1=refused",
        "v1:call:capture#1=refused,call:void#1=request-lost",
        "v1:call:capture#1=refused,call:void#1=answer-lost",
    ] {
        ours.replay(seed).unwrap();
    }
}
