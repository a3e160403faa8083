//! Checkout orders: one for each checkout.

use serde::{Deserialize, Serialize};
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row as _};

use super::database::{Database, existing, money, row};
use super::error::{IllegalTransition, StoreError, at_least};
use super::key::{Compensation, once, undo};
use super::state::{Stored as _, allowed, compare_and_set, illegal, stored, stored_state};
use crate::money::Money;

stored! {
    /// Where a checkout order stands.
    CheckoutOrderState of "checkout order" {
        /// Created.
        Created = "CREATED",
        /// Its payment is under way.
        Processing = "PROCESSING",
        /// Done.
        Completed = "COMPLETED",
        /// Not done, or taken back.
        Failed = "FAILED",
    }
}

stored! {
    /// What can happen to a checkout order.
    CheckoutOrderEvent of "checkout order" {
        /// Its payment begins.
        Process = "process",
        /// It is done; without a payment when there is nothing to be collected now.
        Complete = "complete",
        /// It failed.
        Fail = "fail",
    }
}

impl CheckoutOrderState {
    /// What the event makes of it.
    ///
    /// # Errors
    /// When it does not allow the event.
    pub fn next(self, event: CheckoutOrderEvent) -> Result<Self, IllegalTransition> {
        use CheckoutOrderEvent::{Complete, Fail, Process};
        match (self, event) {
            (Self::Created, Process) => Ok(Self::Processing),
            (Self::Created | Self::Processing, Complete) => Ok(Self::Completed),
            (Self::Created | Self::Processing, Fail) => Ok(Self::Failed),
            (Self::Processing, Process) | (Self::Completed | Self::Failed, Process | Complete | Fail) => {
                illegal(self, event)
            }
        }
    }
}

/// A checkout order to be created.
#[derive(Clone, Debug)]
pub struct NewCheckoutOrder {
    /// The execution context.
    pub execution_context_id: String,
    /// Whose it is.
    pub user_id: String,
    /// What is to be paid.
    pub total: Money,
}

/// A checkout order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CheckoutOrder {
    /// Its id.
    pub checkout_order_id: String,
    /// The execution context.
    pub execution_context_id: String,
    /// Whose it is.
    pub user_id: String,
    /// What is to be paid.
    pub total: Money,
    /// Where it stands.
    pub state: CheckoutOrderState,
}

/// The store of checkout orders.
#[derive(Clone, Debug)]
pub struct CheckoutOrders {
    database: Database,
}

const CREATE: &str = "checkout_orders.create";
const UPDATE: &str = "UPDATE checkout_orders SET state = $1 WHERE checkout_order_id = $2 AND state = $3";
const SELECT: &str = "SELECT * FROM checkout_orders WHERE checkout_order_id = $1";

impl CheckoutOrders {
    pub(super) fn new(database: &Database) -> Self {
        Self { database: database.clone() }
    }

    /// Creates the order.
    ///
    /// # Errors
    /// [`StoreError::Exists`] when the execution context has one that did not fail,
    /// [`StoreError::BadAmount`], [`StoreError::Undone`], or the database's.
    pub async fn create(&self, key: &str, new: NewCheckoutOrder) -> Result<CheckoutOrder, StoreError> {
        let id = format!("co_{key}");
        once(&self.database, CREATE, key, |tx| Box::pin(async move { insert(tx, &id, new).await })).await
    }

    /// The order that was created under the step's key fails, and is refused when it comes later.
    ///
    /// # Errors
    /// [`StoreError::Illegal`] when it is completed, or the database's.
    pub async fn undo_create(&self, step_key: &str, compensation_key: &str) -> Result<Compensation, StoreError> {
        undo(&self.database, CREATE, step_key, compensation_key, |tx, made: CheckoutOrder| {
            Box::pin(async move {
                let id = made.checkout_order_id;
                if load(tx, &id).await?.state != CheckoutOrderState::Failed {
                    advance(tx, &id, CheckoutOrderEvent::Fail).await?;
                }
                Ok(())
            })
        })
        .await
    }

