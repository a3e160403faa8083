//! The journal in memory keeps the contract.

use std::time::Duration;

use saga_core::async_trait;
use saga_core::journal::MemoryJournal;
use saga_testkit::contract::Fixture;

struct Memory;

#[async_trait]
impl Fixture for Memory {
    type Journal = MemoryJournal;

    async fn fresh(&self) -> MemoryJournal {
        MemoryJournal::new()
    }

    async fn reopen(&self, journal: &MemoryJournal) -> MemoryJournal {
        journal.clone()
    }

    async fn pass(&self, by: Duration) {
        tokio::time::advance(by).await;
    }
}

saga_testkit::journal_contract!(Memory, start_paused = true);
