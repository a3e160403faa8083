//! What becomes of a start while the worker has as many sagas in flight as it may have.

use std::time::Duration;

use saga_core::journal::MemoryJournal;
use saga_core::{Definition, Limits, StepContext, step_fn};
use saga_testkit::faults::FaultJournal;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::support::{World, completed, engine_on};

/// A saga whose step takes so many milliseconds.
fn takes() -> Definition<u64, u64> {
    Definition::build("takes", 1, |saga, millis| {
        let step = step_fn(async |_: StepContext, millis: u64| {
            tokio::time::sleep(Duration::from_millis(millis)).await;
            Ok(millis)
        });
        let taken = saga.query("step", step, millis);
        saga.returns(taken)
    })
    .unwrap()
}

fn one_slot() -> Limits {
    let mut limits = Limits::default();
    limits.in_flight_max = 1;
    limits
}

#[tokio::test(start_paused = true)]
async fn a_start_waits_a_moment_for_a_slot_and_then_needs_no_claim() {
    let (definition, journal) = (takes(), FaultJournal::new(MemoryJournal::new()));
    let engine = engine_on(journal.clone()).limits(one_slot()).register(&definition).open().await.unwrap();
    let first = engine.start(&definition, "first", 100).await.unwrap();
    let second = engine.start(&definition, "second", 5).await.unwrap();
    assert_eq!((completed(&first).await, completed(&second).await), (100, 5));
    assert_eq!(journal.calls("load"), 0, "nothing was claimed");
}

#[tokio::test(start_paused = true)]
async fn a_start_that_finds_no_slot_is_durable_soon_and_runs_later() {
    let (definition, journal) = (takes(), MemoryJournal::new());
    let engine = engine_on(journal).limits(one_slot()).register(&definition).open().await.unwrap();
    let first = engine.start(&definition, "first", 10_000).await.unwrap();
    let asked = Instant::now();
    let second = engine.start(&definition, "second", 5).await.unwrap();
    assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
    assert_eq!((completed(&first).await, completed(&second).await), (10_000, 5));
}

/// A saga whose step notes its name and takes so many milliseconds.
fn noted(world: &World) -> Definition<(String, u64), ()> {
    Definition::build("noted", 1, |saga, input| {
        let world = world.clone();
        let step = step_fn(move |_: StepContext, (name, millis): (String, u64)| {
            world.note(name);
            async move {
                tokio::time::sleep(Duration::from_millis(millis)).await;
                Ok(())
            }
        });
        let done = saga.query("step", step, input);
        saga.returns(done)
    })
    .unwrap()
}

#[tokio::test(start_paused = true)]
async fn starts_that_wait_for_a_slot_keep_no_saga_waiting_that_is_due() {
    let (journal, world) = (MemoryJournal::new(), World::default());
    let definition = noted(&world);
    let worker = engine_on(journal.clone()).limits(one_slot()).register(&definition).open().await.unwrap();
    let client = engine_on(journal).client_only().register(&definition).open().await.unwrap();
    let mut sagas = vec![worker.start(&definition, "first", ("first".to_owned(), 200)).await.unwrap()];
    // Durable, owned by nobody, and due.
    for nth in 0..3 {
        let name = format!("due-{nth}");
        sagas.push(client.start(&definition, &name, (name.clone(), 20)).await.unwrap());
    }
    tokio::time::sleep(Duration::from_millis(150)).await;
    let mut starts = JoinSet::new();
    for nth in 0..40 {
        let (worker, definition, name) = (worker.clone(), definition.clone(), format!("new-{nth}"));
        starts.spawn(async move { worker.start(&definition, &name, (name.clone(), 20)).await.unwrap() });
    }
    sagas.extend(starts.join_all().await);
    for saga in &sagas {
        completed(saga).await;
    }
    let log = world.log();
    let last_due = log.iter().rposition(|name| name.starts_with("due")).unwrap();
    // The claim of one saga may take a moment, in which the slot goes to whoever comes.
    assert!(last_due <= 6, "{log:?}");
}
