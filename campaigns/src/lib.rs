//! Fault campaigns.

pub mod checker;
pub mod ledger;
pub mod notes;
pub mod proxy;
pub mod sagas;
pub mod worker;
