//! Recurring sagas: once a tick over all workers, and what becomes of missed ticks.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use saga_core::engine::{EngineBuilder, Every, Missed};
use saga_core::journal::MemoryJournal;
use saga_core::{Definition, Timestamp, step_fn};

use super::support::engine;

const MINUTE: Duration = Duration::from_secs(60);

type Seen = Arc<Mutex<Vec<Timestamp>>>;

fn definition(seen: &Seen) -> Definition<Timestamp, ()> {
    Definition::build("sweep", 1, |saga, tick| {
        let seen = seen.clone();
        let note = step_fn(move |_, tick: Timestamp| {
            seen.lock().unwrap().push(tick);
            async { Ok(()) }
        });
        let noted = saga.query("note", note, tick);
        saga.returns(noted)
    })
    .unwrap()
}

fn scheduled(journal: &MemoryJournal, seen: &Seen, missed: Missed) -> EngineBuilder {
    let definition = definition(seen);
    engine(journal).register(&definition).schedule("nightly", &definition, Every::interval(MINUTE), missed, |tick| tick)
}

/// How many there are, and whether they are a minute apart.
fn count(seen: &Seen) -> (usize, bool) {
    let mut seen = seen.lock().unwrap().clone();
    seen.sort();
    (seen.len(), seen.windows(2).all(|two| two[1].since(two[0]) == MINUTE))
}

#[tokio::test(start_paused = true)]
async fn three_workers_start_one_saga_a_tick() {
    let (journal, seen) = (MemoryJournal::new(), Seen::default());
    let mut workers = Vec::new();
    for _ in 0..3 {
        workers.push(scheduled(&journal, &seen, Missed::Skip).open().await.unwrap());
    }
    tokio::time::sleep(10 * MINUTE + Duration::from_secs(5)).await;
    assert_eq!(count(&seen), (10, true));
}

#[tokio::test(start_paused = true)]
async fn missed_ticks_are_skipped_run_once_or_all_run() {
    for (missed, expected) in [(Missed::Skip, 0), (Missed::RunOnce, 1), (Missed::RunAll, 30)] {
        let (journal, seen) = (MemoryJournal::new(), Seen::default());
        let first = scheduled(&journal, &seen, missed).open().await.unwrap();
        tokio::time::sleep(2 * MINUTE + Duration::from_secs(5)).await;
        assert_eq!(count(&seen), (2, true));
        first.shutdown(Duration::from_secs(1)).await;
        tokio::time::sleep(30 * MINUTE).await;
        let second = scheduled(&journal, &seen, missed).open().await.unwrap();
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert_eq!(count(&seen).0, 2 + expected, "{missed:?}");
        tokio::time::sleep(MINUTE).await;
        assert_eq!(count(&seen).0, 2 + expected + 1, "{missed:?}, and on as before");
        second.shutdown(Duration::from_secs(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_starts_nothing() {
    let (journal, seen) = (MemoryJournal::new(), Seen::default());
    let _client = scheduled(&journal, &seen, Missed::RunAll).client_only().open().await.unwrap();
    tokio::time::sleep(10 * MINUTE).await;
    assert_eq!(count(&seen).0, 0);
}
