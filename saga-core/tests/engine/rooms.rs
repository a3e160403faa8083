//! A definition may have a limit of its own for the sagas in flight.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use saga_core::journal::MemoryJournal;
use saga_core::{Definition, Engine, Limits, step_fn};

use super::support::{completed, engine, unhurried};

/// How long each saga works.
const WORK: Duration = Duration::from_millis(100);

fn counted(name: &str, inside: &Arc<AtomicUsize>, most: &Arc<AtomicUsize>) -> Definition<i64, i64> {
    counted_version(name, 1, inside, most)
}

fn counted_version(
    name: &str,
    version: u32,
    inside: &Arc<AtomicUsize>,
    most: &Arc<AtomicUsize>,
) -> Definition<i64, i64> {
    let (inside, most) = (inside.clone(), most.clone());
    Definition::build(name, version, |saga, n| {
        let work = step_fn(move |_, n: i64| {
            let (inside, most) = (inside.clone(), most.clone());
            async move {
                most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                tokio::time::sleep(WORK).await;
                inside.fetch_sub(1, Ordering::SeqCst);
                Ok(n)
            }
        });
        let worked = saga.query("work", work, n);
        saga.returns(worked)
    })
    .unwrap()
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_place_gets_it_as_soon_as_one_is_free() {
    let (inside, most) = (Arc::default(), Arc::default());
    let definition = counted("narrow", &inside, &most);
    let one = NonZeroUsize::new(1).unwrap();
    let mut limits = Limits::default();
    limits.in_flight_max = 1;
    let began = tokio::time::Instant::now();
    // In a room it hears of it otherwise after an hour, in the worker after a quarter of a second.
    let in_a_room = unhurried(&MemoryJournal::new()).register(&definition).at_once(&definition, one);
    let in_the_worker = unhurried(&MemoryJournal::new()).register(&definition).limits(limits);
    for engine in [in_a_room, in_the_worker] {
        let engine = engine.open().await.unwrap();
        let sagas = [engine.start(&definition, "a", 1), engine.start(&definition, "b", 2)];
        for saga in futures_util::future::try_join_all(sagas).await.unwrap() {
            completed(&saga).await;
        }
    }
    assert!(began.elapsed() < 4 * WORK + Duration::from_millis(50), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn no_more_sagas_of_a_definition_are_in_flight_than_it_allows_and_all_get_their_turn() {
    let (inside, most) = (Arc::default(), Arc::default());
    let (others, most_others) = (Arc::default(), Arc::default());
    let (narrow, wide) = (counted("narrow", &inside, &most), counted("wide", &others, &most_others));
    let engine = engine(&MemoryJournal::new())
        .register(&narrow)
        .register(&wide)
        .at_once(&narrow, NonZeroUsize::new(3).unwrap())
        .open()
        .await
        .unwrap();
    let mut sagas = Vec::new();
    for n in 0..20 {
        sagas.push(engine.start(&narrow, &n.to_string(), n).await.unwrap());
        sagas.push(engine.start(&wide, &n.to_string(), n).await.unwrap());
    }
    for saga in &sagas {
        completed(saga).await;
    }
    assert_eq!(most.load(Ordering::SeqCst), 3);
    assert_eq!(most_others.load(Ordering::SeqCst), 20, "one definition's limit is no other's");
}

#[tokio::test(start_paused = true)]
async fn each_definition_with_a_limit_has_a_room_of_its_own_and_its_versions_share_it() {
    let (small, large) = ((Arc::default(), Arc::default()), (Arc::default(), Arc::default()));
    let (narrow, wider) = (counted("narrow", &small.0, &small.1), counted("wider", &large.0, &large.1));
    let second = counted_version("wider", 2, &large.0, &large.1);
    let journal = MemoryJournal::new();
    let client = Engine::builder(journal.clone()).register(&narrow).register(&wider).register(&second);
    let client = client.client_only().open().await.unwrap();
    let (mut narrows, mut widers) = (Vec::new(), Vec::new());
    for n in 0..8 {
        narrows.push(client.start(&narrow, &n.to_string(), n).await.unwrap());
        let version = if n % 2 == 0 { &wider } else { &second };
        widers.push(client.start(version, &n.to_string(), n).await.unwrap());
    }
    let began = tokio::time::Instant::now();
    let worker = engine(&journal).register(&narrow).register(&wider).register(&second);
    let worker = worker.at_once(&narrow, NonZeroUsize::MIN).at_once(&wider, NonZeroUsize::new(4).unwrap());
    let worker = worker.open().await.unwrap();
    tokio::time::sleep(WORK / 2).await;
    assert_eq!(worker.in_flight(), 5, "one and four: others may have what finds no room here");
    for saga in &widers {
        completed(saga).await;
    }
    assert!(began.elapsed() < 3 * WORK, "four at a time: {:?}", began.elapsed());
    for saga in &narrows {
        completed(saga).await;
    }
    assert!(began.elapsed() >= 8 * WORK, "one at a time: {:?}", began.elapsed());
    assert_eq!((small.1.load(Ordering::SeqCst), large.1.load(Ordering::SeqCst)), (1, 4));
}

#[tokio::test(start_paused = true)]
async fn a_burst_of_starts_takes_no_more_slots_than_its_definition_has_places() {
    let (inside, most) = (Arc::default(), Arc::default());
    let definition = counted("narrow", &inside, &most);
    let two = NonZeroUsize::new(2).unwrap();
    let worker = unhurried(&MemoryJournal::new()).register(&definition).at_once(&definition, two);
    let worker = worker.open().await.unwrap();
    let keys: Vec<String> = (0..8).map(|n| n.to_string()).collect();
    let began = tokio::time::Instant::now();
    let starts = keys.iter().map(|key| worker.start(&definition, key, 1));
    let sagas = futures_util::future::try_join_all(starts).await.unwrap();
    tokio::time::sleep(WORK / 2).await;
    assert_eq!(worker.in_flight(), 2, "others may have what finds no room here");
    for saga in &sagas {
        completed(saga).await;
    }
    assert!(began.elapsed() < 5 * WORK, "two at a time: {:?}", began.elapsed());
    assert_eq!(most.load(Ordering::SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn a_start_that_finds_its_saga_gives_its_place_back() {
    let (inside, most) = (Arc::default(), Arc::default());
    let definition = counted("narrow", &inside, &most);
    let worker = unhurried(&MemoryJournal::new()).register(&definition).at_once(&definition, NonZeroUsize::MIN);
    let worker = worker.open().await.unwrap();
    completed(&worker.start(&definition, "a", 1).await.unwrap()).await;
    let began = tokio::time::Instant::now();
    // The first has the only place while it asks, so that the second is left to the claiming loop.
    let starts = [worker.start(&definition, "a", 1), worker.start(&definition, "b", 2)];
    for saga in futures_util::future::try_join_all(starts).await.unwrap() {
        completed(&saga).await;
    }
    assert!(began.elapsed() < 2 * WORK, "it would hear of the place after an hour: {:?}", began.elapsed());
}
