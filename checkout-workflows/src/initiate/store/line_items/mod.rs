//! Line items: what is sold. Every write keeps the version that it found, so that it can be restored.

mod item;
mod rows;

use sqlx::AnyConnection;

use super::database::{Database, row, rows as select_rows};
use super::error::StoreError;
use super::key::{Compensation, once, undo};
use super::state::{Stored as _, allowed};
pub use item::{Amounts, LineItem, LineItemChange, LineItemEvent, LineItemState, NewLineItem, Upsert};
use rows::{SELECT, insert, load, previous, read, replace};

/// The store of line items.
#[derive(Clone, Debug)]
pub struct LineItems {
    database: Database,
}

const UPSERT: &str = "line_items.upsert";

impl LineItems {
    pub(super) fn new(database: &Database) -> Self {
        Self { database: database.clone() }
    }

    /// Creates and changes line items, all or none, and answers with them in the order of their ids.
    ///
    /// # Errors
    /// [`StoreError::Exists`] when one to be created is there already, [`StoreError::Illegal`] when one to be
    /// changed is cancelled, [`StoreError::NotFound`], [`StoreError::Conflict`], [`StoreError::Undone`], or
    /// the database's.
    pub async fn upsert(&self, key: &str, upsert: Upsert) -> Result<Vec<LineItem>, StoreError> {
        let written_by = key.to_owned();
        once(&self.database, UPSERT, key, |tx| Box::pin(async move { write(tx, &written_by, upsert).await })).await
    }

    /// Takes back what was upserted under the step's key, and refuses it when it comes later: created line
    /// items are cancelled, changed ones are what they were before. One that was cancelled in the
    /// meantime stays so. Several writes to one line item are taken back in the opposite order.
    ///
    /// # Errors
    /// [`StoreError::Changed`] when another write came after it and stands, or the database's.
    pub async fn undo_upsert(&self, step_key: &str, compensation_key: &str) -> Result<Compensation, StoreError> {
        let (step, by) = (step_key.to_owned(), compensation_key.to_owned());
        undo(&self.database, UPSERT, step_key, compensation_key, move |tx, mut items: Vec<LineItem>| {
            Box::pin(async move {
                // In the order of the ids, as all writers; a line item that was changed twice, backwards.
                items.sort_by(|a, b| a.line_item_id.cmp(&b.line_item_id).then(b.revision.cmp(&a.revision)));
                for item in items {
                    restore(tx, &item, &step, &by).await?;
                }
                Ok(())
            })
        })
        .await
    }

    /// The line items are confirmed, all or none.
    ///
    /// # Errors
    /// [`StoreError::Illegal`] when one is cancelled, or was confirmed by another operation; or the database's.
    pub async fn confirm(&self, key: &str, line_item_ids: Vec<String>) -> Result<Vec<LineItem>, StoreError> {
        self.apply("line_items.confirm", key, line_item_ids, LineItemEvent::Confirm).await
    }

    /// The line items are cancelled, all or none.
    ///
    /// # Errors
    /// [`StoreError::Illegal`] when one was cancelled by another operation, or the database's.
    pub async fn cancel(&self, key: &str, line_item_ids: Vec<String>) -> Result<Vec<LineItem>, StoreError> {
        self.apply("line_items.cancel", key, line_item_ids, LineItemEvent::Cancel).await
    }

    /// A line item.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn get(&self, line_item_id: &str) -> Result<Option<LineItem>, StoreError> {
        let mut connection = self.database.connection().await?;
        row(&mut connection, SELECT, line_item_id).await?.as_ref().map(read).transpose()
    }

    /// The line items that were created for an execution context.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn of_context(&self, execution_context_id: &str) -> Result<Vec<LineItem>, StoreError> {
        let mut connection = self.database.connection().await?;
        let select = "SELECT * FROM line_items WHERE execution_context_id = $1 ORDER BY line_item_id";
        select_rows(&mut connection, select, execution_context_id).await?.iter().map(read).collect()
    }

    async fn apply(
        &self,
        operation: &'static str,
        key: &str,
        mut ids: Vec<String>,
        event: LineItemEvent,
    ) -> Result<Vec<LineItem>, StoreError> {
        ids.sort();
        ids.dedup();
        let written_by = key.to_owned();
        once(&self.database, operation, key, move |tx| {
            Box::pin(async move {
                let mut items = Vec::with_capacity(ids.len());
                for id in ids {
                    items.push(advance(tx, &written_by, &id, event).await?);
                }
                Ok(items)
            })
        })
        .await
    }
}

/// In the order of the ids, so that two writers cannot deadlock.
async fn write(tx: &mut AnyConnection, key: &str, upsert: Upsert) -> Result<Vec<LineItem>, StoreError> {
    let Upsert { mut created, mut updated } = upsert;
    created.sort_by(|a, b| a.line_item_id.cmp(&b.line_item_id));
    updated.sort_by(|a, b| a.line_item_id.cmp(&b.line_item_id));
    let mut items = Vec::with_capacity(created.len() + updated.len());
    for new in created {
        items.push(insert(tx, new.into_item(key)).await?);
    }
    for change in updated {
        let before = load(tx, &change.line_item_id).await?;
        let state = allowed(before.state.next(LineItemEvent::Update), &before.line_item_id)?;
        items.push(replace(tx, &before, LineItem { state, ..change.apply_to(before.clone()) }, key).await?);
    }
    items.sort_by(|a, b| a.line_item_id.cmp(&b.line_item_id));
    Ok(items)
}

async fn advance(tx: &mut AnyConnection, key: &str, id: &str, event: LineItemEvent) -> Result<LineItem, StoreError> {
    let before = load(tx, id).await?;
    let state = allowed(before.state.next(event), id)?;
    replace(tx, &before, LineItem { state, ..before.clone() }, key).await
}

/// Takes back one write, of which `item` is the result.
async fn restore(tx: &mut AnyConnection, item: &LineItem, step_key: &str, by: &str) -> Result<(), StoreError> {
    let now = load(tx, &item.line_item_id).await?;
    // A cancellation is final, and wins.
    if now.state == LineItemState::Cancelled {
        return Ok(());
    }
    if now.written_by != step_key {
        let (id, written_by) = (now.line_item_id, now.written_by);
        return Err(StoreError::Changed { entity: LineItemState::ENTITY, id, written_by });
    }
    match previous(tx, item).await? {
        Some(before) => {
            let written_by = before.written_by.clone();
            replace(tx, &now, before, &written_by).await?;
        }
        None => {
            advance(tx, by, &now.line_item_id, LineItemEvent::Cancel).await?;
        }
    }
    Ok(())
}
