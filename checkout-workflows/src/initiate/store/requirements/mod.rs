//! Payment collection requirements: what is to be paid, and what became of it.

mod requirement;
mod rows;

use chrono::{DateTime, Utc};
use sqlx::AnyConnection;

use super::database::{Database, row, rows as select_rows};
use super::error::StoreError;
use super::key::{Compensation, once, undo};
use super::state::allowed;
pub use requirement::{NewRequirement, Receipt, Requirement, RequirementEvent, RequirementState};
use rows::{SELECT, insert, load, read, save};

/// The store of payment collection requirements.
#[derive(Clone, Debug)]
pub struct Requirements {
    database: Database,
}

const CREATE: &str = "requirements.create";

impl Requirements {
    pub(super) fn new(database: &Database) -> Self {
        Self { database: database.clone() }
    }

    /// Creates the requirement. To be done before the gateway is asked, so that nothing is paid of which
    /// nobody knows.
    ///
    /// # Errors
    /// [`StoreError::Exists`] when there is one with the same merchant reference, [`StoreError::BadAmount`] when
    /// there is nothing to collect, [`StoreError::Undone`], or the database's.
    pub async fn create(&self, key: &str, new: NewRequirement) -> Result<Requirement, StoreError> {
        let id = format!("pcr_{key}");
        once(&self.database, CREATE, key, |tx| Box::pin(async move { insert(tx, &id, new).await })).await
    }

    /// The requirement that was created under the step's key is cancelled, and refused when it comes later.
    /// One that failed, or was refunded, stays so.
    ///
    /// # Errors
    /// [`StoreError::Illegal`] when it is paid: it is to be refunded first; or the database's.
    pub async fn undo_create(&self, step_key: &str, compensation_key: &str) -> Result<Compensation, StoreError> {
        undo(&self.database, CREATE, step_key, compensation_key, |tx, made: Requirement| {
            Box::pin(async move {
                let now = load(tx, &made.requirement_id).await?;
                match now.state {
                    RequirementState::Pending | RequirementState::Succeeded => {
                        advance(tx, now, RequirementEvent::Cancel, |_| ()).await?;
                    }
                    RequirementState::Failed | RequirementState::Cancelled | RequirementState::Refunded => {}
                }
                Ok(())
            })
        })
        .await
    }

    /// Notes the gateway's transaction, wherever the requirement stands: it may have been taken back while
    /// the gateway was asked.
    ///
    /// # Errors
    /// [`StoreError::Exists`] when it has another transaction, [`StoreError::NotFound`], or the database's.
    pub async fn note_vendor(
        &self,
        key: &str,
        requirement_id: &str,
        vendor_code: &str,
        vendor_transaction_id: &str,
    ) -> Result<Requirement, StoreError> {
        let (id, code, transaction) =
            (requirement_id.to_owned(), vendor_code.to_owned(), vendor_transaction_id.to_owned());
        once(&self.database, "requirements.note_vendor", key, |tx| {
            Box::pin(async move {
                let before = load(tx, &id).await?;
                must_match(&before, &transaction)?;
                let mut after = before.clone();
                (after.vendor_code, after.vendor_transaction_id) = (Some(code), Some(transaction));
                save(tx, before.state, after).await
            })
        })
        .await
    }

    /// The gateway says that it was paid. One that had failed or was cancelled stays so, and the payment is
    /// recorded: it is to be given back.
    ///
    /// # Errors
    /// [`StoreError::Exists`] when it was paid by another transaction (that one is to be given back),
    /// [`StoreError::NotFound`], or the database's.
    pub async fn succeed(
        &self,
        key: &str,
        requirement_id: &str,
        vendor_transaction_id: &str,
        at: DateTime<Utc>,
    ) -> Result<Receipt, StoreError> {
        let (id, transaction) = (requirement_id.to_owned(), vendor_transaction_id.to_owned());
        once(&self.database, "requirements.succeed", key, move |tx| {
            Box::pin(async move {
                let before = load(tx, &id).await?;
                receive(tx, before, transaction, at).await
            })
        })
        .await
    }

