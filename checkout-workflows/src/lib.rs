#![doc = include_str!("../README.md")]

pub mod confirm_checkout;
pub mod correlation;
pub mod initiate;
pub mod money;
pub mod payment;
pub mod pricing;
mod seeded;
pub mod shop;
mod step;

pub use confirm_checkout::{ConfirmCheckout, Confirmation, PaymentSummary, Services, confirm_checkout};
pub use money::Money;
