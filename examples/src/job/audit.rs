//! The audit: the gateway's ledger against the orders against the stock, all read from the outside.

use std::collections::{BTreeMap, BTreeSet};

use checkout_workflows::shop::{Shop, StockLevel};
use saga_core::journal::DeadLetter;
use saga_core::{IdempotencyKey, Op, StepName};
use sqlx::Row as _;

use super::JobError;
use crate::gateway::AuthorizationRow;

/// An order, as it stands in the shop's table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderRow {
    /// Its id.
    pub order_id: String,
    /// The cart that it was made of.
    pub cart_id: String,
    /// Where it stands.
    pub status: String,
    /// Where its payment stands.
    pub payment_status: String,
    /// What it costs.
    pub total: i64,
}

/// A reservation, as it stands in the shop's table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReservationRow {
    /// The key of the operation that made it.
    pub key: String,
    /// What is held.
    pub sku: String,
    /// Where.
    pub warehouse_id: String,
    /// How many.
    pub quantity: i64,
    /// `held`, `released` or `confirmed`.
    pub status: String,
}

/// All that the audit looks at.
#[derive(Clone, Debug, Default)]
pub struct World {
    /// The gateway's ledger.
    pub authorizations: Vec<AuthorizationRow>,
    /// The shop's orders.
    pub orders: Vec<OrderRow>,
    /// The shop's shelves.
    pub stock: Vec<StockLevel>,
    /// What is held in stock.
    pub reservations: Vec<ReservationRow>,
    /// Orders that have an `OrderStatusChanged` event with their present status.
    pub announced: BTreeSet<String>,
    /// What the shop knows of its payments, by the gateway's id: captured and refunded.
    pub payments: BTreeMap<String, (i64, i64)>,
    /// Loyalty points: given to customers, still theirs, and used.
    pub points: (i64, i64, i64),
    /// Idempotency keys whose effects wait for a human, and are excused.
    pub excused: BTreeSet<String>,
}

/// The keys of what a dead-lettered saga may have left standing: its hold and its reservations.
#[must_use]
pub fn excused(letters: &[DeadLetter]) -> BTreeSet<String> {
    let steps = ["authorize", "reserve-stock"];
    let key = |letter: &DeadLetter, step: &str| {
        IdempotencyKey::of(letter.saga, &StepName::from(step), Op::Run, 0).to_string()
    };
    letters.iter().flat_map(|letter| steps.map(|step| key(letter, step))).collect()
}

/// Reads the shop's side.
///
/// # Errors
/// When the database fails.
pub async fn read_shop(shop: &Shop, world: &mut World) -> Result<(), JobError> {
    world.stock = shop.stock().await?;
    let orders = sqlx::query("SELECT order_id, cart_session_id, status, payment_status, total FROM orders");
    for row in orders.fetch_all(shop.pool()).await? {
        world.orders.push(OrderRow {
            order_id: row.try_get("order_id")?,
            cart_id: row.try_get("cart_session_id")?,
            status: row.try_get("status")?,
            payment_status: row.try_get("payment_status")?,
            total: row.try_get("total")?,
        });
    }
    let reservations = sqlx::query("SELECT operation_key, sku, warehouse_id, quantity, status FROM reservations");
    for row in reservations.fetch_all(shop.pool()).await? {
        world.reservations.push(ReservationRow {
            key: row.try_get("operation_key")?,
            sku: row.try_get("sku")?,
            warehouse_id: row.try_get("warehouse_id")?,
            quantity: row.try_get("quantity")?,
            status: row.try_get("status")?,
        });
    }
    let announced = "SELECT o.order_id FROM orders o JOIN outbox e ON e.event_id = o.order_id || '/' || o.status";
    for row in sqlx::query(announced).fetch_all(shop.pool()).await? {
        world.announced.insert(row.try_get("order_id")?);
    }
    let payments = sqlx::query("SELECT authorization_id, captured, refunded FROM payments");
    for row in payments.fetch_all(shop.pool()).await? {
        let known = (row.try_get("captured")?, row.try_get("refunded")?);
        world.payments.insert(row.try_get("authorization_id")?, known);
    }
    let sum = "SELECT CAST((SELECT coalesce(sum(points), 0) FROM loyalty_accounts) AS BIGINT) AS left_over, \
               CAST((SELECT coalesce(sum(points), 0) FROM point_redemptions WHERE status = 'used') AS BIGINT) AS used";
    let row = sqlx::query(sum).fetch_one(shop.pool()).await?;
    (world.points.1, world.points.2) = (row.try_get("left_over")?, row.try_get("used")?);
    Ok(())
}

