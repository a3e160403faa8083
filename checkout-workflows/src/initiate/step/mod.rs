//! The steps of the initiate flow, each with its compensation beside it.

pub(crate) mod answer;
pub(crate) mod confirm;
pub(crate) mod context;
pub(crate) mod line_items;
pub(crate) mod opt_ins;
pub(crate) mod orders;
pub(crate) mod payment;
pub(crate) mod preferences;

use saga_core::{StepContext, StepError};
use serde_json::Value;

use super::checkout::{InitiateServices, Initiation};
use super::pii::RowIdentity;
use super::schema::OpenObject;
use super::store::Location;

/// The key of what the step itself does, as the stores take it.
fn key(cx: &StepContext) -> String {
    cx.step_key().to_string()
}

/// The key of one part of what the operation does.
fn part(cx: &StepContext, part: &str) -> String {
    cx.key().part(part).to_string()
}

/// A location, as it is stored: sealed where the flag says so.
fn location(
    s: &InitiateServices,
    begin: &Initiation,
    table: &str,
    row: &str,
    location: Option<&OpenObject>,
) -> Result<Option<Location>, StepError> {
    let Some(location) = location else { return Ok(None) };
    if !begin.flags.line_item_pii_data_encryption {
        return Ok(Some(Location::Plain(Value::Object(location.0.clone()))));
    }
    let text = Value::Object(location.0.clone()).to_string();
    let sealed = s.pii.seal(&text, &RowIdentity { table, column: "location", row });
    sealed.map(Location::Sealed).map(Some).map_err(|error| StepError::rejected(error.to_string()))
}
