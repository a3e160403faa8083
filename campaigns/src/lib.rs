//! Fault campaigns: real worker processes, a real Postgres, and real faults, under load. A run has a phase of faults
//! and one of healing, in which everything must come to its end; then a checker compares the journal, the books of
//! the participants and the notes of the clients.
//!
//! `cargo run -p campaigns -- run --class F5` runs one class, without `--class` all of them.

pub mod arena;
pub mod checker;
pub mod classes;
pub mod error;
mod gather;
pub mod ledger;
pub mod notes;
pub mod proxy;
pub mod report;
pub mod sagas;
pub mod simulation;
pub mod traffic;
pub mod worker;
pub mod workers;
