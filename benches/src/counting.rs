//! A journal that counts the calls that go through it: each is one round trip on Postgres.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use saga_core::definition::Outline;
use saga_core::journal::{
    Appended, Claim, ClaimOne, DeadEvent, DeadLetter, History, Journal, JournalError, Lease, ListFilter, LockEntry,
    Message, NewSaga, OutboxBatch, Received, SagaHeader, SagaSummary, Sent, SettledEvent, StartReceipt, Turn,
};
use saga_core::{Epoch, SagaId, Timestamp, async_trait};

/// How many calls have been made, and how many rows they wrote.
#[derive(Debug, Default)]
pub struct Calls {
    calls: Arc<AtomicU64>,
    turns: AtomicU64,
}

impl Calls {
    /// All calls so far.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// What counts the calls.
    #[must_use]
    pub fn counter(&self) -> Arc<AtomicU64> {
        self.calls.clone()
    }

    /// All turns written so far, those of starts included.
    #[must_use]
    pub fn turns(&self) -> u64 {
        self.turns.load(Ordering::Relaxed)
    }
}

/// Passes every call on to another journal, and counts it.
#[derive(Clone, Debug)]
pub struct Counting {
    journal: Arc<dyn Journal>,
    calls: Arc<Calls>,
}

impl Counting {
    /// Counts the calls to this journal.
    #[must_use]
    pub fn new(journal: Arc<dyn Journal>) -> Self {
        Self { journal, calls: Arc::default() }
    }

    /// The counts.
    #[must_use]
    pub fn calls(&self) -> Arc<Calls> {
        self.calls.clone()
    }

    fn count(&self, turns: usize) -> &dyn Journal {
        self.calls.calls.fetch_add(1, Ordering::Relaxed);
        self.calls.turns.fetch_add(turns as u64, Ordering::Relaxed);
        &*self.journal
    }
}

#[async_trait]
impl Journal for Counting {
    async fn register(&self, outlines: &[Outline]) -> Result<Vec<Outline>, JournalError> {
        self.count(0).register(outlines).await
    }

    async fn open_lease(&self, worker: &str, ttl: Duration) -> Result<(Lease, Timestamp), JournalError> {
        self.count(0).open_lease(worker, ttl).await
    }

    async fn renew_lease(&self, lease: Lease, ttl: Duration) -> Result<Timestamp, JournalError> {
        self.count(0).renew_lease(lease, ttl).await
    }

    async fn close_lease(&self, lease: Lease) -> Result<u64, JournalError> {
        self.count(0).close_lease(lease).await
    }

    async fn fence_lapsed(&self) -> Result<Vec<Epoch>, JournalError> {
        self.count(0).fence_lapsed().await
    }

    async fn start(&self, lease: Option<Lease>, sagas: &[NewSaga]) -> Result<Vec<StartReceipt>, JournalError> {
        self.count(sagas.len()).start(lease, sagas).await
    }

    async fn append(&self, lease: Lease, turns: &[Turn]) -> Result<Vec<Appended>, JournalError> {
        self.count(turns.len()).append(lease, turns).await
    }

    async fn claim(&self, lease: Lease, definitions: &[(String, u32)], limit: usize) -> Result<Claim, JournalError> {
        self.count(0).claim(lease, definitions, limit).await
    }

    async fn claim_one(&self, lease: Lease, saga: SagaId) -> Result<ClaimOne, JournalError> {
        self.count(0).claim_one(lease, saga).await
    }

    async fn owned(&self, lease: Lease) -> Result<Vec<SagaHeader>, JournalError> {
        self.count(0).owned(lease).await
    }

    async fn send(&self, messages: &[Message]) -> Result<Vec<Sent>, JournalError> {
        self.count(0).send(messages).await
    }

    async fn inbox(&self, lease: Lease) -> Result<Vec<Received>, JournalError> {
        self.count(0).inbox(lease).await
    }

    async fn load(&self, sagas: &[SagaId]) -> Result<Vec<History>, JournalError> {
        self.count(0).load(sagas).await
    }

    async fn find(&self, definition: &str, key: &str) -> Result<Option<SagaSummary>, JournalError> {
        self.count(0).find(definition, key).await
    }

    async fn summary(&self, saga: SagaId) -> Result<Option<SagaSummary>, JournalError> {
        self.count(0).summary(saga).await
    }

    async fn list(&self, filter: &ListFilter, limit: usize) -> Result<Vec<SagaSummary>, JournalError> {
        self.count(0).list(filter, limit).await
    }

    async fn dead_letters(&self, saga: Option<SagaId>, limit: usize) -> Result<Vec<DeadLetter>, JournalError> {
        self.count(0).dead_letters(saga, limit).await
    }

    async fn unalerted(&self, limit: usize) -> Result<Vec<DeadLetter>, JournalError> {
        self.count(0).unalerted(limit).await
    }

    async fn mark_alerted(&self, letters: &[DeadLetter]) -> Result<(), JournalError> {
        self.count(0).mark_alerted(letters).await
    }

    async fn outbox(&self, lease: Lease, limit: usize) -> Result<OutboxBatch, JournalError> {
        self.count(0).outbox(lease, limit).await
    }

    async fn settle_events(&self, lease: Lease, settled: &[SettledEvent]) -> Result<(), JournalError> {
        self.count(0).settle_events(lease, settled).await
    }

    async fn dead_events(&self, limit: usize) -> Result<Vec<DeadEvent>, JournalError> {
        self.count(0).dead_events(limit).await
    }

    async fn revive_event(&self, id: &str, again: bool) -> Result<bool, JournalError> {
        self.count(0).revive_event(id, again).await
    }

    async fn locks(&self, limit: usize) -> Result<Vec<LockEntry>, JournalError> {
        self.count(0).locks(limit).await
    }

    async fn expired(&self, retention: Duration, limit: usize) -> Result<Vec<SagaId>, JournalError> {
        self.count(0).expired(retention, limit).await
    }

    async fn forget(&self, sagas: &[SagaId], retention: Duration) -> Result<u64, JournalError> {
        self.count(0).forget(sagas, retention).await
    }

    async fn wait_for_work(&self, timeout: Duration) {
        self.journal.wait_for_work(timeout).await;
    }
}
