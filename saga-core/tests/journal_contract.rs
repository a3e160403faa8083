//! The journal in memory keeps the contract.

use std::time::Duration;

use saga_core::async_trait;
use saga_core::journal::{Journal as _, MemoryJournal};
use saga_testkit::contract::Fixture;
use tokio::time::Instant;

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

/// Beyond the contract, to which this is a hint.
#[tokio::test(start_paused = true)]
async fn who_waits_for_work_hears_of_what_a_dead_worker_has_left_and_of_nothing_else() {
    const HOUR: Duration = Duration::from_secs(3600);
    let journal = MemoryJournal::new();
    let begun = Instant::now();
    tokio::join!(journal.wait_for_work(HOUR), async { journal.fence_lapsed().await.unwrap() });
    assert_eq!(begun.elapsed(), HOUR, "no lease has lapsed");

    journal.open_lease("worker", Duration::from_secs(1)).await.unwrap();
    tokio::time::advance(HOUR).await;
    let begun = Instant::now();
    let ((), fenced) = tokio::join!(journal.wait_for_work(HOUR), journal.fence_lapsed());
    assert_eq!((fenced.unwrap().len(), begun.elapsed()), (1, Duration::ZERO));
}