/// Everything that is wrong with the world; nothing, when all is well.
#[must_use]
pub fn audit(world: &World) -> Vec<String> {
    let mut findings = Vec::new();
    payments(world, &mut findings);
    orders(world, &mut findings);
    stock(world, &mut findings);
    points(world, &mut findings);
    findings
}

/// Captured money equals confirmed orders, to the cent; nothing is held that should not be.
fn payments(world: &World, findings: &mut Vec<String>) {
    let mut by_cart: BTreeMap<&str, Vec<&AuthorizationRow>> = BTreeMap::new();
    for row in &world.authorizations {
        by_cart.entry(&row.reference).or_default().push(row);
        if row.status == "authorized" && !world.excused.contains(&row.key) {
            findings.push(format!("{} is still held: {} of cart {}", row.id, row.amount, row.reference));
        }
        let known = world.payments.get(&row.id).copied().unwrap_or((row.captured, row.refunded));
        if known != (row.captured, row.refunded) && !world.excused.contains(&row.key) {
            findings.push(format!(
                "{}: the shop knows {known:?}, the gateway {:?}",
                row.id,
                (row.captured, row.refunded)
            ));
        }
    }
    let confirmed: BTreeMap<&str, &OrderRow> = world
        .orders
        .iter()
        .filter(|order| order.status == "CONFIRMED")
        .map(|order| (order.cart_id.as_str(), order))
        .collect();
    for (cart, rows) in &by_cart {
        let net: i64 = rows.iter().map(|row| row.captured - row.refunded).sum();
        let captures = rows.iter().filter(|row| row.captured > row.refunded).count();
        let due = confirmed.get(cart).map_or(0, |order| order.total);
        if net != due {
            findings.push(format!("cart {cart}: {net} was taken and {due} is confirmed"));
        }
        if captures > 1 {
            findings.push(format!("cart {cart} was paid {captures} times"));
        }
    }
    for (cart, order) in confirmed {
        let free = order.total == 0 || order.payment_status == "pending";
        if !free && !by_cart.contains_key(cart) {
            findings.push(format!("{} is confirmed and was never paid", order.order_id));
        }
    }
}

/// No cart has two orders; none is left in between; each is announced.
fn orders(world: &World, findings: &mut Vec<String>) {
    let mut seen: BTreeMap<&str, &str> = BTreeMap::new();
    for order in &world.orders {
        match order.status.as_str() {
            "CONFIRMED" => {
                if let Some(other) = seen.insert(&order.cart_id, &order.order_id) {
                    findings.push(format!("cart {} has two orders: {other} and {}", order.cart_id, order.order_id));
                }
            }
            "cancelled" => {}
            status => findings.push(format!("{} is left in status {status}", order.order_id)),
        }
        if !world.announced.contains(&order.order_id) {
            findings.push(format!("{} has no event for its status {}", order.order_id, order.status));
        }
    }
}

/// The shelves add up, and nothing is held for checkouts that are over.
fn stock(world: &World, findings: &mut Vec<String>) {
    for level in &world.stock {
        let place = format!("{} in {}", level.sku, level.warehouse_id);
        if level.free + level.reserved + level.sold != level.initial {
            findings.push(format!(
                "{place}: {} + {} + {} is not {}",
                level.free, level.reserved, level.sold, level.initial
            ));
        }
        let sum = |status: &str| -> i64 {
            let here = |row: &&ReservationRow| {
                row.status == status && row.sku == level.sku && row.warehouse_id == level.warehouse_id
            };
            world.reservations.iter().filter(here).map(|row| row.quantity).sum()
        };
        if sum("held") != level.reserved || sum("confirmed") != level.sold {
            findings.push(format!("{place}: the reservations do not add up to what is reserved and sold"));
        }
    }
    for row in &world.reservations {
        if row.status == "held" && !world.excused.contains(&row.key) {
            findings.push(format!("{} of {} are still held under {}", row.quantity, row.sku, row.key));
        }
    }
}

