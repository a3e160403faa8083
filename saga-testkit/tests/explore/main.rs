//! The kit itself: sound sagas pass, and each seeded bug is caught with the least story that shows it.

#![allow(clippy::unwrap_used, reason = "tests")]

mod bugs;
mod shop;
mod sound;
