//! The checker: what the journal says, what the ledger says, and what the clients were told, against each other.
//! It shares no code with the engine's decisions.

mod clocks;
mod effects;
mod messages;
mod promises;
mod world;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use saga_core::engine::HistoryTurn;
use saga_core::journal::SagaStatus;
use saga_core::verify::Violation;
use saga_core::{SagaId, Timestamp};

use crate::ledger::Book;
use crate::notes::Notes;

/// One saga, as the journal has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SagaFacts {
    /// Its id.
    pub id: SagaId,
    /// Its definition.
    pub definition: String,
    /// Its definition's version.
    pub version: u32,
    /// Its start key.
    pub key: String,
    /// Where it stands.
    pub status: SagaStatus,
    /// Its history.
    pub turns: Vec<HistoryTurn>,
    /// How many open dead letters it has.
    pub letters: usize,
}

/// A message that the journal keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageFacts {
    /// The definition that it was sent to.
    pub definition: String,
    /// The start key.
    pub key: String,
    /// Its id.
    pub id: String,
    /// Whether a turn has read it.
    pub read: bool,
}

/// A lease, as it was last seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseFacts {
    /// The worker's name.
    pub worker: String,
    /// When it was fenced, in microseconds since 1970 by the journal's clock.
    pub fenced_at: Option<i64>,
}

/// What the server says of itself once all workers are gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServerFacts {
    /// Connections with a transaction that nobody goes on with.
    pub idle_in_transaction: i64,
    /// Advisory locks that are held.
    pub advisory_locks: i64,
    /// Connections of workers.
    pub connections: i64,
    /// Events that are neither published nor dead.
    pub unpublished: i64,
}

/// All that the checker looks at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// What the journal's own verifier found.
    pub journal: Vec<Violation>,
    /// The sagas.
    pub sagas: Vec<SagaFacts>,
    /// The messages.
    pub messages: Vec<MessageFacts>,
    /// Which worker had which epoch.
    pub leases: BTreeMap<i64, LeaseFacts>,
    /// The participants' books.
    pub book: Book,
    /// The clients' notes.
    pub notes: Notes,
    /// The server's own state.
    pub server: ServerFacts,
    /// When the journal's clock jumped for the first time, where it was made to.
    pub first_jump: Option<Timestamp>,
    /// Where the secret was seen.
    pub leaks: Vec<String>,
}

/// Everything that is wrong; nothing, when all is well.
#[must_use]
pub fn check(facts: &Facts) -> Vec<Violation> {
    let mut found = clocks::judged(facts);
    promises::check(facts, &mut found);
    effects::check(facts, &mut found);
    messages::check(facts, &mut found);
    world::check(facts, &mut found);
    found
}
