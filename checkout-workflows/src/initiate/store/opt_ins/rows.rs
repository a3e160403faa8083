//! The rows of opt-ins and of the versions before.

use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row as _};

use super::super::database::{existing, json, to_json};
use super::super::error::StoreError;
use super::super::state::{Stored as _, stored_state, written};
use super::{OptIn, OptInState};

pub(super) const SELECT: &str = "SELECT * FROM opt_ins WHERE opt_in_id = $1";

/// Makes the row of a new opt-in.
pub(super) async fn insert(tx: &mut AnyConnection, opt_in: OptIn) -> Result<OptIn, StoreError> {
    sqlx::query(
        "INSERT INTO opt_ins (opt_in_id, execution_context_id, user_id, plan_id, mandate_id, preferences, state, \
         revision, written_by) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
    )
    .bind(opt_in.opt_in_id.clone())
    .bind(opt_in.execution_context_id.clone())
    .bind(opt_in.user_id.clone())
    .bind(opt_in.plan_id.clone())
    .bind(opt_in.mandate_id.clone())
    .bind(to_json(&opt_in.preferences)?)
    .bind(opt_in.state.as_str())
    .bind(opt_in.revision)
    .bind(opt_in.written_by.clone())
    .execute(tx)
    .await?;
    Ok(opt_in)
}

/// Puts `after` in the place of `before`, which is kept.
pub(super) async fn replace(
    tx: &mut AnyConnection,
    before: &OptIn,
    after: OptIn,
    written_by: &str,
) -> Result<OptIn, StoreError> {
    let after = OptIn { revision: before.revision + 1, written_by: written_by.to_owned(), ..after };
    let changed = sqlx::query(
        "UPDATE opt_ins SET plan_id = $1, mandate_id = $2, preferences = $3, state = $4, revision = $5, \
         written_by = $6 WHERE opt_in_id = $7 AND revision = $8 AND state = $9",
    )
    .bind(after.plan_id.clone())
    .bind(after.mandate_id.clone())
    .bind(to_json(&after.preferences)?)
    .bind(after.state.as_str())
    .bind(after.revision)
    .bind(after.written_by.clone())
    .bind(before.opt_in_id.clone())
    .bind(before.revision)
    .bind(before.state.as_str())
    .execute(&mut *tx)
    .await?;
    written::<OptInState>(changed.rows_affected(), &before.opt_in_id)?;
    sqlx::query("INSERT INTO opt_in_versions VALUES ($1, $2, $3)")
        .bind(before.opt_in_id.clone())
        .bind(before.revision)
        .bind(to_json(before)?)
        .execute(tx)
        .await?;
    Ok(after)
}

/// What the change of which `opt_in` is the result found.
pub(super) async fn previous(tx: &mut AnyConnection, opt_in: &OptIn) -> Result<OptIn, StoreError> {
    let select = "SELECT body FROM opt_in_versions WHERE opt_in_id = $1 AND revision = $2";
    let query = sqlx::query_as(select).bind(opt_in.opt_in_id.clone()).bind(opt_in.revision - 1);
    let (body,): (String,) = query.fetch_one(tx).await?;
    json(&body)
}

/// An opt-in that must be there.
pub(super) async fn load(tx: &mut AnyConnection, id: &str) -> Result<OptIn, StoreError> {
    read(&existing(tx, OptInState::ENTITY, SELECT, id).await?)
}

/// An opt-in from its row.
pub(super) fn read(row: &AnyRow) -> Result<OptIn, StoreError> {
    Ok(OptIn {
        opt_in_id: row.try_get("opt_in_id")?,
        execution_context_id: row.try_get("execution_context_id")?,
        user_id: row.try_get("user_id")?,
        plan_id: row.try_get("plan_id")?,
        mandate_id: row.try_get("mandate_id")?,
        preferences: json(&row.try_get::<String, _>("preferences")?)?,
        state: stored_state(row, "state")?,
        revision: row.try_get("revision")?,
        written_by: row.try_get("written_by")?,
    })
}
