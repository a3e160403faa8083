//! Orders and the events that go with them.

use serde::{Deserialize, Serialize};
use sqlx::{AnyConnection, Row as _};

use super::{Checkout, Shop, ShopError, begin_operation, corrupt, undo_operation};
use crate::money::{Currency, Money};
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

/// An order to be created.
#[derive(Clone, Debug)]
pub struct NewOrder {
    /// What is ordered.
    pub checkout: Checkout,
    /// What it costs.
    pub totals: Totals,
    /// Where its payment stands.
    pub payment_status: &'static str,
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
    /// When the database fails.
    pub async fn cancel_order(&self, key: &str) -> Result<(), ShopError> {
        let key = key.to_owned();
        self.transaction(|tx| {
            Box::pin(async move {
                undo_operation(tx, &key).await?;
                let cancelled = sqlx::query(
                    "UPDATE orders SET status = 'cancelled', payment_status = 'PAYMENT_FAILED' \
                     WHERE operation_key = $1 AND status <> 'cancelled'",
                )
                .bind(key.clone())
                .execute(&mut *tx)
                .await?;
                match by_key(tx, &key).await? {
                    Some(order) if cancelled.rows_affected() == 1 => announce(tx, &order).await,
                    Some(_) | None => Ok(()),
                }
            })
        })
        .await
    }

    /// The order is confirmed. Again, it changes nothing.
    ///
    /// # Errors
    /// When the database fails, or the order is gone.
    pub async fn confirm_order(&self, order_id: &str, transaction_id: Option<String>) -> Result<Order, ShopError> {
        let order_id = order_id.to_owned();
        self.transaction(|tx| {
            Box::pin(async move {
                let paid = transaction_id.is_some();
                let confirmed = sqlx::query(
                    "UPDATE orders SET status = 'CONFIRMED', transaction_id = $1, \
                     payment_status = CASE WHEN $2 = 1 THEN 'captured' ELSE payment_status END \
                     WHERE order_id = $3 AND status = 'PENDING_PAYMENT'",
                )
                .bind(transaction_id)
                .bind(i64::from(paid))
                .bind(order_id.clone())
                .execute(&mut *tx)
                .await?;
                let order = by_id(tx, &order_id).await?.ok_or_else(|| corrupt(format!("no order {order_id}")))?;
                if confirmed.rows_affected() == 1 {
                    announce(tx, &order).await?;
                }
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
    let NewOrder { checkout, totals, payment_status } = new;
    let order_id = format!("ORD-{key}");
    let inserted = sqlx::query(
        "INSERT INTO orders (order_id, operation_key, cart_session_id, customer_id, status, payment_status, currency, \
         subtotal, total_discounts, shipping, tax, total, metadata) \
         VALUES ($1, $2, $3, $4, 'PENDING_PAYMENT', $5, $6, $7, $8, $9, $10, $11, '{}') ON CONFLICT DO NOTHING",
    )
    .bind(order_id)
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
