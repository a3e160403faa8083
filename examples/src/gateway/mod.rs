//! A payment gateway that stands in for a real one: a process of its own with its own durable ledger,
//! idempotent by key, and with faults on request.

mod faults;
mod ledger;
mod server;

pub use faults::Faults;
pub use ledger::{AuthorizationRow, Ledger, LedgerError};
pub use server::serve;
