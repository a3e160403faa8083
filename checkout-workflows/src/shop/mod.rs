//! The shop's own tables: carts and sessions, stock and reservations, orders and their outbox. On
//! SQLite or Postgres, with the same statements.

mod carts;
mod migrate;
mod orders;
mod payments;
mod points;
mod stock;

use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use saga_core::StepError;
use sqlx::any::AnyPoolOptions;
use sqlx::{Any, AnyConnection, AnyPool, Executor as _, Transaction};

pub use carts::{CartItem, Checkout, NewCheckout, PaymentMethod};
pub use orders::{NewOrder, Order, OrderStatus, Paid};
pub use stock::{Reservation, StockLevel};

/// How long a reservation holds: 15 minutes.
pub const RESERVATION_TTL: Duration = Duration::from_secs(15 * 60);

/// Why the shop refuses.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ShopError {
    /// There is no such checkout session, or it has been used up.
    #[error("there is no checkout session {session_id}")]
    NoSession {
        /// The session.
        session_id: String,
    },
    /// The session is too old.
    #[error("the checkout session {session_id} has expired")]
    Expired {
        /// The session.
        session_id: String,
    },
    /// The cart is not where it must be.
    #[error("the cart {cart_id} cannot be checked out: {why}")]
    BadCart {
        /// The cart.
        cart_id: String,
        /// What is wrong with it.
        why: String,
    },
    /// There is too little of something.
    #[error("out of stock: {sku} in {warehouse_id}")]
    OutOfStock {
        /// What.
        sku: String,
        /// Where.
        warehouse_id: String,
    },
    /// The reservation ran out, or was given back: what it held may be sold to somebody else.
    #[error("the reservation {key} does not hold any more")]
    ReservationLost {
        /// Its key.
        key: String,
    },
    /// The customer has fewer points than are to be used.
    #[error("{customer_id} has not the {wanted} loyalty points that are to be used")]
    TooFewPoints {
        /// The customer.
        customer_id: String,
        /// How many are to be used.
        wanted: i64,
    },
    /// The order is somewhere else than it must be for this: another process has changed it. A human
    /// must look.
    #[error("the order {order_id} is {status}, and was to become {wanted}")]
    OrderState {
        /// The order.
        order_id: String,
        /// Where it stands.
        status: &'static str,
        /// Where it was to go.
        wanted: &'static str,
    },
    /// The cart has an order already.
    #[error("the cart {cart_id} has the order {order_id} already")]
    Ordered {
        /// The cart.
        cart_id: String,
        /// Its order.
        order_id: String,
    },
    /// The operation was undone before it arrived.
    #[error("the operation {key} was undone before it arrived")]
    Undone {
        /// Its idempotency key.
        key: String,
    },
    /// A stored row cannot be read.
    #[error("a row of the shop cannot be read: {what}")]
    Corrupt {
        /// What is wrong with it.
        what: String,
    },
    /// The database failed; nothing is known.
    #[error("the shop's database failed")]
    Database(#[from] sqlx::Error),
}

impl ShopError {
    /// What a step makes of it: whether to try again, and whether anything can have happened.
    #[must_use]
    pub fn into_step_error(self) -> StepError {
        match self {
            Self::Database(source) => StepError::retry(format!("the shop's database failed: {source}")),
            Self::Corrupt { .. } | Self::OrderState { .. } => StepError::fatal(self),
            // Refused within a transaction that was rolled back.
            Self::NoSession { .. }
            | Self::Expired { .. }
            | Self::BadCart { .. }
            | Self::OutOfStock { .. }
            | Self::ReservationLost { .. }
            | Self::TooFewPoints { .. }
            | Self::Ordered { .. }
            | Self::Undone { .. } => StepError::rejected(self),
        }
    }
}

