//! Everything that can go wrong with a checkout, tried out one by one: the definition as it runs in
//! production, on the shop's real tables, with a gateway that fails on schedule.

#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "../confirm/fake.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared with the tests of the flow, which use more of it")]
mod fake;
mod gateway;
mod naive;
mod shop;

use checkout_workflows::payment::KeyRules;
use checkout_workflows::shop::OrderStatus;
use checkout_workflows::{ConfirmCheckout, Confirmation};
use saga_testkit::{Depth, Ending, Explored, Scene, World, explore};
use shop::{Bench, Template};

const TOTAL: i64 = 47_293;

async fn scene(template: &Template, rules: KeyRules, world: World) -> Scene<Bench, ConfirmCheckout, Confirmation> {
    let bench = template.bench(rules, world).await;
    let request = ConfirmCheckout { checkout_session_id: "s".to_owned() };
    Scene::new(bench.definition.clone(), request).keep(bench)
}

/// Money, goods, points and the order are where they belong.
async fn balanced(end: &Ending<'_, Bench, Confirmation>) -> Result<(), String> {
    let (bench, stock) = (end.kept, end.kept.stock().await);
    let found = (bench.gateway.books.net(), stock.free, stock.reserved + stock.sold, bench.points().await);
    let expected = if end.is_completed() { ((TOTAL, 0), 8, 2, 4_500) } else { ((0, 0), 10, 0, 5_000) };
    if found != expected {
        return Err(format!("(captured, held), free, reserved or sold, points: {found:?}, and not {expected:?}"));
    }
    match bench.order().await {
        Some(OrderStatus::Confirmed) if end.is_completed() => Ok(()),
        None | Some(OrderStatus::Cancelled) if !end.is_completed() => Ok(()),
        order => Err(format!("the order is {order:?}")),
    }
}

fn explored(rules: KeyRules, depth: Depth) -> Explored {
    let template = Template::new();
    let explored = explore(async |world: World| scene(&template, rules, world).await).check(balanced).real_io();
    let explored = explored.effects_elsewhere("in the shop's tables and the gateway's books").depth(depth).run();
    // On standard output as well, where it is counted.
    let explored = explored.inspect_err(|found| println!("{found}")).unwrap();
    println!("explored {explored}");
    explored
}

#[test]
fn a_checkout_ends_well_whatever_goes_wrong_and_whatever_then_goes_wrong_on_the_way_back() {
    let explored = explored(KeyRules::default(), Depth::RollBacks);
    assert!(explored.completed > 100 && explored.rolled_back > 500 && explored.needed_a_human > 50, "{explored}");
}

#[test]
fn a_checkout_ends_well_also_at_a_gateway_that_closes_no_keys() {
    let explored = explored(KeyRules { closes_keys: false, ..KeyRules::default() }, Depth::Singles);
    assert!(explored.completed > 50 && explored.rolled_back > 20, "{explored}");
}
