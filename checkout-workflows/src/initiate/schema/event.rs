//! The events that the flow produces and consumes.

use serde::{Deserialize, Serialize};

use super::decimal::Decimal;
use super::response::LineItemResult;
use crate::money::Currency;

/// The events, which are topics of the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum EventName {
    /// Produced: line items were written, and are not paid yet.
    LineItemsUpdated,
    /// Produced and consumed: line items are paid, or need no payment.
    LineItemsConfirmed,
    /// Consumed: the customer has paid.
    PaymentCollectionRequirementSuccess,
    /// Consumed: the customer has not paid, and will not.
    PaymentCollectionRequirementFailed,
}

impl EventName {
    /// The name, which is the topic's as well.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::LineItemsUpdated => "line_items_updated",
            Self::LineItemsConfirmed => "line_items_confirmed",
            Self::PaymentCollectionRequirementSuccess => "payment_collection_requirement_success",
            Self::PaymentCollectionRequirementFailed => "payment_collection_requirement_failed",
        }
    }
}

/// An event and its headers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Envelope<P> {
    /// Which event.
    pub event: EventName,
    /// The headers.
    pub headers: EventHeaders,
    /// What it tells.
    pub payload: P,
}

/// The headers of every event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct EventHeaders {
    /// The tenant.
    pub tenant: String,
    /// The city's key.
    pub city: String,
    /// The request that led to it.
    pub request_id: String,
    /// The same for every delivery of the event: consumers take it once.
    pub idempotency_key: String,
}

/// Headers that are none of an event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the header {name} is missing or empty")]
pub struct HeaderError {
    /// The header.
    pub name: &'static str,
}

impl EventHeaders {
    /// The headers by name.
    #[must_use]
    pub fn pairs(&self) -> [(&'static str, &str); 4] {
        [
            ("tenant", &self.tenant),
            ("city", &self.city),
            ("requestId", &self.request_id),
            ("idempotencyKey", &self.idempotency_key),
        ]
    }

    /// The headers from what a bus delivers; upper and lower case are the same in names.
    ///
    /// # Errors
    /// When one is missing or empty.
    pub fn from_pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, HeaderError> {
        let pairs: Vec<(&str, &str)> = pairs.into_iter().collect();
        let get = |name: &'static str| {
            let found = pairs.iter().find(|(key, value)| key.eq_ignore_ascii_case(name) && !value.is_empty());
            found.map(|(_, value)| (*value).to_owned()).ok_or(HeaderError { name })
        };
        Ok(Self {
            tenant: get("tenant")?,
            city: get("city")?,
            request_id: get("requestId")?,
            idempotency_key: get("idempotencyKey")?,
        })
    }
}

/// What `line_items_updated` tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct LineItemsUpdated {
    /// The execution.
    pub execution_context_id: String,
    /// The checkout order.
    pub checkout_order_id: String,
    /// Whose they are.
    pub user_id: String,
    /// The payment groups.
    pub payment_group_ids: Vec<String>,
    /// New line items.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub created: Vec<LineItemResult>,
    /// Changed ones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub updated: Vec<LineItemResult>,
}

/// What `line_items_confirmed` tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct LineItemsConfirmed {
    /// The execution.
    pub execution_context_id: String,
    /// The checkout order.
    pub checkout_order_id: String,
    /// Whose they are.
    pub user_id: String,
    /// The line items.
    pub line_item_ids: Vec<String>,
    /// What paid for them; none for cash and when there was nothing to pay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payment_collection_requirement_id: Option<String>,
}

/// What `payment_collection_requirement_success` tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct PaymentCollectionRequirementSuccess {
    /// The requirement, which the vendor knows as the merchant's reference.
    pub payment_collection_requirement_id: String,
    /// The vendor's id of the transaction.
    pub vendor_transaction_id: String,
    /// How much was paid.
    pub amount: Decimal,
    /// In which currency.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub currency: Currency,
}

/// What `payment_collection_requirement_failed` tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct PaymentCollectionRequirementFailed {
    /// The requirement, which the vendor knows as the merchant's reference.
    pub payment_collection_requirement_id: String,
    /// Why, for programs, for example `INSUFFICIENT_FUNDS`.
    pub code: String,
    /// Why, for people.
    pub reason: String,
}
