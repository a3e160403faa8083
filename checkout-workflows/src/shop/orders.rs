//! Orders and the events that go with them.

use serde::{Deserialize, Serialize};
use sqlx::{AnyConnection, Row as _};

use super::payments::learn;
use super::{Checkout, Shop, ShopError, begin_operation, corrupt, undo_operation};
use crate::money::{Currency, Money};
use crate::payment::PaymentState;
use crate::pricing::Totals;

/// Where an order stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OrderStatus {
    /// Created, not paid.
    #[serde(rename = "PENDING_PAYMENT")]
    PendingPayment,
    /// Paid, or to be paid at the door.
    #[serde(rename = "CONFIRMED")]
    Confirmed,
    /// Taken back.
    #[serde(rename = "cancelled")]
    Cancelled,
}

impl OrderStatus {
    /// As stored.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PendingPayment => "PENDING_PAYMENT",
            Self::Confirmed => "CONFIRMED",
            Self::Cancelled => "cancelled",
        }
    }

    fn from_stored(text: &str) -> Result<Self, ShopError> {
        let all = [Self::PendingPayment, Self::Confirmed, Self::Cancelled];
        all.into_iter().find(|status| status.as_str() == text).ok_or_else(|| corrupt(format!("order status {text:?}")))
    }
}

/// An order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Order {
    /// Its id.
    pub order_id: String,
    /// The cart that it was made of.
    pub cart_session_id: String,
    /// Where it stands.
    pub status: OrderStatus,
    /// Where its payment stands: `authorized`, `captured`, `pending`, `PAYMENT_FAILED`.
    pub payment_status: String,
    /// What it costs.
    pub total: Money,
}

impl Order {
    fn must_be(&self, wanted: OrderStatus) -> Result<(), ShopError> {
        if self.status == wanted {
            return Ok(());
        }
        let (order_id, status, wanted) = (self.order_id.clone(), self.status.as_str(), wanted.as_str());
        Err(ShopError::OrderState { order_id, status, wanted })
    }
}

/// An order to be created.
#[derive(Clone, Debug)]
pub struct NewOrder {
    /// What is ordered.
    pub checkout: Checkout,
    /// What it costs.
    pub totals: Totals,
    /// Where its payment stands.
    pub payment_status: &'static str,
    /// The gateway's id of the hold, when there is one.
    pub authorization_id: Option<String>,
}

/// Money that was taken for an order.
#[derive(Clone, Debug)]
pub struct Paid {
    /// The gateway's id of the hold.
    pub authorization_id: String,
    /// The gateway's id of the capture.
    pub transaction_id: String,
}

impl Shop {
    /// Creates the order and its `OrderStatusChanged` event in one transaction. Again under the same
    /// key, the order is returned; under a key that was cancelled, it is refused.
    ///
    /// # Errors
    /// [`ShopError::Ordered`] when the cart has another order, [`ShopError::Undone`], or the database's.
    pub async fn create_order(&self, key: &str, new: NewOrder) -> Result<Order, ShopError> {
        let key = key.to_owned();
        self.transaction(|tx| {
            Box::pin(async move {
                if begin_operation(tx, &key).await? {
                    insert(tx, &key, &new).await?;
                }
                by_key(tx, &key).await?.ok_or_else(|| corrupt(format!("no order under {key}")))
            })
        })
        .await
    }

    /// Cancels the order that was created under the key, and refuses one that comes later. An order
    /// that was never created counts as cancelled.
    ///
    /// # Errors
    /// [`ShopError::OrderState`] when it is confirmed: that takes a refund, and a human; or the database's.
    pub async fn cancel_order(&self, key: &str) -> Result<(), ShopError> {
        let key = key.to_owned();
        self.transaction(|tx| {
            Box::pin(async move {
                undo_operation(tx, &key).await?;
                let cancelled = sqlx::query(
                    "UPDATE orders SET status = 'cancelled', payment_status = 'PAYMENT_FAILED' \
                     WHERE operation_key = $1 AND status = 'PENDING_PAYMENT'",
                )
                .bind(key.clone())
                .execute(&mut *tx)
                .await?;
                match by_key(tx, &key).await? {
                    Some(order) if cancelled.rows_affected() == 1 => announce(tx, &order).await,
                    Some(order) => order.must_be(OrderStatus::Cancelled),
                    None => Ok(()),
                }
            })
        })
        .await
    }

    /// The order is confirmed. Again, it changes nothing.
    ///
    /// # Errors
    /// [`ShopError::OrderState`] when it is cancelled; or when the database fails, or the order is gone.
    pub async fn confirm_order(&self, order_id: &str, paid: Option<Paid>) -> Result<Order, ShopError> {
        let order_id = order_id.to_owned();
        self.transaction(|tx| {
            Box::pin(async move {
                let confirmed = sqlx::query(
                    "UPDATE orders SET status = 'CONFIRMED', transaction_id = $1, \
                     payment_status = CASE WHEN $2 = 1 THEN 'captured' ELSE payment_status END \
                     WHERE order_id = $3 AND status = 'PENDING_PAYMENT'",
                )
                .bind(paid.as_ref().map(|paid| paid.transaction_id.clone()))
                .bind(i64::from(paid.is_some()))
                .bind(order_id.clone())
                .execute(&mut *tx)
                .await?;
                let order = by_id(tx, &order_id).await?.ok_or_else(|| corrupt(format!("no order {order_id}")))?;
                if confirmed.rows_affected() == 1 {
                    announce(tx, &order).await?;
                }
                if let Some(paid) = paid {
                    let minor = order.total.minor();
                    let taken = PaymentState { captured: minor, ..PaymentState::authorized(minor) };
                    learn(tx, &paid.authorization_id, taken).await?;
                }
                order.must_be(OrderStatus::Confirmed)?;
                Ok(order)
            })
        })
        .await
    }

