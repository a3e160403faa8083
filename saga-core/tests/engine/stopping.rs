//! A graceful stop hands sagas back without a lease time-out.

use std::time::Duration;

use saga_core::engine::StartError;
use saga_core::journal::{Journal, MemoryJournal};
use saga_core::machine::{Record, decode_turn};
use saga_core::{Definition, StepContext, StepError, step_fn};

use super::support::{World, completed, engine, until};

fn slow(world: &World, first: Duration) -> Definition<i64, u32> {
    let world = world.clone();
    Definition::build("slow", 1, |saga, input| {
        let step = step_fn(move |cx: StepContext, _: i64| {
            let world = world.clone();
            async move {
                world.apply(&cx);
                if cx.attempt() == 1 {
                    tokio::time::sleep(first).await;
                }
                Ok::<_, StepError>(cx.attempt())
            }
        });
        let step = saga.query("step", step, input).timeout(Duration::from_secs(3600));
        let after = saga.query("after", step_fn(async |_, n: u32| Ok(n)), step);
        saga.returns(after)
    })
    .unwrap()
}

#[tokio::test(start_paused = true)]
async fn attempts_under_way_finish_and_the_rest_is_handed_back_at_once() {
    let (world, journal) = (World::default(), MemoryJournal::new());
    let definition = slow(&world, Duration::from_millis(500));
    let first = engine(&journal).register(&definition).open().await.unwrap();
    let saga = first.start(&definition, "k", 1).await.unwrap();
    until("begun", async || world.count("step") == 1).await;
    let second = engine(&journal).register(&definition).open().await.unwrap();
    first.shutdown(Duration::from_secs(10)).await;
    assert!(matches!(first.start(&definition, "k2", 1).await, Err(StartError::Closed)));
    let began = tokio::time::Instant::now();
    assert_eq!(completed(&second.handle(&definition, saga.id())).await, 1);
    assert!(began.elapsed() < Duration::from_secs(1), "no lease had to lapse");
    assert_eq!(world.log(), ["step #1"]);
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_stops_begins_nothing() {
    let (world, journal) = (World::default(), MemoryJournal::new());
    let step = |name: &'static str| {
        let world = world.clone();
        step_fn(move |_, n: i64| {
            world.note(name);
            async move {
                tokio::time::sleep(Duration::from_secs(1)).await;
                Ok(n)
            }
        })
    };
    let definition = Definition::build("two", 1, |saga, input| {
        let first = saga.query("first", step("first"), input);
        let second = saga.query("second", step("second"), first);
        saga.returns(second)
    })
    .unwrap();
    let worker = engine(&journal).register(&definition).open().await.unwrap();
    let saga = worker.start(&definition, "k", 1).await.unwrap();
    until("begun", async || world.count("first") == 1).await;
    worker.shutdown(Duration::from_secs(10)).await;
    assert_eq!(world.log(), ["first"]);
    let worker = engine(&journal).register(&definition).open().await.unwrap();
    assert_eq!(completed(&worker.handle(&definition, saga.id())).await, 1);
    assert_eq!(world.log(), ["first", "second"]);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_outlasts_the_grace_is_unknown_and_no_crash() {
    let (world, journal) = (World::default(), MemoryJournal::new());
    let definition = slow(&world, Duration::from_secs(3000));
    let first = engine(&journal).register(&definition).open().await.unwrap();
    let saga = first.start(&definition, "k", 1).await.unwrap();
    until("begun", async || world.count("step") == 1).await;
    first.shutdown(Duration::from_millis(200)).await;
    let second = engine(&journal).register(&definition).open().await.unwrap();
    assert_eq!(completed(&second.handle(&definition, saga.id())).await, 2);
    let history = journal.load(&[saga.id()]).await.unwrap().remove(0);
    let records: Vec<Record> = history.turns.iter().flat_map(|turn| decode_turn(&turn.body).unwrap()).collect();
    assert!(records.iter().any(|record| matches!(record, Record::Interrupted { crashed: false, .. })));
    assert!(!records.iter().any(|record| matches!(record, Record::Interrupted { crashed: true, .. })));
}

#[tokio::test(start_paused = true)]
async fn ended_sagas_are_deleted_after_their_retention() {
    let journal = MemoryJournal::new();
    let definition = slow(&World::default(), Duration::ZERO);
    let engine = engine(&journal).register(&definition).retention(Duration::from_secs(3600)).open().await.unwrap();
    let saga = engine.start(&definition, "k", 1).await.unwrap();
    completed(&saga).await;
    tokio::time::sleep(Duration::from_secs(3000)).await;
    assert!(engine.status(saga.id()).await.unwrap().is_some());
    tokio::time::sleep(Duration::from_secs(1000)).await;
    assert!(engine.status(saga.id()).await.unwrap().is_none());
    assert!(matches!(saga.outcome().await, Err(saga_core::engine::OutcomeError::NotFound { .. })));
}

/// Takes everything but the first time, and may panic then.
#[derive(Clone, Debug, Default)]
struct Shelf {
    taken: std::sync::Arc<std::sync::Mutex<(u32, Vec<String>)>>,
    panics: bool,
}

#[saga_core::async_trait]
impl saga_core::engine::Archive for Shelf {
    async fn keep(
        &self,
        histories: &[saga_core::journal::History],
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let mut shelf = self.taken.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        shelf.0 += 1;
        if shelf.0 == 1 {
            assert!(!self.panics, "no room");
            return Err("no room".into());
        }
        shelf.1.extend(histories.iter().map(|saga| format!("{} {}", saga.header.key, saga.turns.len())));
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn ended_sagas_are_archived_before_they_are_deleted_and_stay_when_the_archive_refuses_or_panics() {
    for panics in [false, true] {
        are_archived_and_then_deleted(Shelf { panics, ..Shelf::default() }).await;
    }
}

async fn are_archived_and_then_deleted(shelf: Shelf) {
    let journal = MemoryJournal::new();
    let taken = || shelf.taken.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let definition = slow(&World::default(), Duration::ZERO);
    let hour = Duration::from_secs(3600);
    let engine = engine(&journal).register(&definition).retention(hour).archive(shelf.clone()).open().await.unwrap();
    let saga = engine.start(&definition, "k", 1).await.unwrap();
    completed(&saga).await;
    tokio::time::sleep(hour).await;
    until("the first try", async || taken().0 == 1).await;
    assert!(engine.status(saga.id()).await.unwrap().is_some(), "what is not archived stays");
    until("deleted", async || engine.status(saga.id()).await.unwrap().is_none()).await;
    assert_eq!(taken().1, ["k 3"]);
}
