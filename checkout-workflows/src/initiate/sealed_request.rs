//! A request at rest: its personal data sealed, so that neither the journal nor the execution context holds
//! an address or a payment method in the clear.

use serde_json::{Map, Value};

use super::flags::FlagSet;
use super::pii::{KeyRing, PiiError, RowIdentity};
use super::schema::{InitiateCheckoutRequest, OpenObject};

/// The one field of an open object that is sealed.
const FIELD: &str = "$sealed";
const TABLE: &str = "execution_contexts";

/// Seals locations, arrear contexts, opt-in contexts and the payment method of a request, when the flag is
/// on. What is sealed already stays as it is.
///
/// # Errors
/// See [`KeyRing::seal`].
pub fn seal_request(
    request: &mut InitiateCheckoutRequest,
    execution_context_id: &str,
    ring: &KeyRing,
    flags: FlagSet,
) -> Result<(), PiiError> {
    if !flags.line_item_pii_data_encryption {
        return Ok(());
    }
    for_each(request, &mut |column, secret| {
        let row = RowIdentity { table: TABLE, column, row: execution_context_id };
        match secret {
            Secret::Object(object) if sealed_text(object).is_some() => {}
            Secret::Object(object) => {
                let text = Value::Object(std::mem::take(&mut object.0)).to_string();
                object.0 = Map::from_iter([(FIELD.to_owned(), Value::String(ring.seal(&text, &row)?))]);
            }
            Secret::Text(text) if KeyRing::is_sealed(text) => {}
            Secret::Text(text) => *text = ring.seal(text, &row)?,
        }
        Ok(())
    })
}

/// Opens what [`seal_request`] has sealed; what was never sealed stays as it is.
///
/// # Errors
/// See [`KeyRing::open`].
pub fn open_request(
    request: &mut InitiateCheckoutRequest,
    execution_context_id: &str,
    ring: &KeyRing,
) -> Result<(), PiiError> {
    for_each(request, &mut |column, secret| {
        let row = RowIdentity { table: TABLE, column, row: execution_context_id };
        match secret {
            Secret::Object(object) => {
                let Some(sealed) = sealed_text(object) else { return Ok(()) };
                object.0 = serde_json::from_str(&ring.open(sealed, &row)?).map_err(|_| PiiError::Form)?;
            }
            Secret::Text(text) if KeyRing::is_sealed(text) => *text = ring.open(text, &row)?,
            Secret::Text(_) => {}
        }
        Ok(())
    })
}

/// The sealed text of an object that holds nothing else: a client cannot keep others in the clear beside it.
fn sealed_text(object: &OpenObject) -> Option<&str> {
    let text = object.0.get(FIELD)?.as_str()?;
    (object.0.len() == 1 && KeyRing::is_sealed(text)).then_some(text)
}

enum Secret<'a> {
    Object(&'a mut OpenObject),
    Text(&'a mut String),
}

type Visit<'v> = dyn FnMut(&str, Secret<'_>) -> Result<(), PiiError> + 'v;

/// Every place of a request that holds personal data, each under a name of its own.
fn for_each(request: &mut InitiateCheckoutRequest, visit: &mut Visit<'_>) -> Result<(), PiiError> {
    let items = &mut request.line_items;
    for item in &mut items.created {
        let location = item.initial_post_selling_preferences.as_mut().and_then(|wishes| wishes.location.as_mut());
        if let Some(location) = location {
            visit(&format!("location of {}", item.line_item_id), Secret::Object(location))?;
        }
    }
    for item in &mut items.updated {
        if let Some(location) = &mut item.preferences.location {
            visit(&format!("location of {}", item.line_item_id), Secret::Object(location))?;
        }
    }
    if let Some(context) = request.invoice.as_mut().and_then(|invoice| invoice.arrear_context.as_mut()) {
        visit("arrear context", Secret::Object(context))?;
    }
    let routines = request.plan_preferences.as_mut().and_then(|plan| plan.routines.as_mut());
    for (nth, routine) in routines.into_iter().flat_map(|routines| &mut routines.preferences).enumerate() {
        if let Some(context) = &mut routine.old_optin_context {
            visit(&format!("opt-in context {nth}"), Secret::Object(context))?;
        }
    }
    let preferences = request.payment_preferences.as_mut();
    if let Some(online) = preferences.and_then(|preferences| preferences.selected_online_payment_info.as_mut()) {
        visit("payment method", Secret::Text(&mut online.payment_method_identifier))?;
    }
    Ok(())
}
