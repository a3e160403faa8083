//! The pure parts: the transition table, the grammar of definitions, and the machine driven through
//! random sagas.

#![allow(clippy::unwrap_used, reason = "tests")]

mod corrupt;
mod decisions;
mod grammar;
mod property;
mod readings;
mod support;
mod table;
mod tidy;
