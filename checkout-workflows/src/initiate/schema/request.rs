//! The request of `POST /orchestration/checkout/initiate`.

use serde::{Deserialize, Serialize};

use super::decimal::Decimal;
use super::open::OpenObject;

/// What a client asks for: line items to create, to change or to keep, and how they are paid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct InitiateCheckoutRequest {
    /// Whose checkout it is.
    pub user_id: String,
    /// As what the user acts.
    pub user_type: UserType,
    /// From which device; it decides flags.
    pub device: Device,
    /// City and category.
    pub dimensions: Dimensions,
    /// What is bought, changed or kept.
    pub line_items: LineItems,
    /// Where the checkout was begun.
    pub source_context: SourceContext,
    /// The customer journey that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub journey_context: Option<JourneyContext>,
    /// The coupon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pricing: Option<Pricing>,
    /// Whether it is paid now or later.
    pub payments: Payments,
    /// What the client was shown as the bill.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invoice: Option<Invoice>,
    /// How it is paid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payment_preferences: Option<PaymentPreferences>,
    /// How the plan's routines go on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan_preferences: Option<PlanPreferences>,
    /// A rehearsal: nothing is charged.
    #[serde(default)]
    pub is_mock: bool,
    /// The execution that this request begins or resumes; made when none is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution_context_id: Option<String>,
    /// What the catalogue says of the categories.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub categories_data: Vec<CategoryData>,
}

/// As what a user acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum UserType {
    /// Buys for himself.
    Customer,
    /// Provides the service.
    Partner,
}

/// A device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Device {
    /// `android`, `ios` or `web`.
    pub os: String,
    /// The version of it.
    pub version: String,
}

/// Where and what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Dimensions {
    /// The city.
    pub city: KeyRef,
    /// The category of service.
    pub category: KeyRef,
}

/// A reference by key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KeyRef {
    /// The key.
    pub key: String,
}

/// The line items, by what becomes of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LineItems {
    /// New ones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub created: Vec<CreatedLineItem>,
    /// Existing ones that change.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub updated: Vec<UpdatedLineItem>,
    /// Existing ones that stay, and are paid for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub existing: Vec<ExistingLineItem>,
}

/// A new line item. Its id is the client's choice, which makes creating it idempotent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CreatedLineItem {
    /// The id.
    pub line_item_id: String,
    /// What is bought.
    pub plan: Plan,
    /// The wishes that it begins with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initial_post_selling_preferences: Option<InitialPreferences>,
}

/// A plan of the catalogue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Plan {
    /// The id.
    pub plan_id: String,
}

/// The wishes that a line item begins with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct InitialPreferences {
    /// Where the service takes place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<OpenObject>,
    /// When it takes place. It is booked, and its fee is added.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<SlotRef>,
}

/// A slot of the catalogue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SlotRef {
    /// The id.
    pub slot_id: String,
}

/// A line item that changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UpdatedLineItem {
    /// The id.
    pub line_item_id: String,
    /// What changes.
    pub preferences: Preferences,
}

/// Changed wishes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Preferences {
    /// Where the service takes place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<OpenObject>,
    /// When it takes place, from now on. What its fee is more than that of the slot before is added.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<SlotRef>,
    /// A tip, given after booking too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tip: Option<Tip>,
}

/// A tip.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Tip {
    /// How much.
    pub amount: Decimal,
}

/// A line item that stays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExistingLineItem {
    /// The id.
    pub line_item_id: String,
}

/// Where the checkout was begun, for example `CUSTOMER_JOURNEY` or `OPT_IN`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SourceContext {
    /// The id there.
    pub id: String,
    /// The type.
    #[serde(rename = "type")]
    pub kind: String,
}

/// The customer journey.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct JourneyContext {
    /// The id.
    pub id: String,
    /// The type.
    #[serde(rename = "type")]
    pub kind: JourneyType,
}

/// The types of journey.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum JourneyType {
    /// A customer's.
    CustomerJourney,
}

/// What changes the price.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Pricing {
    /// The coupon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coupon: Option<Coupon>,
}

/// A coupon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Coupon {
    /// What the customer typed.
    pub code: String,
    /// The session that keeps it for this customer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock_session_id: Option<String>,
}

/// Whether it is paid now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Payments {
    /// The user's intent.
    pub user_payment_intent: PaymentIntent,
}

/// When the user pays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum PaymentIntent {
    /// At once.
    PayNow,
    /// Later, as the plan allows.
    PayLater,
}

/// What the client was shown as the bill.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Invoice {
    /// Charges and discounts on top of the line items' prices.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary_components: Option<SummaryComponents>,
    /// Whether open arrears are paid with it.
    #[serde(default)]
    pub should_attach_arrears: bool,
    /// What the arrears are for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arrear_context: Option<OpenObject>,
    /// How an edited invoice replaces the old one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edit_strategy: Option<String>,
}