    /// The payment failed.
    ///
    /// # Errors
    /// [`StoreError::Illegal`], or the database's.
    pub async fn fail(&self, key: &str, requirement_id: &str, why: &str) -> Result<Requirement, StoreError> {
        let (id, why) = (requirement_id.to_owned(), why.to_owned());
        once(&self.database, "requirements.fail", key, |tx| {
            Box::pin(async move {
                let before = load(tx, &id).await?;
                advance(tx, before, RequirementEvent::Fail, |after| after.failure = Some(why)).await
            })
        })
        .await
    }

    /// It is not to be paid any more.
    ///
    /// # Errors
    /// [`StoreError::Illegal`], or the database's.
    pub async fn cancel(&self, key: &str, requirement_id: &str) -> Result<Requirement, StoreError> {
        let id = requirement_id.to_owned();
        once(&self.database, "requirements.cancel", key, |tx| {
            Box::pin(async move {
                let before = load(tx, &id).await?;
                advance(tx, before, RequirementEvent::Cancel, |_| ()).await
            })
        })
        .await
    }

    /// What was paid, in time or late, has been given back.
    ///
    /// # Errors
    /// [`StoreError::NotPaid`], [`StoreError::Illegal`], or the database's.
    pub async fn refund(&self, key: &str, requirement_id: &str) -> Result<Requirement, StoreError> {
        let id = requirement_id.to_owned();
        once(&self.database, "requirements.refund", key, |tx| {
            Box::pin(async move {
                let before = load(tx, &id).await?;
                if before.paid_at.is_none() {
                    return Err(StoreError::NotPaid { id });
                }
                advance(tx, before, RequirementEvent::Refund, |_| ()).await
            })
        })
        .await
    }

    /// A requirement.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn get(&self, requirement_id: &str) -> Result<Option<Requirement>, StoreError> {
        self.one(SELECT, requirement_id).await
    }

    /// The requirement with this merchant reference.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn by_merchant_reference(&self, merchant_reference: &str) -> Result<Option<Requirement>, StoreError> {
        self.one("SELECT * FROM payment_requirements WHERE merchant_reference = $1", merchant_reference).await
    }

    /// The requirement with this transaction of the gateway.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn by_vendor_transaction(&self, vendor_transaction_id: &str) -> Result<Option<Requirement>, StoreError> {
        self.one("SELECT * FROM payment_requirements WHERE vendor_transaction_id = $1", vendor_transaction_id).await
    }

    /// The requirements of an execution context.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn of_context(&self, execution_context_id: &str) -> Result<Vec<Requirement>, StoreError> {
        let mut connection = self.database.connection().await?;
        let select = "SELECT * FROM payment_requirements WHERE execution_context_id = $1 ORDER BY requirement_id";
        select_rows(&mut connection, select, execution_context_id).await?.iter().map(read).collect()
    }

    async fn one(&self, select: &'static str, id: &str) -> Result<Option<Requirement>, StoreError> {
        let mut connection = self.database.connection().await?;
        row(&mut connection, select, id).await?.as_ref().map(read).transpose()
    }
}

async fn receive(
    tx: &mut AnyConnection,
    before: Requirement,
    transaction: String,
    at: DateTime<Utc>,
) -> Result<Receipt, StoreError> {
    must_match(&before, &transaction)?;
    if before.paid_at.is_some() {
        return Ok(Receipt::Repeated(before));
    }
    let paid = |after: &mut Requirement| {
        after.vendor_transaction_id = Some(transaction);
        after.paid_at = Some(at);
    };
    if before.state == RequirementState::Pending {
        return advance(tx, before, RequirementEvent::Succeed, paid).await.map(Receipt::InTime);
    }
    let mut after = before.clone();
    paid(&mut after);
    save(tx, before.state, after).await.map(Receipt::Late)
}

async fn advance(
    tx: &mut AnyConnection,
    before: Requirement,
    event: RequirementEvent,
    change: impl FnOnce(&mut Requirement) + Send,
) -> Result<Requirement, StoreError> {
    let state = allowed(before.state.next(event), &before.requirement_id)?;
    let mut after = Requirement { state, ..before.clone() };
    change(&mut after);
    save(tx, before.state, after).await
}

fn must_match(requirement: &Requirement, transaction: &str) -> Result<(), StoreError> {
    match &requirement.vendor_transaction_id {
        Some(other) if other != transaction => {
            Err(StoreError::Exists { entity: "vendor transaction", id: requirement.requirement_id.clone() })
        }
        Some(_) | None => Ok(()),
    }
}
