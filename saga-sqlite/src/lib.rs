#![doc = include_str!("../README.md")]

mod append;
mod claim;
mod connection;
mod error;
mod fence;
mod journal;
mod line;
mod locks;
mod messages;
mod migrate;
mod outbox;
mod retention;
mod rows;
mod sql;
mod start;
mod transactional;
mod wake;

pub use fence::{Closed, Entry, Fence, Undo};
pub use journal::SqliteJournal;
pub use start::{StartInError, start_in};
pub use transactional::{Transactional, TransactionalCompensation, TransactionalStep};