    /// Records in the order's metadata that its reservations were not confirmed. The order stands.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn record_reservation_errors(&self, order_id: &str, errors: Vec<String>) -> Result<(), ShopError> {
        let metadata = serde_json::json!({ "reservation_confirmation_errors": errors }).to_string();
        sqlx::query("UPDATE orders SET metadata = $1 WHERE order_id = $2")
            .bind(metadata)
            .bind(order_id.to_owned())
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// The orders of a cart.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn orders_of_cart(&self, cart_id: &str) -> Result<Vec<Order>, ShopError> {
        let rows = sqlx::query("SELECT * FROM orders WHERE cart_session_id = $1 ORDER BY order_id")
            .bind(cart_id.to_owned())
            .fetch_all(&self.pool)
            .await?;
        rows.iter().map(order).collect()
    }

    /// An order's metadata, JSON.
    ///
    /// # Errors
    /// When the database fails, or the order is gone.
    pub async fn order_metadata(&self, order_id: &str) -> Result<String, ShopError> {
        let row = sqlx::query("SELECT metadata FROM orders WHERE order_id = $1").bind(order_id.to_owned());
        Ok(row.fetch_one(&self.pool).await?.try_get("metadata")?)
    }
}

async fn insert(tx: &mut AnyConnection, key: &str, new: &NewOrder) -> Result<(), ShopError> {
    let NewOrder { checkout, totals, payment_status, authorization_id } = new;
    let order_id = format!("ORD-{key}");
    let inserted = sqlx::query(
        "INSERT INTO orders (order_id, operation_key, cart_session_id, customer_id, status, payment_status, currency, \
         subtotal, total_discounts, shipping, tax, total, metadata) \
         VALUES ($1, $2, $3, $4, 'PENDING_PAYMENT', $5, $6, $7, $8, $9, $10, $11, '{}') ON CONFLICT DO NOTHING",
    )
    .bind(order_id.clone())
    .bind(key.to_owned())
    .bind(checkout.cart_id.clone())
    .bind(checkout.customer_id.clone())
    .bind(*payment_status)
    .bind(checkout.currency.code())
    .bind(totals.subtotal.minor())
    .bind(totals.total_discounts.minor())
    .bind(totals.shipping.minor())
    .bind(totals.tax.minor())
    .bind(totals.total.minor())
    .execute(&mut *tx)
    .await?;
    if inserted.rows_affected() == 0 {
        let taken = "SELECT * FROM orders WHERE cart_session_id = $1 AND status <> 'cancelled'";
        let row = sqlx::query(taken).bind(checkout.cart_id.clone()).fetch_one(tx).await?;
        return Err(ShopError::Ordered { cart_id: checkout.cart_id.clone(), order_id: order(&row)?.order_id });
    }
    for (line, item) in (0_i64..).zip(&checkout.items) {
        sqlx::query("INSERT INTO order_items VALUES ($1, $2, $3, $4, $5, $6, $7, $8)")
            .bind(order_id.clone())
            .bind(line)
            .bind(item.product_id.clone())
            .bind(item.sku.clone())
            .bind(item.name.clone())
            .bind(item.quantity)
            .bind(item.unit_price.minor())
            .bind(item.warehouse_id.clone())
            .execute(&mut *tx)
            .await?;
    }
    if let Some(id) = authorization_id {
        learn(tx, id, PaymentState::authorized(totals.total.minor())).await?;
    }
    let created = by_key(tx, key).await?.ok_or_else(|| corrupt(format!("no order under {key}")))?;
    announce(tx, &created).await
}

/// Puts the event into the outbox, once for each status that the order takes.
async fn announce(tx: &mut AnyConnection, order: &Order) -> Result<(), ShopError> {
    let event_id = format!("{}/{}", order.order_id, order.status.as_str());
    let body = serde_json::json!({
        "eventId": event_id,
        "eventType": "OrderStatusChanged",
        "source": "order-service",
        "data": order,
    });
    sqlx::query("INSERT INTO outbox VALUES ($1, 'OrderStatusChanged', $2, $3) ON CONFLICT DO NOTHING")
        .bind(event_id)
        .bind(order.order_id.clone())
        .bind(body.to_string())
        .execute(tx)
        .await?;
    Ok(())
}

async fn by_key(tx: &mut AnyConnection, key: &str) -> Result<Option<Order>, ShopError> {
    let query = sqlx::query("SELECT * FROM orders WHERE operation_key = $1").bind(key.to_owned());
    query.fetch_optional(tx).await?.as_ref().map(order).transpose()
}

async fn by_id(tx: &mut AnyConnection, order_id: &str) -> Result<Option<Order>, ShopError> {
    let query = sqlx::query("SELECT * FROM orders WHERE order_id = $1").bind(order_id.to_owned());
    query.fetch_optional(tx).await?.as_ref().map(order).transpose()
}

fn order(row: &sqlx::any::AnyRow) -> Result<Order, ShopError> {
    let currency = Currency::from_code(&row.try_get::<String, _>("currency")?).map_err(corrupt)?;
    Ok(Order {
        order_id: row.try_get("order_id")?,
        cart_session_id: row.try_get("cart_session_id")?,
        status: OrderStatus::from_stored(&row.try_get::<String, _>("status")?)?,
        payment_status: row.try_get("payment_status")?,
        total: Money::new(row.try_get("total")?, currency),
    })
}