impl ShopError {
    /// As [`ShopError::into_step_error`], where the shop was asked before anything was sent to anybody
    /// else: whatever went wrong, this attempt had no effect.
    #[must_use]
    pub fn into_step_error_before_effect(self) -> StepError {
        match self {
            Self::Database(source) => StepError::unsent(format!("the shop's database failed: {source}")),
            refused => StepError::rejected(refused),
        }
    }
}

/// The shop's database. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Shop {
    pool: AnyPool,
    begin: &'static str,
    sqlite: bool,
}

type Work<'t, T> = Pin<Box<dyn Future<Output = Result<T, ShopError>> + Send + 't>>;

impl Shop {
    /// Connects to a SQLite file (`sqlite://…`) or a Postgres database (`postgres://…`).
    ///
    /// # Errors
    /// When the database cannot be reached.
    pub async fn connect(url: &str) -> Result<Self, ShopError> {
        sqlx::any::install_default_drivers();
        let sqlite = url.starts_with("sqlite:");
        let pool = AnyPoolOptions::new()
            .max_connections(8)
            .after_connect(move |connection, _| {
                Box::pin(async move {
                    if sqlite {
                        let durable =
                            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA busy_timeout = 10000";
                        connection.execute(durable).await?;
                    }
                    Ok(())
                })
            })
            .connect(url)
            .await?;
        // SQLite must take its write lock at the beginning: it cannot be waited for later.
        Ok(Self { pool, begin: if sqlite { "BEGIN IMMEDIATE" } else { "BEGIN" }, sqlite })
    }

    /// The pool, for looking at the tables from outside.
    #[must_use]
    pub fn pool(&self) -> &AnyPool {
        &self.pool
    }

    /// Runs the work in one transaction, in a task of its own: a step's future may be dropped at any
    /// point, and a transaction that is cancelled while it begins would be left open in the pool.
    async fn transaction<T: Send + 'static>(
        &self,
        work: impl for<'t> FnOnce(&'t mut AnyConnection) -> Work<'t, T> + Send + 'static,
    ) -> Result<T, ShopError> {
        let (pool, begin) = (self.pool.clone(), self.begin);
        let task = tokio::spawn(async move {
            let mut transaction: Transaction<'static, Any> = pool.begin_with(begin).await?;
            let answer = work(&mut transaction).await?;
            transaction.commit().await?;
            Ok(answer)
        });
        let stopped = |error: tokio::task::JoinError| sqlx::Error::Io(std::io::Error::other(error));
        task.await.map_err(stopped)?
    }
}

/// Takes a key for an operation. False when it has been done under this key already.
async fn begin_operation(tx: &mut AnyConnection, key: &str) -> Result<bool, ShopError> {
    let taken = sqlx::query("INSERT INTO operations (operation_key, state) VALUES ($1, 'done') ON CONFLICT DO NOTHING")
        .bind(key.to_owned())
        .execute(&mut *tx)
        .await?;
    if taken.rows_affected() == 1 {
        return Ok(true);
    }
    let (state,): (String,) = sqlx::query_as("SELECT state FROM operations WHERE operation_key = $1")
        .bind(key.to_owned())
        .fetch_one(tx)
        .await?;
    if state == "done" { Ok(false) } else { Err(ShopError::Undone { key: key.to_owned() }) }
}

/// Leaves a tombstone under the key, whether the operation was done, is on its way, or never came.
async fn undo_operation(tx: &mut AnyConnection, key: &str) -> Result<(), ShopError> {
    sqlx::query(
        "INSERT INTO operations (operation_key, state) VALUES ($1, 'undone') \
         ON CONFLICT (operation_key) DO UPDATE SET state = 'undone'",
    )
    .bind(key.to_owned())
    .execute(tx)
    .await?;
    Ok(())
}

/// The wall clock, in microseconds: for expiries of hours and minutes alone.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

fn corrupt(what: impl std::fmt::Display) -> ShopError {
    ShopError::Corrupt { what: what.to_string() }
}
