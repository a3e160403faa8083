//! Stock and reservations. What is in the shelf is free, reserved or sold, and always adds up.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sqlx::{AnyConnection, Row as _};

use super::{CartItem, RESERVATION_TTL, Shop, ShopError, begin_operation, now, undo_operation};

/// How many reservations one round of [`Shop::release_expired`] gives back.
const EXPIRED_MAX: i64 = 100;

/// What is held for a checkout, under the key of the operation that reserved it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Reservation {
    /// The key.
    pub reservation_id: String,
    /// Until when it holds, in microseconds since 1970.
    pub expires_at: i64,
}

/// How much there is of something, somewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StockLevel {
    /// What.
    pub sku: String,
    /// Where.
    pub warehouse_id: String,
    /// At the beginning.
    pub initial: i64,
    /// To be had.
    pub free: i64,
    /// Held for checkouts.
    pub reserved: i64,
    /// Sold.
    pub sold: i64,
}

impl Shop {
    /// Puts something on the shelf.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn insert_stock(&self, sku: &str, warehouse_id: &str, quantity: i64) -> Result<(), ShopError> {
        sqlx::query("INSERT INTO stock VALUES ($1, $2, $3, $3, 0, 0)")
            .bind(sku.to_owned())
            .bind(warehouse_id.to_owned())
            .bind(quantity)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// All that is on the shelves.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn stock(&self) -> Result<Vec<StockLevel>, ShopError> {
        let all = "SELECT sku, warehouse_id, initial, free, reserved, sold FROM stock ORDER BY sku, warehouse_id";
        let level = |row: &sqlx::any::AnyRow| {
            Ok(StockLevel {
                sku: row.try_get("sku")?,
                warehouse_id: row.try_get("warehouse_id")?,
                initial: row.try_get("initial")?,
                free: row.try_get("free")?,
                reserved: row.try_get("reserved")?,
                sold: row.try_get("sold")?,
            })
        };
        sqlx::query(all).fetch_all(&self.pool).await?.iter().map(level).collect()
    }

    /// Reserves everything or nothing, under the operation's key. Again under the same key, the
    /// reservation is extended; under a key that was released, it is refused.
    ///
    /// # Errors
    /// [`ShopError::OutOfStock`], [`ShopError::Undone`], or the database's.
    pub async fn reserve(&self, key: &str, items: &[CartItem]) -> Result<Reservation, ShopError> {
        let mut wanted: BTreeMap<(String, String), i64> = BTreeMap::new();
        for item in items {
            *wanted.entry((item.sku.clone(), item.warehouse_id.clone())).or_default() += item.quantity;
        }
        match self.try_reserve(key, wanted.clone()).await {
            // What others let run out may be had after all.
            Err(ShopError::OutOfStock { .. }) if self.release_expired().await? > 0 => {
                self.try_reserve(key, wanted).await
            }
            answer => answer,
        }
    }

    async fn try_reserve(&self, key: &str, wanted: BTreeMap<(String, String), i64>) -> Result<Reservation, ShopError> {
        let (key, expires_at) = (key.to_owned(), now().saturating_add(ttl()));
        self.transaction(move |tx| {
            Box::pin(async move {
                if begin_operation(tx, &key).await? {
                    // In the order of the shelves, so that two checkouts cannot deadlock.
                    for ((sku, warehouse_id), quantity) in wanted {
                        hold(tx, &key, &sku, &warehouse_id, quantity, expires_at).await?;
                    }
                } else {
                    extend(tx, &key, expires_at).await?;
                }
                Ok(Reservation { reservation_id: key, expires_at })
            })
        })
        .await
    }

    /// Holds what is held under the key for another 15 minutes, and tells that it is still held.
    ///
    /// # Errors
    /// [`ShopError::ReservationLost`] when it ran out and was given back, or the database's.
    pub async fn extend_reservation(&self, key: &str) -> Result<Reservation, ShopError> {
        let (key, expires_at) = (key.to_owned(), now().saturating_add(ttl()));
        self.transaction(move |tx| {
            Box::pin(async move {
                extend(tx, &key, expires_at).await?;
                Ok(Reservation { reservation_id: key, expires_at })
            })
        })
        .await
    }

    /// Tells that everything under the key is still held, and holds it until it is sold or released: to be
    /// called before money is taken. From then on nobody knows for how long it is open whether the money was
    /// taken (the gateway may be down, a human may have to decide), and the goods must not go meanwhile.
    ///
    /// # Errors
    /// [`ShopError::ReservationLost`] when it ran out and was given back, or the database's.
    pub async fn pin_reservation(&self, key: &str) -> Result<(), ShopError> {
        let key = key.to_owned();
        self.transaction(move |tx| Box::pin(async move { extend(tx, &key, i64::MAX).await })).await
    }

    /// Gives back reservations that have run out, and tells how many. To be called now and then; a
    /// reservation that finds too little calls it by itself.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn release_expired(&self) -> Result<u64, ShopError> {
        let before = now();
        let query =
            "SELECT DISTINCT operation_key FROM reservations WHERE status = 'held' AND expires_at <= $1 LIMIT $2";
        let keys: Vec<(String,)> = sqlx::query_as(query).bind(before).bind(EXPIRED_MAX).fetch_all(&self.pool).await?;
        let mut released = 0;
        for (key,) in keys {
            let give_back = "free = free + $1, reserved = reserved - $1";
            let lines = self.transaction(move |tx| Box::pin(settle(tx, key, "expired", give_back, before))).await?;
            released += u64::from(lines > 0);
        }
        Ok(released)
    }

    /// Gives back what is held under the key, and refuses whatever comes under it later.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn release(&self, key: &str) -> Result<(), ShopError> {
        let key = key.to_owned();
        self.transaction(|tx| {
            Box::pin(async move {
                undo_operation(tx, &key).await?;
                settle(tx, key, "released", "free = free + $1, reserved = reserved - $1", i64::MAX).await.map(drop)
            })
        })
        .await
    }

    /// Sells what is held under the key. Again, it changes nothing.
    ///
    /// # Errors
    /// [`ShopError::ReservationLost`] when nothing, or not all of it, is held any more; or the database's.
    pub async fn confirm_reservation(&self, key: &str) -> Result<(), ShopError> {
        let key = key.to_owned();
        self.transaction(|tx| {
            Box::pin(async move {
                let sell = "sold = sold + $1, reserved = reserved - $1";
                settle(tx, key.clone(), "confirmed", sell, i64::MAX).await?;
                let lines: (i64, i64) = sqlx::query_as(
                    "SELECT count(*), count(CASE WHEN status = 'confirmed' THEN 1 END) FROM reservations \
                     WHERE operation_key = $1",
                )
                .bind(key.clone())
                .fetch_one(tx)
                .await?;
                let (all, sold) = lines;
                if all > 0 && all == sold { Ok(()) } else { Err(ShopError::ReservationLost { key }) }
            })
        })
        .await
    }
}

