//! The nine-step initiate flow, from the request to the last event.

#![allow(clippy::unwrap_used, reason = "tests")]

mod access;
mod consumed;
mod crashes;
mod edge_cases;
mod examples;
mod matrix;
mod privacy;
mod slots;
mod world;
