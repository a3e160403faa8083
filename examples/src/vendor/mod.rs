//! A stand-in for the payment vendor of the initiate flow, over HTTP: it speaks what `HttpVendor` asks for,
//! and posts its webhooks. As a process of its own it outlives the servers that call it.

mod plan;
mod server;
mod stand_in;
mod webhooks;

pub use plan::{Customer, Plan, WebhookPlan};
pub use server::{router, serve};
pub use stand_in::{Booked, StandIn};
