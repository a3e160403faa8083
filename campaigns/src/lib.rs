//! Fault campaigns.

pub mod ledger;
pub mod proxy;
pub mod sagas;
pub mod worker;
