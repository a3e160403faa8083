#![doc = include_str!("journal.md")]

mod error;
mod memory;
mod model;

use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;

pub use error::JournalError;
pub use memory::MemoryJournal;
pub use model::{
    After, Appended, Claim, ClaimOne, Claimed, DeadEvent, DeadLetter, End, EventFate, History, LetterChange,
    ListFilter, LockChange, LockEntry, Message, NewEvent, NewSaga, OutboxBatch, OutboxEvent, Received, SagaHeader,
    SagaStatus, SagaSummary, Sent, SettledEvent, Standing, StartReceipt, Stored, Turn,
};

use crate::definition::Outline;
use crate::id::{Epoch, SagaId, StepName};
use crate::machine::Mail;
use crate::time::Timestamp;

/// A worker's lease: the right to append to the sagas that name its epoch as their owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Lease {
    /// The fencing token; no other lease of this journal ever has the same.
    pub epoch: Epoch,
}

/// The storage contract. The [module documentation](self) numbers its promises, J1 to J16; the
/// contract suite of `saga-testkit` checks them on every journal.
#[async_trait]
pub trait Journal: Debug + Send + Sync + 'static {
    /// Stores the outlines of definitions that are new to the journal, and returns for each one the
    /// outline that is stored under its name and version (J11).
    async fn register(&self, outlines: &[Outline]) -> Result<Vec<Outline>, JournalError>;

    /// Grants a new lease under a new, higher epoch, and tells the journal's time (J3).
    async fn open_lease(&self, worker: &str, ttl: Duration) -> Result<(Lease, Timestamp), JournalError>;

    /// Extends the lease by `ttl` from the journal's present time, which it returns (J3).
    ///
    /// # Errors
    /// [`JournalError::Fenced`] once the lease has been fenced or closed. A lease that has lapsed but
    /// was not fenced is extended.
    async fn renew_lease(&self, lease: Lease, ttl: Duration) -> Result<Timestamp, JournalError>;

    /// Hands back all sagas of the lease, due at once, and ends it (J3). Closing a lease that is gone
    /// does nothing. Returns how many sagas were handed back.
    async fn close_lease(&self, lease: Lease) -> Result<u64, JournalError>;

    /// Fences every lease that has lapsed by the journal's clock, and returns their epochs (J4).
    /// From then on their appends are refused and their sagas can be claimed.
    async fn fence_lapsed(&self) -> Result<Vec<Epoch>, JournalError>;

    /// Creates sagas, each with its first turn, durably and independently of each other (J1, J2).
    /// With a lease they belong to it at once; without one they are due at once for any worker.
    /// The answers come in the order of `sagas`.
    ///
    /// # Errors
    /// [`JournalError::Fenced`] when a lease is given and no longer valid; nothing was created.
    async fn start(&self, lease: Option<Lease>, sagas: &[NewSaga]) -> Result<Vec<StartReceipt>, JournalError>;

    /// Appends turns, at most one for each saga, under one check of the fence (J4 to J7). The answers
    /// come in the order of `turns`.
    ///
    /// # Errors
    /// [`JournalError::Fenced`] when the lease is no longer valid; nothing was appended.
    async fn append(&self, lease: Lease, turns: &[Turn]) -> Result<Vec<Appended>, JournalError>;

    /// Makes the lease the owner of up to `limit` sagas of the given definitions that are due, or
    /// whose owner was fenced (J8). Two claims never get the same saga.
    ///
    /// # Errors
    /// After [`JournalError::Unavailable`] it may have taken sagas that nobody was told of: ask
    /// [`owned`](Self::owned). So a journal must not repeat a claim by itself.
    async fn claim(&self, lease: Lease, definitions: &[(String, u32)], limit: usize) -> Result<Claim, JournalError>;

    /// Makes the lease the owner of one saga that nobody owns, whether it is due or not: for an
    /// operator's decision (J8).
    async fn claim_one(&self, lease: Lease, saga: SagaId) -> Result<ClaimOne, JournalError>;

    /// The sagas that the lease owns: what a worker compares with its memory after a claim or a start
    /// whose answer was lost (J8).
    async fn owned(&self, lease: Lease) -> Result<Vec<SagaHeader>, JournalError>;

    /// Keeps messages for sagas until a turn takes them in, and makes a saga that is parked due at once
    /// (J13). The answers come in the order of `messages`.
    async fn send(&self, messages: &[Message]) -> Result<Vec<Sent>, JournalError>;

    /// The messages to sagas of the lease that no turn has taken in, those of each saga in the order in
    /// which they came (J13), and the entity locks that these sagas have been given, as [`lock_grant`] words it (J15).
    async fn inbox(&self, lease: Lease) -> Result<Vec<Received>, JournalError>;

    /// The histories of these sagas, each whole and in order; those that do not exist are left out (J9).
    async fn load(&self, sagas: &[SagaId]) -> Result<Vec<History>, JournalError>;

    /// The saga of this definition name and start key (J2).
    async fn find(&self, definition: &str, key: &str) -> Result<Option<SagaSummary>, JournalError>;

    /// The saga with this id.
    async fn summary(&self, saga: SagaId) -> Result<Option<SagaSummary>, JournalError>;

    /// Sagas that pass the filter, newest first, at most `limit` (J9). For people: it may read much.
    async fn list(&self, filter: &ListFilter, limit: usize) -> Result<Vec<SagaSummary>, JournalError>;

    /// Open dead letters, oldest first, at most `limit`; of one saga when it is named (J10).
    async fn dead_letters(&self, saga: Option<SagaId>, limit: usize) -> Result<Vec<DeadLetter>, JournalError>;

    /// Open dead letters whose alert has not been acknowledged, oldest first, at most `limit` (J10).
    async fn unalerted(&self, limit: usize) -> Result<Vec<DeadLetter>, JournalError>;

    /// Acknowledges the alerts of these dead letters (J10).
    async fn mark_alerted(&self, letters: &[DeadLetter]) -> Result<(), JournalError>;

    /// Up to `limit` events that are due to be published: those whose turns this lease wrote, and those
    /// that leases have left which are no longer valid, which are this lease's from now on (J14). It
    /// goes on handing them out until they are settled.
    ///
    /// # Errors
    /// [`JournalError::Fenced`] when the lease is no longer valid.
    async fn outbox(&self, lease: Lease, limit: usize) -> Result<OutboxBatch, JournalError>;

    /// Takes note of what became of events (J14). One that is not there any more, or is another lease's
    /// by now, is left alone.
    async fn settle_events(&self, lease: Lease, settled: &[SettledEvent]) -> Result<(), JournalError>;

    /// Events that wait for a human, oldest first, at most `limit` (J14).
    async fn dead_events(&self, limit: usize) -> Result<Vec<DeadEvent>, JournalError>;

    /// Has an event that waits for a human tried again, or dropped; false when there is no such event
    /// (J14).
    async fn revive_event(&self, id: &str, again: bool) -> Result<bool, JournalError>;

    /// Who has entities locked, and who waits, in the order of keys and lines, at most `limit` (J15).
    async fn locks(&self, limit: usize) -> Result<Vec<LockEntry>, JournalError>;

    /// Up to `limit` sagas that ended longer than `retention` ago, oldest first (J12).
    async fn expired(&self, retention: Duration, limit: usize) -> Result<Vec<SagaId>, JournalError>;

    /// Deletes these sagas, with all that belongs to them, except those that have not ended; and
    /// messages to sagas that never came, once they are older than `retention` (J12). Returns how many
    /// sagas it deleted.
    async fn forget(&self, sagas: &[SagaId], retention: Duration) -> Result<u64, JournalError>;

    /// Returns when there may be work to claim, after `timeout` at the latest. A hint: returning
    /// early or always at the time-out costs latency, never correctness.
    async fn wait_for_work(&self, timeout: Duration) {
        tokio::time::sleep(timeout).await;
    }
}

/// What [`Journal::inbox`] hands out for entity locks that a saga has been given: the keys with their
/// fencing tokens.
///
/// # Panics
/// Never: the message is made of texts and numbers alone.
#[must_use]
pub fn lock_grant(saga: SagaId, step: &StepName, tokens: BTreeMap<String, u64>) -> Received {
    let body = Mail::Locked { step: step.clone(), tokens };
    let body = serde_json::to_string(&body).expect("texts and numbers have a JSON form");
    Received { saga, id: format!("lock:{step}"), body }
}

/// Refuses sagas of one start that have the same id under different definitions or keys (J2): whichever of them came
/// first, the other would be taken for it.
///
/// # Errors
/// [`JournalError::id_taken`] for the second of the two.
pub fn check_ids(sagas: &[NewSaga]) -> Result<(), JournalError> {
    let mut pairs: HashMap<SagaId, (&str, &str)> = HashMap::with_capacity(sagas.len());
    for saga in sagas {
        let pair = (&*saga.definition, &*saga.key);
        if *pairs.entry(saga.id).or_insert(pair) != pair {
            return Err(JournalError::id_taken(saga));
        }
    }
    Ok(())
}

/// Journals are used behind a pointer.
const _: fn(&dyn Journal) = |_| {};
