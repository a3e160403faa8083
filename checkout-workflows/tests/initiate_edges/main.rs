//! The edges of the initiate flow: what comes in, what goes out, and what is refused.

#![allow(clippy::unwrap_used, reason = "tests")]

mod access;
mod classify;
mod fixture;
mod http_vendor;
mod pii;
mod policy;
mod schema;
mod validate;
mod vendor;
mod webhook;