/// No point is lost or made.
fn points(world: &World, findings: &mut Vec<String>) {
    let (given, left, used) = world.points;
    if given != left + used {
        findings.push(format!("{given} points were given, {left} are left and {used} used"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One checkout that went well, and one that was undone.
    fn good() -> World {
        let row = |key: &str, cart: &str, status: &str, captured| AuthorizationRow {
            id: format!("auth_{key}"),
            key: key.to_owned(),
            reference: cart.to_owned(),
            status: status.to_owned(),
            amount: 500,
            captured,
            refunded: 0,
            currency: "USD".to_owned(),
            transaction_id: (captured > 0).then(|| format!("txn_{key}")),
            capture_before: i64::MAX,
        };
        let order = |id: &str, cart: &str, status: &str| OrderRow {
            order_id: id.to_owned(),
            cart_id: cart.to_owned(),
            status: status.to_owned(),
            payment_status: "captured".to_owned(),
            total: 500,
        };
        let reservation = |key: &str, status: &str| ReservationRow {
            key: key.to_owned(),
            sku: "S".to_owned(),
            warehouse_id: "W".to_owned(),
            quantity: 2,
            status: status.to_owned(),
        };
        let level =
            StockLevel { sku: "S".into(), warehouse_id: "W".into(), initial: 10, free: 8, reserved: 0, sold: 2 };
        World {
            authorizations: vec![row("a", "c1", "captured", 500), row("b", "c2", "voided", 0)],
            orders: vec![order("o1", "c1", "CONFIRMED"), order("o2", "c2", "cancelled")],
            stock: vec![level],
            reservations: vec![reservation("r1", "confirmed"), reservation("r2", "released")],
            announced: ["o1".to_owned(), "o2".to_owned()].into(),
            payments: [("auth_a".to_owned(), (500, 0))].into(),
            points: (100, 60, 40),
            excused: BTreeSet::new(),
        }
    }

    fn finds(what: &str, spoil: impl FnOnce(&mut World)) {
        let mut world = good();
        spoil(&mut world);
        let findings = audit(&world);
        assert!(findings.iter().any(|finding| finding.contains(what)), "{what}: {findings:?}");
    }

    #[test]
    fn a_good_world_has_no_findings() {
        assert_eq!(audit(&good()), [""; 0]);
    }

    #[test]
    fn every_kind_of_damage_is_found() {
        finds("500 was taken and 0 is confirmed", |world| world.orders[0].status = "cancelled".into());
        finds("499 was taken and 500 is confirmed", |world| world.authorizations[0].captured = 499);
        finds("never paid", |world| drop(world.authorizations.remove(0)));
        finds("0 was taken and 500 is confirmed", |world| world.authorizations[0].refunded = 500);
        finds("still held: 500 of cart c2", |world| world.authorizations[1].status = "authorized".into());
        finds("paid 2 times", |world| {
            let mut again = world.authorizations[0].clone();
            again.id = "again".into();
            world.authorizations.push(again);
        });
        finds("two orders", |world| {
            let mut again = world.orders[0].clone();
            again.order_id = "o3".into();
            world.orders.push(again);
        });
        finds("left in status PENDING_PAYMENT", |world| world.orders[1].status = "PENDING_PAYMENT".into());
        finds("no event", |world| world.announced.clear());
        finds("the shop knows", |world| {
            world.payments.insert("auth_a".into(), (0, 0));
        });
        finds("points were given", |world| world.points.1 = 59);
        finds("is not 10", |world| world.stock[0].free = 7);
        finds("do not add up", |world| (world.stock[0].sold, world.stock[0].free) = (4, 6));
        finds("still held under r2", |world| {
            world.reservations[1].status = "held".into();
            (world.stock[0].reserved, world.stock[0].free) = (2, 6);
        });
    }

    #[test]
    fn what_waits_for_a_human_is_excused() {
        let mut world = good();
        world.authorizations[1].status = "authorized".into();
        world.excused.insert("b".into());
        assert_eq!(audit(&world), [""; 0]);
    }
}