fn ttl() -> i64 {
    i64::try_from(RESERVATION_TTL.as_micros()).unwrap_or(i64::MAX)
}

async fn hold(
    tx: &mut AnyConnection,
    key: &str,
    sku: &str,
    warehouse_id: &str,
    quantity: i64,
    expires_at: i64,
) -> Result<(), ShopError> {
    let taken = sqlx::query(
        "UPDATE stock SET free = free - $1, reserved = reserved + $1 \
         WHERE sku = $2 AND warehouse_id = $3 AND free >= $1",
    )
    .bind(quantity)
    .bind(sku.to_owned())
    .bind(warehouse_id.to_owned())
    .execute(&mut *tx)
    .await?;
    if taken.rows_affected() == 0 {
        return Err(ShopError::OutOfStock { sku: sku.to_owned(), warehouse_id: warehouse_id.to_owned() });
    }
    sqlx::query("INSERT INTO reservations VALUES ($1, $2, $3, $4, 'held', $5)")
        .bind(key.to_owned())
        .bind(sku.to_owned())
        .bind(warehouse_id.to_owned())
        .bind(quantity)
        .bind(expires_at)
        .execute(tx)
        .await?;
    Ok(())
}

/// Extends what is held under the key, if all of it is.
async fn extend(tx: &mut AnyConnection, key: &str, expires_at: i64) -> Result<(), ShopError> {
    let extend = "UPDATE reservations SET expires_at = $1 WHERE operation_key = $2 AND status = 'held'";
    let held = sqlx::query(extend).bind(expires_at).bind(key.to_owned()).execute(&mut *tx).await?.rows_affected();
    let all: (i64,) = sqlx::query_as("SELECT count(*) FROM reservations WHERE operation_key = $1")
        .bind(key.to_owned())
        .fetch_one(tx)
        .await?;
    if held > 0 && i64::try_from(held) == Ok(all.0) {
        return Ok(());
    }
    Err(ShopError::ReservationLost { key: key.to_owned() })
}

/// Moves what is held under the key, and ran out by `expired_by`, to where it belongs, once.
/// Tells how many lines that were.
async fn settle(
    tx: &mut AnyConnection,
    key: String,
    status: &'static str,
    change: &'static str,
    expired_by: i64,
) -> Result<u64, ShopError> {
    let mut moved = 0;
    let held: Vec<(String, String, i64)> = sqlx::query_as(
        "SELECT sku, warehouse_id, quantity FROM reservations WHERE operation_key = $1 AND status = 'held' \
         AND expires_at <= $2 ORDER BY sku, warehouse_id",
    )
    .bind(key.clone())
    .bind(expired_by)
    .fetch_all(&mut *tx)
    .await?;
    for (sku, warehouse_id, quantity) in held {
        let once = "UPDATE reservations SET status = $1 \
                    WHERE operation_key = $2 AND sku = $3 AND warehouse_id = $4 AND status = 'held' AND expires_at <= $5";
        let won = sqlx::query(once)
            .bind(status)
            .bind(key.clone())
            .bind(sku.clone())
            .bind(warehouse_id.clone())
            .bind(expired_by)
            .execute(&mut *tx)
            .await?;
        if won.rows_affected() == 1 {
            // Of constants alone.
            let sql = format!("UPDATE stock SET {change} WHERE sku = $2 AND warehouse_id = $3");
            let shelf = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(quantity).bind(sku).bind(warehouse_id);
            shelf.execute(&mut *tx).await?;
            moved += 1;
        }
    }
    Ok(moved)
}
