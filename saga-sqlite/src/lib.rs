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
mod transactional;
mod wake;

pub use fence::{Closed, Entry, Fence, Undo};
pub use journal::SqliteJournal;
pub use start::{StartInError, start_in};
pub use transactional::{Transactional, TransactionalCompensation, TransactionalStep};
