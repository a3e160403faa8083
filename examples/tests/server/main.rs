//! The server of the initiate flow, over real HTTP.

#![allow(clippy::unwrap_used, reason = "tests")]

mod answers;
mod events;
mod fixture;
mod lifecycle;
mod operation;
mod runbook;
mod tokens;
mod webhooks;
