//! Post-selling preferences, where and when, and which line items they are for.

use serde::{Deserialize, Serialize};
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, Row as _};

use super::database::{Database, existing, json, row, rows, to_json};
use super::error::{IllegalTransition, StoreError};
use super::key::{Compensation, once, undo};
use super::location::Location;
use super::state::{Stored as _, allowed, compare_and_set, illegal, stored, stored_state};

stored! {
    /// Where a preference stands.
    PreferenceState of "preference" {
        /// It holds.
        Created = "CREATED",
        /// Taken back.
        Cancelled = "CANCELLED",
    }
}

stored! {
    /// What can happen to a preference.
    PreferenceEvent of "preference" {
        /// It is mapped to a line item; its state stays.
        Map = "map",
        /// It is taken back.
        Cancel = "cancel",
    }
}

impl PreferenceState {
    /// What the event makes of it.
    ///
    /// # Errors
    /// When it does not allow the event.
    pub fn next(self, event: PreferenceEvent) -> Result<Self, IllegalTransition> {
        match (self, event) {
            (Self::Created, PreferenceEvent::Map) => Ok(Self::Created),
            (Self::Created, PreferenceEvent::Cancel) => Ok(Self::Cancelled),
            (Self::Cancelled, PreferenceEvent::Map | PreferenceEvent::Cancel) => illegal(self, event),
        }
    }
}

/// A preference to be created.
#[derive(Clone, Debug)]
pub struct NewPreference {
    /// The execution context.
    pub execution_context_id: String,
    /// Whose it is.
    pub user_id: String,
    /// Where.
    pub location: Option<Location>,
    /// All else, JSON.
    pub details: serde_json::Value,
}

/// A preference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Preference {
    /// Its id.
    pub preference_id: String,
    /// The execution context.
    pub execution_context_id: String,
    /// Whose it is.
    pub user_id: String,
    /// Where.
    pub location: Option<Location>,
    /// All else, JSON.
    pub details: serde_json::Value,
    /// Where it stands.
    pub state: PreferenceState,
}

/// A preference for a line item.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PreferenceMapping {
    /// The preference.
    pub preference_id: String,
    /// The line item.
    pub line_item_id: String,
}

/// The store of preferences and their mapping.
#[derive(Clone, Debug)]
pub struct Preferences {
    database: Database,
}

const CREATE: &str = "preferences.create";
const MAP: &str = "preferences.map";
const UPDATE: &str = "UPDATE preferences SET state = $1 WHERE preference_id = $2 AND state = $3";
const SELECT: &str = "SELECT * FROM preferences WHERE preference_id = $1";

impl Preferences {
    pub(super) fn new(database: &Database) -> Self {
        Self { database: database.clone() }
    }

    /// Creates the preferences, all or none, and answers with them in the same order.
    ///
    /// # Errors
    /// [`StoreError::Undone`], or the database's.
    pub async fn create(&self, key: &str, new: Vec<NewPreference>) -> Result<Vec<Preference>, StoreError> {
        let made_by = key.to_owned();
        once(&self.database, CREATE, key, move |tx| {
            Box::pin(async move {
                let mut made = Vec::with_capacity(new.len());
                for (nth, preference) in new.into_iter().enumerate() {
                    made.push(insert(tx, format!("pref_{made_by}_{nth}"), preference).await?);
                }
                Ok(made)
            })
        })
        .await
    }

