#![doc = include_str!("../README.md")]

mod append;
mod connection;
mod error;
mod fence;
mod journal;
mod messages;
mod migrate;
mod rows;
mod sql;
mod start;
mod wake;

pub use fence::{Entry, Fence, Undo};
pub use journal::SqliteJournal;
pub use start::{StartInError, start_in};
