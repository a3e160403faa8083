//! The engine's promises, on the journal in memory and on virtual time.

#![allow(clippy::unwrap_used, reason = "tests")]

mod alerts;
mod attempts;
mod bad_input;
mod check;
mod children;
mod dead_letters;
mod deadlines;
mod dependencies;
mod encrypted;
mod fan_out;
mod intercepting;
mod journal_faults;
mod keys;
mod late;
mod locking;
mod observed;
mod outages;
mod panics;
mod prompt;
mod publishing;
mod retry_now;
mod rooms;
mod schedules;
mod signals;
mod slots;
mod stopping;
mod support;
mod takeover;
mod turning_back;
mod vocabulary;
mod waiting;
