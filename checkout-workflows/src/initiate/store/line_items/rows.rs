//! The rows of line items and of the versions before.

use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row as _};

use super::super::database::{existing, json, money, to_json};
use super::super::error::StoreError;
use super::super::location::Location;
use super::super::state::{Stored as _, stored_state, written};
use super::{Amounts, LineItem, LineItemState};

pub(super) const SELECT: &str = "SELECT * FROM line_items WHERE line_item_id = $1";

/// Makes the row of a new line item.
pub(super) async fn insert(tx: &mut AnyConnection, item: LineItem) -> Result<LineItem, StoreError> {
    let made = sqlx::query(
        "INSERT INTO line_items (line_item_id, execution_context_id, user_id, payment_group_id, plan_id, slot_id, \
         location, currency, base, surge, tip, discount, payable, requirement_id, state, revision, written_by) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17) ON CONFLICT DO NOTHING",
    )
    .bind(item.line_item_id.clone())
    .bind(item.execution_context_id.clone())
    .bind(item.user_id.clone())
    .bind(item.payment_group_id.clone())
    .bind(item.plan_id.clone())
    .bind(item.slot_id.clone())
    .bind(item.location.as_ref().map(to_json).transpose()?)
    .bind(item.amounts.payable().currency().code())
    .bind(item.amounts.base().minor())
    .bind(item.amounts.surge().minor())
    .bind(item.amounts.tip().minor())
    .bind(item.amounts.discount().minor())
    .bind(item.amounts.payable().minor())
    .bind(item.requirement_id.clone())
    .bind(item.state.as_str())
    .bind(item.revision)
    .bind(item.written_by.clone())
    .execute(tx)
    .await?;
    match made.rows_affected() {
        1 => Ok(item),
        _ => Err(StoreError::Exists { entity: LineItemState::ENTITY, id: item.line_item_id }),
    }
}

/// Puts `after` in the place of `before`, which is kept.
pub(super) async fn replace(
    tx: &mut AnyConnection,
    before: &LineItem,
    after: LineItem,
    written_by: &str,
) -> Result<LineItem, StoreError> {
    let after = LineItem { revision: before.revision + 1, written_by: written_by.to_owned(), ..after };
    let changed = sqlx::query(
        "UPDATE line_items SET payment_group_id = $1, plan_id = $2, slot_id = $3, location = $4, currency = $5, \
         base = $6, surge = $7, tip = $8, discount = $9, payable = $10, requirement_id = $11, state = $12, \
         revision = $13, written_by = $14 WHERE line_item_id = $15 AND revision = $16 AND state = $17",
    )
    .bind(after.payment_group_id.clone())
    .bind(after.plan_id.clone())
    .bind(after.slot_id.clone())
    .bind(after.location.as_ref().map(to_json).transpose()?)
    .bind(after.amounts.payable().currency().code())
    .bind(after.amounts.base().minor())
    .bind(after.amounts.surge().minor())
    .bind(after.amounts.tip().minor())
    .bind(after.amounts.discount().minor())
    .bind(after.amounts.payable().minor())
    .bind(after.requirement_id.clone())
    .bind(after.state.as_str())
    .bind(after.revision)
    .bind(after.written_by.clone())
    .bind(before.line_item_id.clone())
    .bind(before.revision)
    .bind(before.state.as_str())
    .execute(&mut *tx)
    .await?;
    written::<LineItemState>(changed.rows_affected(), &before.line_item_id)?;
    sqlx::query("INSERT INTO line_item_versions VALUES ($1, $2, $3)")
        .bind(before.line_item_id.clone())
        .bind(before.revision)
        .bind(to_json(before)?)
        .execute(tx)
        .await?;
    Ok(after)
}

/// What the write of which `item` is the result found; nothing when it created the line item.
pub(super) async fn previous(tx: &mut AnyConnection, item: &LineItem) -> Result<Option<LineItem>, StoreError> {
    let select = "SELECT body FROM line_item_versions WHERE line_item_id = $1 AND revision = $2";
    let query = sqlx::query_as(select).bind(item.line_item_id.clone()).bind(item.revision - 1);
    let body: Option<(String,)> = query.fetch_optional(tx).await?;
    body.map(|(body,)| json(&body)).transpose()
}

/// A line item that must be there.
pub(super) async fn load(tx: &mut AnyConnection, id: &str) -> Result<LineItem, StoreError> {
    read(&existing(tx, LineItemState::ENTITY, SELECT, id).await?)
}

/// A line item from its row.
pub(super) fn read(row: &AnyRow) -> Result<LineItem, StoreError> {
    let location: Option<String> = row.try_get("location")?;
    let location: Option<Location> = location.as_deref().map(json).transpose()?;
    Ok(LineItem {
        line_item_id: row.try_get("line_item_id")?,
        execution_context_id: row.try_get("execution_context_id")?,
        user_id: row.try_get("user_id")?,
        payment_group_id: row.try_get("payment_group_id")?,
        plan_id: row.try_get("plan_id")?,
        slot_id: row.try_get("slot_id")?,
        location,
        amounts: Amounts::new(money(row, "base")?, money(row, "surge")?, money(row, "tip")?, money(row, "discount")?)?,
        requirement_id: row.try_get("requirement_id")?,
        state: stored_state(row, "state")?,
        revision: row.try_get("revision")?,
        written_by: row.try_get("written_by")?,
    })
}
