//! The campaign against the initiate server: hundreds of checkouts, with payments and webhooks of every kind, while the
//! server is killed again and again; and then an audit from the outside.
//!
//! The vendor, and what takes the events, live in the campaign's own process and survive. The server is this
//! program with another subcommand.

mod audit;
mod events;
mod report;
mod run;
mod scenario;
mod server;
mod traffic;

pub use report::{Report, table};
pub use run::{Settings, run};
pub use server::{ServerArgs, serve};

/// Anything that stops the campaign.
pub type CampaignError = Box<dyn std::error::Error + Send + Sync>;
