//! The rows of payment collection requirements.

use chrono::{DateTime, Utc};
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row as _};

use super::super::database::{existing, money, time};
use super::super::error::{StoreError, at_least};
use super::super::state::{Stored as _, stored_state, written};
use super::{NewRequirement, Requirement, RequirementState};

pub(super) const SELECT: &str = "SELECT * FROM payment_requirements WHERE requirement_id = $1";

/// Makes the row of a new requirement.
pub(super) async fn insert(tx: &mut AnyConnection, id: &str, new: NewRequirement) -> Result<Requirement, StoreError> {
    at_least(1, new.amount, RequirementState::ENTITY)?;
    let made = sqlx::query(
        "INSERT INTO payment_requirements (requirement_id, execution_context_id, checkout_order_id, user_id, \
         merchant_reference, currency, amount, state) VALUES ($1, $2, $3, $4, $5, $6, $7, 'PENDING') \
         ON CONFLICT DO NOTHING",
    )
    .bind(id.to_owned())
    .bind(new.execution_context_id)
    .bind(new.checkout_order_id)
    .bind(new.user_id)
    .bind(new.merchant_reference.clone())
    .bind(new.amount.currency().code())
    .bind(new.amount.minor())
    .execute(&mut *tx)
    .await?;
    if made.rows_affected() == 0 {
        return Err(StoreError::Exists { entity: RequirementState::ENTITY, id: new.merchant_reference });
    }
    load(tx, id).await
}

/// Writes what may change, if nobody changed the state or noted a payment meanwhile.
pub(super) async fn save(
    tx: &mut AnyConnection,
    before: RequirementState,
    after: Requirement,
) -> Result<Requirement, StoreError> {
    // A payment is recorded once, and whoever did not know of it is to look again.
    let update = "UPDATE payment_requirements SET state = $1, vendor_code = $2, vendor_transaction_id = $3, \
                  failure = $4, paid_at = $5 WHERE requirement_id = $6 AND state = $7 \
                  AND (paid_at IS NULL OR paid_at = $8) \
                  AND (vendor_transaction_id IS NULL OR vendor_transaction_id = $9)";
    let paid_at = after.paid_at.map(|at: DateTime<Utc>| at.timestamp_micros());
    let query = sqlx::query(update)
        .bind(after.state.as_str())
        .bind(after.vendor_code.clone())
        .bind(after.vendor_transaction_id.clone())
        .bind(after.failure.clone())
        .bind(paid_at)
        .bind(after.requirement_id.clone())
        .bind(before.as_str())
        .bind(paid_at)
        .bind(after.vendor_transaction_id.clone());
    written::<RequirementState>(query.execute(&mut *tx).await?.rows_affected(), &after.requirement_id)?;
    load(tx, &after.requirement_id).await
}

/// A requirement that must be there.
pub(super) async fn load(tx: &mut AnyConnection, id: &str) -> Result<Requirement, StoreError> {
    read(&existing(tx, RequirementState::ENTITY, SELECT, id).await?)
}

/// A requirement from its row.
pub(super) fn read(row: &AnyRow) -> Result<Requirement, StoreError> {
    let paid: Option<i64> = row.try_get("paid_at")?;
    Ok(Requirement {
        requirement_id: row.try_get("requirement_id")?,
        execution_context_id: row.try_get("execution_context_id")?,
        checkout_order_id: row.try_get("checkout_order_id")?,
        user_id: row.try_get("user_id")?,
        merchant_reference: row.try_get("merchant_reference")?,
        vendor_code: row.try_get("vendor_code")?,
        vendor_transaction_id: row.try_get("vendor_transaction_id")?,
        amount: money(row, "amount")?,
        failure: row.try_get("failure")?,
        paid_at: paid.map(|_| time(row, "paid_at")).transpose()?,
        state: stored_state(row, "state")?,
    })
}
