//! The participant: a small ledger in the sweep's own process, which no fault touches.

mod book;
mod client;
mod server;

pub use book::{Book, End};
pub use client::{Ledger, Trouble};
pub use server::{LATE, Server};

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// A step of the checkout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ValueEnum)]
pub enum Op {
    Authorize,
    CreateOrder,
    Capture,
}

impl Op {
    /// In their order.
    pub const ALL: [Self; 3] = [Self::Authorize, Self::CreateOrder, Self::Capture];

    /// What the engines call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Authorize => "authorize",
            Self::CreateOrder => "create-order",
            Self::Capture => "capture",
        }
    }

    /// What the engines call its compensation.
    pub fn undo_name(self) -> &'static str {
        match self {
            Self::Authorize => "void",
            Self::CreateOrder => "cancel-order",
            Self::Capture => "refund",
        }
    }
}

/// What a worker says to the ledger.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Ask {
    /// Have this effect, under this key.
    Perform { op: Op, key: String },
    /// Undo what happened under this key. From then on nothing happens under it.
    Undo { op: Op, key: String },
    /// Did it happen? If not, it never will.
    Probe { op: Op, key: String },
    /// What became of the saga, as its engine told the program.
    Told { end: End, text: String },
}

/// A line from a worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Line {
    worker: u32,
    ask: Ask,
}

/// What the ledger says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Said {
    Done,
    Declined,
    Refused,
    Happened,
    NotHappened,
}

/// A line from the ledger. Who is told to hold says that the answer came, and goes on when told so.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Answer {
    said: Said,
    hold: bool,
}
