//! The verifier finds each kind of damage in a journal, and nothing wrong in what the engine writes.

#![allow(clippy::unwrap_used, reason = "tests")]

mod live;
mod spoilt;
