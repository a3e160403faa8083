#![doc = include_str!("../README.md")]

mod append;
mod builder;
mod connections;
mod error;
mod fence;
mod journal;
mod listen;
mod migrate;
mod outbox;
mod rows;
mod schema;
mod sql;
mod start_in;

mod transactional;

pub use builder::PostgresBuilder;
pub use fence::{Closed, Entry, Fence, Undo};
pub use journal::PostgresJournal;
pub use start_in::{StartInError, start_in};
pub use transactional::{Transactional, TransactionalCompensation, TransactionalStep};
