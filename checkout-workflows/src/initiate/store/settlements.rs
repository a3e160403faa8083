//! Settlements in the middle of a tranche: what is paid in part is settled on the way.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row as _};

use super::database::{Database, existing, money, row, rows, time};
use super::error::{IllegalTransition, StoreError, at_least};
use super::key::{Compensation, once, undo};
use super::state::{Stored as _, allowed, compare_and_set, illegal, stored, stored_state};
use crate::money::Money;

stored! {
    /// Where a settlement stands.
    SettlementState of "settlement" {
        /// To be made.
        Scheduled = "SCHEDULED",
        /// Made.
        Settled = "SETTLED",
        /// Not to be made any more.
        Cancelled = "CANCELLED",
    }
}

stored! {
    /// What can happen to a settlement.
    SettlementEvent of "settlement" {
        /// It is made.
        Settle = "settle",
        /// It is taken back.
        Cancel = "cancel",
    }
}

impl SettlementState {
    /// What the event makes of it.
    ///
    /// # Errors
    /// When it does not allow the event.
    pub fn next(self, event: SettlementEvent) -> Result<Self, IllegalTransition> {
        match (self, event) {
            (Self::Scheduled, SettlementEvent::Settle) => Ok(Self::Settled),
            (Self::Scheduled, SettlementEvent::Cancel) => Ok(Self::Cancelled),
            (Self::Settled | Self::Cancelled, SettlementEvent::Settle | SettlementEvent::Cancel) => {
                illegal(self, event)
            }
        }
    }
}

/// A settlement to be scheduled.
#[derive(Clone, Debug)]
pub struct NewSettlement {
    /// The checkout order.
    pub checkout_order_id: String,
    /// Which tranche of it.
    pub tranche: i64,
    /// How much: more than nothing.
    pub amount: Money,
    /// When it is due.
    pub due_at: DateTime<Utc>,
}

/// A settlement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Settlement {
    /// Its id.
    pub settlement_id: String,
    /// The checkout order.
    pub checkout_order_id: String,
    /// Which tranche of it.
    pub tranche: i64,
    /// How much.
    pub amount: Money,
    /// When it is due.
    pub due_at: DateTime<Utc>,
    /// Where it stands.
    pub state: SettlementState,
}

/// The store of settlements.
#[derive(Clone, Debug)]
pub struct Settlements {
    database: Database,
}

const SCHEDULE: &str = "settlements.schedule";
const UPDATE: &str = "UPDATE settlements SET state = $1 WHERE settlement_id = $2 AND state = $3";
const SELECT: &str = "SELECT * FROM settlements WHERE settlement_id = $1";

impl Settlements {
    pub(super) fn new(database: &Database) -> Self {
        Self { database: database.clone() }
    }

    /// Schedules the settlement.
    ///
    /// # Errors
    /// [`StoreError::Exists`] when there is one for the same tranche, [`StoreError::BadAmount`],
    /// [`StoreError::Undone`], or the database's.
    pub async fn schedule(&self, key: &str, new: NewSettlement) -> Result<Settlement, StoreError> {
        let id = format!("stl_{key}");
        once(&self.database, SCHEDULE, key, move |tx| Box::pin(async move { insert(tx, &id, new).await })).await
    }

    /// The settlement that was scheduled under the step's key is cancelled, and refused when it comes later.
    ///
    /// # Errors
    /// [`StoreError::Illegal`] when it has been made, or the database's.
    pub async fn undo_schedule(&self, step_key: &str, compensation_key: &str) -> Result<Compensation, StoreError> {
        undo(&self.database, SCHEDULE, step_key, compensation_key, |tx, made: Settlement| {
            Box::pin(async move {
                if load(tx, &made.settlement_id).await?.state != SettlementState::Cancelled {
                    advance(tx, &made.settlement_id, SettlementEvent::Cancel).await?;
                }
                Ok(())
            })
        })
        .await
    }

    /// It is made.
    ///
    /// # Errors
    /// [`StoreError::Illegal`], or the database's.
    pub async fn settle(&self, key: &str, settlement_id: &str) -> Result<Settlement, StoreError> {
        let id = settlement_id.to_owned();
        once(&self.database, "settlements.settle", key, |tx| {
            Box::pin(async move { advance(tx, &id, SettlementEvent::Settle).await })
        })
        .await
    }

    /// A settlement.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn get(&self, settlement_id: &str) -> Result<Option<Settlement>, StoreError> {
        let mut connection = self.database.connection().await?;
        row(&mut connection, SELECT, settlement_id).await?.as_ref().map(settlement).transpose()
    }

    /// The settlements of a checkout order.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn of_order(&self, checkout_order_id: &str) -> Result<Vec<Settlement>, StoreError> {
        let mut connection = self.database.connection().await?;
        let select = "SELECT * FROM settlements WHERE checkout_order_id = $1 ORDER BY tranche, settlement_id";
        rows(&mut connection, select, checkout_order_id).await?.iter().map(settlement).collect()
    }
}

async fn insert(tx: &mut AnyConnection, id: &str, new: NewSettlement) -> Result<Settlement, StoreError> {
    at_least(1, new.amount, SettlementState::ENTITY)?;
    let made =
        sqlx::query("INSERT INTO settlements VALUES ($1, $2, $3, $4, $5, $6, 'SCHEDULED') ON CONFLICT DO NOTHING")
            .bind(id.to_owned())
            .bind(new.checkout_order_id.clone())
            .bind(new.tranche)
            .bind(new.amount.currency().code())
            .bind(new.amount.minor())
            .bind(new.due_at.timestamp_micros())
            .execute(&mut *tx)
            .await?;
    if made.rows_affected() == 0 {
        return Err(StoreError::Exists { entity: SettlementState::ENTITY, id: new.checkout_order_id });
    }
    load(tx, id).await
}

async fn advance(tx: &mut AnyConnection, id: &str, event: SettlementEvent) -> Result<Settlement, StoreError> {
    let settlement = load(tx, id).await?;
    let state = allowed(settlement.state.next(event), id)?;
    compare_and_set(tx, UPDATE, id, (settlement.state, state)).await?;
    Ok(Settlement { state, ..settlement })
}

async fn load(tx: &mut AnyConnection, id: &str) -> Result<Settlement, StoreError> {
    settlement(&existing(tx, SettlementState::ENTITY, SELECT, id).await?)
}

fn settlement(row: &AnyRow) -> Result<Settlement, StoreError> {
    Ok(Settlement {
        settlement_id: row.try_get("settlement_id")?,
        checkout_order_id: row.try_get("checkout_order_id")?,
        tranche: row.try_get("tranche")?,
        amount: money(row, "amount")?,
        due_at: time(row, "due_at")?,
        state: stored_state(row, "state")?,
    })
}