/// Charges and discounts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SummaryComponents {
    /// What is added.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub charges: Vec<SummaryComponent>,
    /// What is taken off.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub discounts: Vec<SummaryComponent>,
}

/// A charge or a discount.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SummaryComponent {
    /// The type, for example `SURGE_SLOT_FEE` or `CREDIT`.
    #[serde(rename = "type")]
    pub kind: String,
    /// How much; never negative.
    pub value: Decimal,
}

/// How it is paid.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PaymentPreferences {
    /// Cash on delivery.
    #[serde(default)]
    pub is_cash_payment: bool,
    /// The online method.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selected_online_payment_info: Option<OnlinePayment>,
}

/// An online payment method.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OnlinePayment {
    /// The vendor's token for it.
    pub payment_method_identifier: String,
    /// The mandate to charge, or to set up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mandate_info: Option<MandateInfo>,
}

/// A mandate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MandateInfo {
    /// What it is for.
    pub preference: MandatePreference,
}

/// What a mandate is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MandatePreference {
    /// The id.
    pub reference_id: String,
    /// The type.
    pub reference_type: MandateReferenceType,
}

/// What mandates are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum MandateReferenceType {
    /// An opt-in.
    OptIn,
}

/// How the plan goes on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PlanPreferences {
    /// Its routines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub routines: Option<Routines>,
}

/// Routines of a plan.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Routines {
    /// One for each routine.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub preferences: Vec<RoutinePreference>,
    /// How changes are applied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updation_context: Option<UpdationContext>,
}

/// One routine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RoutinePreference {
    /// The opt-in that it replaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old_optin_context: Option<OpenObject>,
}

/// How changes are applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct UpdationContext {
    /// The strategy.
    pub strategy: String,
}

/// What the catalogue says of one category.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CategoryData {
    /// The category.
    pub category_key: String,
    /// Its prices.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pricing: Option<OpenObject>,
}

impl InitiateCheckoutRequest {
    /// Whether it is paid in cash, on delivery.
    #[must_use]
    pub fn is_cash(&self) -> bool {
        self.payment_preferences.as_ref().is_some_and(|preferences| preferences.is_cash_payment)
    }

    /// The online method, if one was chosen.
    #[must_use]
    pub fn online_payment(&self) -> Option<&OnlinePayment> {
        self.payment_preferences.as_ref()?.selected_online_payment_info.as_ref()
    }

    /// The coupon, if there is one.
    #[must_use]
    pub fn coupon(&self) -> Option<&Coupon> {
        self.pricing.as_ref()?.coupon.as_ref()
    }

    /// What is added to the line items' prices.
    #[must_use]
    pub fn charges(&self) -> &[SummaryComponent] {
        self.components().map_or(&[], |components| &components.charges)
    }

    /// What is taken off.
    #[must_use]
    pub fn discounts(&self) -> &[SummaryComponent] {
        self.components().map_or(&[], |components| &components.discounts)
    }

    /// Whether open arrears are paid with it.
    #[must_use]
    pub fn attaches_arrears(&self) -> bool {
        self.invoice.as_ref().is_some_and(|invoice| invoice.should_attach_arrears)
    }

    fn components(&self) -> Option<&SummaryComponents> {
        self.invoice.as_ref()?.summary_components.as_ref()
    }
}

/// A slot that a request books.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BookedSlot<'r> {
    /// For which line item.
    pub line_item_id: &'r str,
    /// Which slot.
    pub slot_id: &'r str,
    /// Where the request says so: a JSON pointer.
    pub pointer: String,
}

impl LineItems {
    /// The ids of all, in the order of the document: created, updated, existing.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        let created = self.created.iter().map(|item| &item.line_item_id);
        let updated = self.updated.iter().map(|item| &item.line_item_id);
        let existing = self.existing.iter().map(|item| &item.line_item_id);
        created.chain(updated).chain(existing).map(String::as_str)
    }

    /// The slots that are booked, each with the line item that books it and the place in the document where it
    /// is named.
    pub fn slots(&self) -> impl Iterator<Item = BookedSlot<'_>> {
        let created = self.created.iter().enumerate().filter_map(|(nth, item)| {
            let slot = item.initial_post_selling_preferences.as_ref()?.slot.as_ref()?;
            let pointer = format!("/lineItems/created/{nth}/initialPostSellingPreferences/slot/slotId");
            Some(BookedSlot { line_item_id: &item.line_item_id, slot_id: &slot.slot_id, pointer })
        });
        let updated = self.updated.iter().enumerate().filter_map(|(nth, item)| {
            let slot = item.preferences.slot.as_ref()?;
            let pointer = format!("/lineItems/updated/{nth}/preferences/slot/slotId");
            Some(BookedSlot { line_item_id: &item.line_item_id, slot_id: &slot.slot_id, pointer })
        });
        created.chain(updated)
    }

    /// Whether there is none at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.created.is_empty() && self.updated.is_empty() && self.existing.is_empty()
    }
}
