//! The participants' side: a ledger of effects that outlives every worker, refuses a key that was closed, and
//! answers a key that it knows as it did the first time. It fails on schedule.

mod book;
mod client;
mod faults;
mod server;

pub use book::{Anomaly, Book, Delivery, Entry, Shelf};
pub use client::{Answered, Ledger};
pub use faults::Rates;
pub use server::LedgerServer;

use std::collections::BTreeMap;

use saga_core::{Epoch, IdempotencyKey, SagaId, StepName};
use serde::{Deserialize, Serialize};

/// What an effect touches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Resource {
    /// Goods are set aside.
    Reservation,
    /// Goods that were set aside are sold.
    Sale,
    /// Money is held.
    Hold,
    /// Money that was held is taken.
    Capture,
    /// Somebody works on shared entities, under their locks.
    Shelf,
    /// Something else.
    Other,
}

/// What goes wrong with a saga's calls, beside what goes wrong at random.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Script {
    /// Nothing.
    #[default]
    Fine,
    /// The last step that can be refused is.
    Declined,
    /// No call of the pivot is ever answered; some have their effect.
    PivotSilent,
    /// No call of the first step is ever answered; some have their effect, and some have it late.
    FirstSilent,
    /// One compensation never works: the saga ends up waiting for a human.
    UndoRefused,
}

/// One attempt to have an effect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Apply {
    /// The saga.
    pub saga: SagaId,
    /// Its step.
    pub step: StepName,
    /// The key under which it is asked for.
    pub key: IdempotencyKey,
    /// The worker's fencing token.
    pub epoch: Epoch,
    /// What it touches.
    pub resource: Resource,
    /// How much of it.
    pub amount: i64,
    /// The entities that the saga has locked, with their tokens.
    pub tokens: BTreeMap<String, u64>,
    /// What is to go wrong.
    pub script: Script,
}

/// One attempt to undo an effect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Undo {
    /// The saga.
    pub saga: SagaId,
    /// Its step.
    pub step: StepName,
    /// The key under which the effect was asked for.
    pub key: IdempotencyKey,
    /// The key of the undoing itself.
    pub undo_key: IdempotencyKey,
    /// What is to go wrong.
    pub script: Script,
}

/// What the ledger is asked.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Ask {
    Apply(Apply),
    Undo(Undo),
    /// Did it happen? If not, it must not from now on.
    Close {
        key: IdempotencyKey,
    },
    Deliver {
        saga: SagaId,
        id: String,
        topic: String,
    },
}

/// What the ledger answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Answer {
    Done,
    Declined,
    Closed,
    Applied,
    NotApplied,
}