    /// Its payment begins.
    ///
    /// # Errors
    /// [`StoreError::Illegal`], or the database's.
    pub async fn process(&self, key: &str, checkout_order_id: &str) -> Result<CheckoutOrder, StoreError> {
        self.apply("checkout_orders.process", key, checkout_order_id, CheckoutOrderEvent::Process).await
    }

    /// It is done.
    ///
    /// # Errors
    /// [`StoreError::Illegal`], or the database's.
    pub async fn complete(&self, key: &str, checkout_order_id: &str) -> Result<CheckoutOrder, StoreError> {
        self.apply("checkout_orders.complete", key, checkout_order_id, CheckoutOrderEvent::Complete).await
    }

    /// It failed.
    ///
    /// # Errors
    /// [`StoreError::Illegal`], or the database's.
    pub async fn fail(&self, key: &str, checkout_order_id: &str) -> Result<CheckoutOrder, StoreError> {
        self.apply("checkout_orders.fail", key, checkout_order_id, CheckoutOrderEvent::Fail).await
    }

    /// A checkout order.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn get(&self, checkout_order_id: &str) -> Result<Option<CheckoutOrder>, StoreError> {
        let mut connection = self.database.connection().await?;
        row(&mut connection, SELECT, checkout_order_id).await?.as_ref().map(order).transpose()
    }

    /// The checkout order of an execution context that did not fail.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn of_context(&self, execution_context_id: &str) -> Result<Option<CheckoutOrder>, StoreError> {
        let mut connection = self.database.connection().await?;
        let select = "SELECT * FROM checkout_orders WHERE execution_context_id = $1 AND state <> 'FAILED'";
        row(&mut connection, select, execution_context_id).await?.as_ref().map(order).transpose()
    }

    async fn apply(
        &self,
        operation: &'static str,
        key: &str,
        id: &str,
        event: CheckoutOrderEvent,
    ) -> Result<CheckoutOrder, StoreError> {
        let id = id.to_owned();
        once(&self.database, operation, key, move |tx| Box::pin(async move { advance(tx, &id, event).await })).await
    }
}

async fn insert(tx: &mut AnyConnection, id: &str, new: NewCheckoutOrder) -> Result<CheckoutOrder, StoreError> {
    at_least(0, new.total, CheckoutOrderState::ENTITY)?;
    let made = sqlx::query("INSERT INTO checkout_orders VALUES ($1, $2, $3, $4, $5, 'CREATED') ON CONFLICT DO NOTHING")
        .bind(id.to_owned())
        .bind(new.execution_context_id.clone())
        .bind(new.user_id)
        .bind(new.total.currency().code())
        .bind(new.total.minor())
        .execute(&mut *tx)
        .await?;
    if made.rows_affected() == 0 {
        return Err(StoreError::Exists { entity: CheckoutOrderState::ENTITY, id: new.execution_context_id });
    }
    load(tx, id).await
}

async fn advance(tx: &mut AnyConnection, id: &str, event: CheckoutOrderEvent) -> Result<CheckoutOrder, StoreError> {
    let order = load(tx, id).await?;
    let state = allowed(order.state.next(event), id)?;
    compare_and_set(tx, UPDATE, id, (order.state, state)).await?;
    Ok(CheckoutOrder { state, ..order })
}

async fn load(tx: &mut AnyConnection, id: &str) -> Result<CheckoutOrder, StoreError> {
    order(&existing(tx, CheckoutOrderState::ENTITY, SELECT, id).await?)
}

fn order(row: &AnyRow) -> Result<CheckoutOrder, StoreError> {
    Ok(CheckoutOrder {
        checkout_order_id: row.try_get("checkout_order_id")?,
        execution_context_id: row.try_get("execution_context_id")?,
        user_id: row.try_get("user_id")?,
        total: money(row, "total")?,
        state: stored_state(row, "state")?,
    })
}
