//! The stores of the initiate flow keep their promises, on SQLite and on Postgres.

#![allow(clippy::unwrap_used, reason = "tests")]

mod contexts;
mod keys;
mod payments;
mod states;
mod versions;
mod world;
mod writers;
