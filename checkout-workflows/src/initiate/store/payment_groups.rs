//! Payment groups: what is paid together.

use serde::{Deserialize, Serialize};
use sqlx::{AnyConnection, Row as _};

use super::database::{Database, existing, row, rows};
use super::error::{IllegalTransition, StoreError};
use super::key::{Compensation, once, undo};
use super::state::{Stored as _, allowed, compare_and_set, illegal, stored, stored_state};

stored! {
    /// Where a payment group stands.
    PaymentGroupState of "payment group" {
        /// Created.
        Created = "CREATED",
        /// Its payments are being collected.
        Active = "ACTIVE",
        /// All payments are collected.
        Completed = "COMPLETED",
        /// Its payments were not collected, or it was taken back.
        Failed = "FAILED",
    }
}

stored! {
    /// What can happen to a payment group.
    PaymentGroupEvent of "payment group" {
        /// Collection begins.
        Activate = "activate",
        /// All is collected.
        Complete = "complete",
        /// Collection failed.
        Fail = "fail",
    }
}

impl PaymentGroupState {
    /// What the event makes of it.
    ///
    /// # Errors
    /// When it does not allow the event.
    pub fn next(self, event: PaymentGroupEvent) -> Result<Self, IllegalTransition> {
        use PaymentGroupEvent::{Activate, Complete, Fail};
        match (self, event) {
            (Self::Created, Activate) => Ok(Self::Active),
            (Self::Active, Complete) => Ok(Self::Completed),
            (Self::Created | Self::Active, Fail) => Ok(Self::Failed),
            (Self::Created, Complete)
            | (Self::Active, Activate)
            | (Self::Completed | Self::Failed, Activate | Complete | Fail) => illegal(self, event),
        }
    }
}

/// A payment group to be created.
#[derive(Clone, Debug)]
pub struct NewPaymentGroup {
    /// The execution context.
    pub execution_context_id: String,
    /// Who pays.
    pub user_id: String,
    /// What is paid.
    pub line_item_ids: Vec<String>,
}

/// A payment group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PaymentGroup {
    /// Its id.
    pub payment_group_id: String,
    /// The execution context.
    pub execution_context_id: String,
    /// Who pays.
    pub user_id: String,
    /// What is paid, in the order of the ids.
    pub line_item_ids: Vec<String>,
    /// Where it stands.
    pub state: PaymentGroupState,
}

/// The store of payment groups.
#[derive(Clone, Debug)]
pub struct PaymentGroups {
    database: Database,
}

const CREATE: &str = "payment_groups.create";
const UPDATE: &str = "UPDATE payment_groups SET state = $1 WHERE payment_group_id = $2 AND state = $3";
const SELECT: &str = "SELECT * FROM payment_groups WHERE payment_group_id = $1";

impl PaymentGroups {
    pub(super) fn new(database: &Database) -> Self {
        Self { database: database.clone() }
    }

    /// Creates the groups, all or none.
    ///
    /// # Errors
    /// [`StoreError::Undone`], or the database's.
    pub async fn create(&self, key: &str, new: Vec<NewPaymentGroup>) -> Result<Vec<PaymentGroup>, StoreError> {
        let made_by = key.to_owned();
        once(&self.database, CREATE, key, move |tx| {
            Box::pin(async move {
                let mut groups = Vec::with_capacity(new.len());
                for (nth, group) in new.into_iter().enumerate() {
                    groups.push(insert(tx, format!("pg_{made_by}_{nth}"), group).await?);
                }
                Ok(groups)
            })
        })
        .await
    }

    /// The groups that were created under the step's key fail, and are refused when they come later.
    ///
    /// # Errors
    /// [`StoreError::Illegal`] when one is completed: its money has been taken; or the database's.
    pub async fn undo_create(&self, step_key: &str, compensation_key: &str) -> Result<Compensation, StoreError> {
        undo(&self.database, CREATE, step_key, compensation_key, |tx, groups: Vec<PaymentGroup>| {
            Box::pin(async move {
                for group in groups {
                    let now = load(tx, &group.payment_group_id).await?;
                    if now.state != PaymentGroupState::Failed {
                        advance(tx, &group.payment_group_id, PaymentGroupEvent::Fail).await?;
                    }
                }
                Ok(())
            })
        })
        .await
    }

