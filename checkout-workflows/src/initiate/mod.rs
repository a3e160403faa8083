//! The nine-step `orchestration.checkout.initiate` flow of a services marketplace.

pub mod checkout;
pub mod classify;
pub mod consumed;
pub mod facts;
pub mod flags;
pub mod invoice;
mod kept;
pub mod late_payment;
pub mod line_items_confirmed;
#[cfg(feature = "openapi")]
pub mod openapi;
pub mod pii;
pub mod policy;
mod progress;
pub mod repeat_program;
pub mod role;
pub mod schema;
pub mod sealed_request;
pub mod service;
mod step;
pub mod store;
pub mod validate;
pub mod vendor;
pub mod webhook;
