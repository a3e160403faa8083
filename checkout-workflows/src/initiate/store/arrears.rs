//! Arrears: what a failed payment left to be collected later.

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
    /// Where an arrear stands.
    ArrearState of "arrear" {
        /// To be collected.
        Scheduled = "SCHEDULED",
        /// Collected.
        Settled = "SETTLED",
        /// Not to be collected any more.
        Cancelled = "CANCELLED",
    }
}

stored! {
    /// What can happen to an arrear.
    ArrearEvent of "arrear" {
        /// It is collected.
        Settle = "settle",
        /// It is taken back.
        Cancel = "cancel",
    }
}

impl ArrearState {
    /// What the event makes of it.
    ///
    /// # Errors
    /// When it does not allow the event.
    pub fn next(self, event: ArrearEvent) -> Result<Self, IllegalTransition> {
        match (self, event) {
            (Self::Scheduled, ArrearEvent::Settle) => Ok(Self::Settled),
            (Self::Scheduled, ArrearEvent::Cancel) => Ok(Self::Cancelled),
            (Self::Settled | Self::Cancelled, ArrearEvent::Settle | ArrearEvent::Cancel) => illegal(self, event),
        }
    }
}

/// An arrear to be scheduled.
#[derive(Clone, Debug)]
pub struct NewArrear {
    /// Who owes.
    pub user_id: String,
    /// The payment that failed.
    pub requirement_id: String,
    /// What is owed: more than nothing.
    pub amount: Money,
    /// When it is to be collected.
    pub due_at: DateTime<Utc>,
}

/// An arrear.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Arrear {
    /// Its id.
    pub arrear_id: String,
    /// Who owes.
    pub user_id: String,
    /// The payment that failed.
    pub requirement_id: String,
    /// What is owed.
    pub amount: Money,
    /// When it is to be collected.
    pub due_at: DateTime<Utc>,
    /// Where it stands.
    pub state: ArrearState,
}

/// The store of arrears.
#[derive(Clone, Debug)]
pub struct Arrears {
    database: Database,
}

const SCHEDULE: &str = "arrears.schedule";
const UPDATE: &str = "UPDATE arrears SET state = $1 WHERE arrear_id = $2 AND state = $3";
const SELECT: &str = "SELECT * FROM arrears WHERE arrear_id = $1";

impl Arrears {
    pub(super) fn new(database: &Database) -> Self {
        Self { database: database.clone() }
    }

    /// Schedules the arrear.
    ///
    /// # Errors
    /// [`StoreError::Exists`] when there is one for the same payment, [`StoreError::BadAmount`],
    /// [`StoreError::Undone`], or the database's.
    pub async fn schedule(&self, key: &str, new: NewArrear) -> Result<Arrear, StoreError> {
        let id = format!("arr_{key}");
        once(&self.database, SCHEDULE, key, move |tx| Box::pin(async move { insert(tx, &id, new).await })).await
    }

    /// The arrear that was scheduled under the step's key is cancelled, and refused when it comes later.
    ///
    /// # Errors
    /// [`StoreError::Illegal`] when it has been collected, or the database's.
    pub async fn undo_schedule(&self, step_key: &str, compensation_key: &str) -> Result<Compensation, StoreError> {
        undo(&self.database, SCHEDULE, step_key, compensation_key, |tx, made: Arrear| {
            Box::pin(async move {
                if load(tx, &made.arrear_id).await?.state != ArrearState::Cancelled {
                    advance(tx, &made.arrear_id, ArrearEvent::Cancel).await?;
                }
                Ok(())
            })
        })
        .await
    }

    /// It is collected.
    ///
    /// # Errors
    /// [`StoreError::Illegal`], or the database's.
    pub async fn settle(&self, key: &str, arrear_id: &str) -> Result<Arrear, StoreError> {
        let id = arrear_id.to_owned();
        once(&self.database, "arrears.settle", key, |tx| {
            Box::pin(async move { advance(tx, &id, ArrearEvent::Settle).await })
        })
        .await
    }

    /// An arrear.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn get(&self, arrear_id: &str) -> Result<Option<Arrear>, StoreError> {
        let mut connection = self.database.connection().await?;
        row(&mut connection, SELECT, arrear_id).await?.as_ref().map(arrear).transpose()
    }

    /// What a customer still owes.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn open_of_user(&self, user_id: &str) -> Result<Vec<Arrear>, StoreError> {
        let mut connection = self.database.connection().await?;
        let select = "SELECT * FROM arrears WHERE user_id = $1 AND state = 'SCHEDULED' ORDER BY due_at, arrear_id";
        rows(&mut connection, select, user_id).await?.iter().map(arrear).collect()
    }
}

async fn insert(tx: &mut AnyConnection, id: &str, new: NewArrear) -> Result<Arrear, StoreError> {
    at_least(1, new.amount, ArrearState::ENTITY)?;
    let made = sqlx::query("INSERT INTO arrears VALUES ($1, $2, $3, $4, $5, $6, 'SCHEDULED') ON CONFLICT DO NOTHING")
        .bind(id.to_owned())
        .bind(new.user_id)
        .bind(new.requirement_id.clone())
        .bind(new.amount.currency().code())
        .bind(new.amount.minor())
        .bind(new.due_at.timestamp_micros())
        .execute(&mut *tx)
        .await?;
    if made.rows_affected() == 0 {
        return Err(StoreError::Exists { entity: ArrearState::ENTITY, id: new.requirement_id });
    }
    load(tx, id).await
}

async fn advance(tx: &mut AnyConnection, id: &str, event: ArrearEvent) -> Result<Arrear, StoreError> {
    let arrear = load(tx, id).await?;
    let state = allowed(arrear.state.next(event), id)?;
    compare_and_set(tx, UPDATE, id, (arrear.state, state)).await?;
    Ok(Arrear { state, ..arrear })
}

async fn load(tx: &mut AnyConnection, id: &str) -> Result<Arrear, StoreError> {
    arrear(&existing(tx, ArrearState::ENTITY, SELECT, id).await?)
}

fn arrear(row: &AnyRow) -> Result<Arrear, StoreError> {
    Ok(Arrear {
        arrear_id: row.try_get("arrear_id")?,
        user_id: row.try_get("user_id")?,
        requirement_id: row.try_get("requirement_id")?,
        amount: money(row, "amount")?,
        due_at: time(row, "due_at")?,
        state: stored_state(row, "state")?,
    })
}
