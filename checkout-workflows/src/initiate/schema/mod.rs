//! What goes over the wire: requests, responses and events, named as documented.
//!
//! Objects of which the document shows all fields refuse unknown ones, so that a misspelt field is told
//! rather than ignored. Objects that it shows as `object` are open, and kept as they came.

mod call;
mod context;
mod decimal;
mod event;
mod open;
mod request;
mod response;

pub use call::{Call, MalformedRequest};
pub use context::{ExecutionContext, ExecutionContextStatus, ReferenceId, StepContext, StepContextStatus, TaskName};
pub use decimal::{Decimal, DecimalError};
pub use event::{
    Envelope, EventHeaders, EventName, HeaderError, LineItemsConfirmed, LineItemsUpdated,
    PaymentCollectionRequirementFailed, PaymentCollectionRequirementSuccess,
};
pub use open::OpenObject;
pub use request::{
    BookedSlot, CategoryData, Coupon, CreatedLineItem, Device, Dimensions, ExistingLineItem, InitialPreferences,
    InitiateCheckoutRequest, Invoice, JourneyContext, JourneyType, KeyRef, LineItems, MandateInfo, MandatePreference,
    MandateReferenceType, OnlinePayment, PaymentIntent, PaymentPreferences, Payments, Plan, PlanPreferences,
    Preferences, Pricing, RoutinePreference, Routines, SlotRef, SourceContext, SummaryComponent, SummaryComponents,
    Tip, UpdatedLineItem, UpdationContext, UserType,
};
pub use response::{
    ErrorBody, ErrorResponse, InitiateCheckoutAccepted, InitiateCheckoutResponse, LineItemResult, LineItemResults,
    PaymentDetails, SdkParams, VendorTransactionInfo,
};
