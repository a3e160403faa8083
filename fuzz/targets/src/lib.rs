//! What no bytes may break. Each target is a function that panics when a property does not hold; cargo-fuzz looks for
//! bytes that make it (`cargo xtask fuzz`), and a test replays those in `fuzz/seeds` on every run of the tests.

#![allow(clippy::unwrap_used, clippy::missing_panics_doc, reason = "a target fails by a panic")]

pub mod history;
pub mod initiate;
pub mod messages;
pub mod money;
pub mod outline;
pub mod records;
pub mod sealed;
pub mod signals;
pub mod webhook;
pub mod wire;
pub mod world;

/// A target.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, and that of the folder with its seeds.
    pub name: &'static str,
    /// What is done with the bytes.
    pub run: fn(&[u8]),
}

/// All targets.
pub const TARGETS: [Target; 10] = [
    Target { name: "records", run: records::run },
    Target { name: "messages", run: messages::run },
    Target { name: "sealed", run: sealed::run },
    Target { name: "history", run: history::run },
    Target { name: "signals", run: signals::run },
    Target { name: "outline", run: outline::run },
    Target { name: "initiate", run: initiate::run },
    Target { name: "webhook", run: webhook::run },
    Target { name: "money", run: money::run },
    Target { name: "wire", run: wire::run },
];

/// The lines of the bytes as texts, for targets that take several.
pub(crate) fn lines(bytes: &[u8]) -> Option<Vec<&str>> {
    Some(std::str::from_utf8(bytes).ok()?.split('\n').collect())
}
