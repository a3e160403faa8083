#![doc = include_str!("../README.md")]

mod append;
mod connection;
mod error;
mod journal;
mod messages;
mod migrate;
mod rows;
mod sql;
mod start;
mod wake;

pub use journal::SqliteJournal;
pub use start::{StartInError, start_in};
