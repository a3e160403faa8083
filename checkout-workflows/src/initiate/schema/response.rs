//! The answers of `POST /orchestration/checkout/initiate`.

use serde::{Deserialize, Serialize};

use super::call::MalformedRequest;
use super::context::ExecutionContextStatus;
use super::decimal::Decimal;
use super::request::SourceContext;
use crate::initiate::classify::{ErrorCode, ServiceError};
use crate::initiate::role::Forbidden;
use crate::initiate::validate::{Violation, Violations};
use crate::money::{Currency, Money};

/// The checkout as far as it has come: complete, or waiting for the payment that it tells how to make.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct InitiateCheckoutResponse {
    /// The checkout order.
    pub checkout_order_id: String,
    /// What became of the line items.
    pub line_items: LineItemResults,
    /// Where the checkout was begun, as in the request.
    pub source_context: SourceContext,
    /// How it is paid; none when there is nothing to pay online.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payment_details: Option<PaymentDetails>,
    /// The execution, to ask for and to resume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution_context_id: Option<String>,
}

impl InitiateCheckoutResponse {
    /// The answer for anybody but the client that is to pay: without what it proves itself with at the vendor.
    #[must_use]
    pub fn without_client_secret(mut self) -> Self {
        let info = self.payment_details.as_mut().map(|details| &mut details.vendor_transaction_info);
        if let Some(params) = info.and_then(|info| info.process_payment_via_sdk_params.as_mut()) {
            params.client_auth_token = None;
        }
        self
    }
}

/// The answer when the checkout goes on in the background.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct InitiateCheckoutAccepted {
    /// The execution, to ask for and to resume.
    pub execution_context_id: String,
    /// How far it is.
    pub status: ExecutionContextStatus,
}

/// The line items, by what became of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct LineItemResults {
    /// New ones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub created: Vec<LineItemResult>,
    /// Changed ones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub updated: Vec<LineItemResult>,
}

/// A line item and its wishes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct LineItemResult {
    /// The line item.
    pub line_item_id: String,
    /// Its post-selling preferences, when it has any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preference_id: Option<String>,
}

/// How the checkout is paid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct PaymentDetails {
    /// What the client does at the vendor.
    pub vendor_transaction_info: VendorTransactionInfo,
}

/// What the client does at the vendor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct VendorTransactionInfo {
    /// Nothing: it is paid already, or in cash, or there is nothing to pay.
    pub skip_process_call: bool,
    /// What the vendor's SDK is called with.
    #[serde(rename = "processPaymentViaSDKParams", default, skip_serializing_if = "Option::is_none")]
    pub process_payment_via_sdk_params: Option<SdkParams>,
}

/// What the vendor's SDK is called with.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct SdkParams {
    /// The vendor.
    pub vendor_code: String,
    /// The vendor's id of the transaction.
    pub vendor_transaction_id: String,
    /// Where the vendor's page leads back to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub return_url: Option<String>,
    /// The vendor's page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redirect_url: Option<String>,
    /// What the client proves itself with. A secret: kept out of `Debug`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_auth_token: Option<String>,
    /// The payment sets up a mandate for later ones.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_mandate_setup_order: bool,
    /// How much is paid.
    pub amount: Decimal,
    /// In which currency.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub currency: Currency,
}

impl SdkParams {
    /// A transaction of this amount.
    ///
    /// # Errors
    /// See [`Decimal::from_money`].
    pub fn new(
        vendor_code: impl Into<String>,
        vendor_transaction_id: impl Into<String>,
        amount: Money,
    ) -> Result<Self, serde_json::Error> {
        Ok(Self {
            vendor_code: vendor_code.into(),
            vendor_transaction_id: vendor_transaction_id.into(),
            return_url: None,
            redirect_url: None,
            client_auth_token: None,
            is_mandate_setup_order: false,
            amount: Decimal::from_money(amount)?,
            currency: amount.currency(),
        })
    }
}

impl std::fmt::Debug for SdkParams {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SdkParams")
            .field("vendor_code", &self.vendor_code)
            .field("vendor_transaction_id", &self.vendor_transaction_id)
            .field("is_mandate_setup_order", &self.is_mandate_setup_order)
            .field("amount", &self.amount)
            .field("currency", &self.currency)
            .finish_non_exhaustive()
    }
}

impl PaymentDetails {
    /// Nothing is to be done at a vendor.
    #[must_use]
    pub fn skipped() -> Self {
        let info = VendorTransactionInfo { skip_process_call: true, process_payment_via_sdk_params: None };
        Self { vendor_transaction_info: info }
    }

    /// The client calls the vendor's SDK with these.
    #[must_use]
    pub fn via_sdk(params: SdkParams) -> Self {
        let info = VendorTransactionInfo { skip_process_call: false, process_payment_via_sdk_params: Some(params) };
        Self { vendor_transaction_info: info }
    }
}

/// What is answered instead when the checkout cannot be initiated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct ErrorResponse {
    /// The error.
    pub error: ErrorBody,
}

/// An error, for programs and for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct ErrorBody {
    /// The stable code.
    pub code: ErrorCode,
    /// What went wrong, for people.
    pub message: String,
    /// The execution, when there is one: the request may be repeated with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution_context_id: Option<String>,
    /// All that is wrong with the request.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub violations: Vec<Violation>,
}

impl ErrorResponse {
    /// An error of this code.
    #[must_use]
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { error: ErrorBody { code, message, execution_context_id: None, violations: Vec::new() } }
    }

    /// The same, of this execution.
    #[must_use]
    pub fn of_execution(mut self, execution_context_id: impl Into<String>) -> Self {
        self.error.execution_context_id = Some(execution_context_id.into());
        self
    }

    /// The HTTP status to answer.
    #[must_use]
    pub fn http_status(&self) -> u16 {
        self.error.code.http_status()
    }
}

impl From<Violations> for ErrorResponse {
    fn from(violations: Violations) -> Self {
        let mut response = Self::new(ErrorCode::ValidationFailed, "the request breaks rules");
        response.error.violations = violations.into_vec();
        response
    }
}

impl From<&MalformedRequest> for ErrorResponse {
    fn from(error: &MalformedRequest) -> Self {
        Self::new(ErrorCode::MalformedRequest, error.to_string())
    }
}

impl From<&Forbidden> for ErrorResponse {
    fn from(error: &Forbidden) -> Self {
        Self::new(ErrorCode::Forbidden, error.to_string())
    }
}

impl From<&ServiceError> for ErrorResponse {
    fn from(error: &ServiceError) -> Self {
        Self::new(error.code(), error.message())
    }
}