    /// Collection begins.
    ///
    /// # Errors
    /// [`StoreError::Illegal`], or the database's.
    pub async fn activate(&self, key: &str, payment_group_id: &str) -> Result<PaymentGroup, StoreError> {
        self.apply("payment_groups.activate", key, payment_group_id, PaymentGroupEvent::Activate).await
    }

    /// All is collected.
    ///
    /// # Errors
    /// [`StoreError::Illegal`], or the database's.
    pub async fn complete(&self, key: &str, payment_group_id: &str) -> Result<PaymentGroup, StoreError> {
        self.apply("payment_groups.complete", key, payment_group_id, PaymentGroupEvent::Complete).await
    }

    /// Collection failed.
    ///
    /// # Errors
    /// [`StoreError::Illegal`], or the database's.
    pub async fn fail(&self, key: &str, payment_group_id: &str) -> Result<PaymentGroup, StoreError> {
        self.apply("payment_groups.fail", key, payment_group_id, PaymentGroupEvent::Fail).await
    }

    /// A payment group.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn get(&self, payment_group_id: &str) -> Result<Option<PaymentGroup>, StoreError> {
        let mut connection = self.database.connection().await?;
        match row(&mut connection, SELECT, payment_group_id).await? {
            Some(_) => load(&mut connection, payment_group_id).await.map(Some),
            None => Ok(None),
        }
    }

    /// The payment groups of an execution context.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn of_context(&self, execution_context_id: &str) -> Result<Vec<PaymentGroup>, StoreError> {
        let mut connection = self.database.connection().await?;
        let select = "SELECT * FROM payment_groups WHERE execution_context_id = $1 ORDER BY payment_group_id";
        let mut groups = Vec::new();
        for row in rows(&mut connection, select, execution_context_id).await? {
            groups.push(load(&mut connection, &row.try_get::<String, _>("payment_group_id")?).await?);
        }
        Ok(groups)
    }

    async fn apply(
        &self,
        operation: &'static str,
        key: &str,
        id: &str,
        event: PaymentGroupEvent,
    ) -> Result<PaymentGroup, StoreError> {
        let id = id.to_owned();
        once(&self.database, operation, key, move |tx| Box::pin(async move { advance(tx, &id, event).await })).await
    }
}

async fn insert(tx: &mut AnyConnection, id: String, new: NewPaymentGroup) -> Result<PaymentGroup, StoreError> {
    sqlx::query("INSERT INTO payment_groups VALUES ($1, $2, $3, 'CREATED')")
        .bind(id.clone())
        .bind(new.execution_context_id)
        .bind(new.user_id)
        .execute(&mut *tx)
        .await?;
    for item in new.line_item_ids {
        let insert = "INSERT INTO payment_group_line_items VALUES ($1, $2) ON CONFLICT DO NOTHING";
        sqlx::query(insert).bind(id.clone()).bind(item).execute(&mut *tx).await?;
    }
    load(tx, &id).await
}

async fn advance(tx: &mut AnyConnection, id: &str, event: PaymentGroupEvent) -> Result<PaymentGroup, StoreError> {
    let group = load(tx, id).await?;
    let state = allowed(group.state.next(event), id)?;
    compare_and_set(tx, UPDATE, id, (group.state, state)).await?;
    Ok(PaymentGroup { state, ..group })
}

async fn load(tx: &mut AnyConnection, id: &str) -> Result<PaymentGroup, StoreError> {
    let row = existing(tx, PaymentGroupState::ENTITY, SELECT, id).await?;
    let select = "SELECT line_item_id FROM payment_group_line_items WHERE payment_group_id = $1 ORDER BY line_item_id";
    let items = rows(tx, select, id).await?;
    Ok(PaymentGroup {
        payment_group_id: row.try_get("payment_group_id")?,
        execution_context_id: row.try_get("execution_context_id")?,
        user_id: row.try_get("user_id")?,
        line_item_ids: items.iter().map(|row| row.try_get("line_item_id")).collect::<Result<_, _>>()?,
        state: stored_state(&row, "state")?,
    })
}