    /// The preferences that were created under the step's key are cancelled, and refused when they come later.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn undo_create(&self, step_key: &str, compensation_key: &str) -> Result<Compensation, StoreError> {
        undo(&self.database, CREATE, step_key, compensation_key, |tx, made: Vec<Preference>| {
            Box::pin(async move {
                for preference in made {
                    advance(tx, &preference.preference_id, PreferenceEvent::Cancel).await?;
                }
                Ok(())
            })
        })
        .await
    }

    /// Maps preferences to line items, all or none, and answers with those that were not mapped before.
    ///
    /// # Errors
    /// [`StoreError::Illegal`] when a preference is cancelled, [`StoreError::NotFound`],
    /// [`StoreError::Undone`], or the database's.
    pub async fn map(
        &self,
        key: &str,
        mut mappings: Vec<PreferenceMapping>,
    ) -> Result<Vec<PreferenceMapping>, StoreError> {
        mappings.sort();
        mappings.dedup();
        let mapped_by = key.to_owned();
        once(&self.database, MAP, key, |tx| {
            Box::pin(async move {
                let mut made = Vec::with_capacity(mappings.len());
                for mapping in mappings {
                    if insert_mapping(tx, &mapping, &mapped_by).await? {
                        made.push(mapping);
                    }
                }
                Ok(made)
            })
        })
        .await
    }

    /// The mappings that were made under the step's key are cancelled, and refused when they come later.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn undo_map(&self, step_key: &str, compensation_key: &str) -> Result<Compensation, StoreError> {
        let mapped_by = step_key.to_owned();
        undo(&self.database, MAP, step_key, compensation_key, |tx, _: Vec<PreferenceMapping>| {
            Box::pin(async move {
                let cancel =
                    "UPDATE preference_line_items SET state = 'CANCELLED' WHERE mapped_by = $1 AND state = 'CREATED'";
                sqlx::query(cancel).bind(mapped_by).execute(tx).await?;
                Ok(())
            })
        })
        .await
    }

    /// A preference.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn get(&self, preference_id: &str) -> Result<Option<Preference>, StoreError> {
        let mut connection = self.database.connection().await?;
        row(&mut connection, SELECT, preference_id).await?.as_ref().map(preference).transpose()
    }

    /// The preferences of a line item.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn of_line_item(&self, line_item_id: &str) -> Result<Vec<Preference>, StoreError> {
        let mut connection = self.database.connection().await?;
        let select = "SELECT p.* FROM preferences p JOIN preference_line_items m ON m.preference_id = p.preference_id \
                      WHERE m.line_item_id = $1 AND m.state = 'CREATED' ORDER BY p.preference_id";
        rows(&mut connection, select, line_item_id).await?.iter().map(preference).collect()
    }
}

async fn insert(tx: &mut AnyConnection, id: String, new: NewPreference) -> Result<Preference, StoreError> {
    sqlx::query("INSERT INTO preferences VALUES ($1, $2, $3, $4, $5, 'CREATED')")
        .bind(id.clone())
        .bind(new.execution_context_id)
        .bind(new.user_id)
        .bind(new.location.as_ref().map(to_json).transpose()?)
        .bind(to_json(&new.details)?)
        .execute(&mut *tx)
        .await?;
    load(tx, &id).await
}

/// False when it is mapped already. The preference's row stays locked, so that it is not cancelled meanwhile.
async fn insert_mapping(tx: &mut AnyConnection, mapping: &PreferenceMapping, by: &str) -> Result<bool, StoreError> {
    advance(tx, &mapping.preference_id, PreferenceEvent::Map).await?;
    let made = sqlx::query("INSERT INTO preference_line_items VALUES ($1, $2, $3, 'CREATED') ON CONFLICT DO NOTHING")
        .bind(mapping.preference_id.clone())
        .bind(mapping.line_item_id.clone())
        .bind(by.to_owned())
        .execute(tx)
        .await?;
    Ok(made.rows_affected() == 1)
}

async fn advance(tx: &mut AnyConnection, id: &str, event: PreferenceEvent) -> Result<(), StoreError> {
    let read = load(tx, id).await?.state;
    let next = allowed(read.next(event), id)?;
    compare_and_set(tx, UPDATE, id, (read, next)).await
}

async fn load(tx: &mut AnyConnection, id: &str) -> Result<Preference, StoreError> {
    preference(&existing(tx, PreferenceState::ENTITY, SELECT, id).await?)
}

fn preference(row: &AnyRow) -> Result<Preference, StoreError> {
    let location: Option<String> = row.try_get("location")?;
    Ok(Preference {
        preference_id: row.try_get("preference_id")?,
        execution_context_id: row.try_get("execution_context_id")?,
        user_id: row.try_get("user_id")?,
        location: location.as_deref().map(json).transpose()?,
        details: json(&row.try_get::<String, _>("details")?)?,
        state: stored_state(row, "state")?,
    })
}
