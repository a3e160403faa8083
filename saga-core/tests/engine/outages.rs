//! While the journal is out of reach, and after: workers ask again with measure, and leave each other their sagas.

use std::time::Duration;

use saga_core::journal::MemoryJournal;
use saga_core::{Definition, Engine, Limits, step_fn};
use saga_testkit::faults::{Fault, FaultJournal, Planned};
use tokio::time::{Instant, sleep};

use super::support::{World, completed, engine_on, until};

const SECOND: Duration = Duration::from_secs(1);

/// Works for so many seconds.
fn working(world: &World) -> Definition<u64, u64> {
    let world = world.clone();
    let work = step_fn(move |cx, seconds: u64| {
        world.apply(&cx);
        async move {
            sleep(SECOND * u32::try_from(seconds).unwrap()).await;
            Ok(seconds)
        }
    });
    Definition::build("working", 1, |saga, seconds| {
        let worked = saga.query("work", work, seconds).timeout(SECOND * 1_000);
        saga.returns(worked)
    })
    .unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_lease_is_renewed_soon_after_an_outage_and_not_a_third_of_its_span_later() {
    let (journal, world) = (FaultJournal::new(MemoryJournal::new()), World::default());
    let definition = working(&world);
    let engine = engine_on(journal.clone()).lease_ttl(SECOND * 60).register(&definition).open().await.unwrap();
    // Renewed after 20 seconds, and so not valid beyond 80; the renewal of after 40 fails.
    sleep(SECOND * 35).await;
    journal.outage(true);
    sleep(SECOND * 10).await;
    journal.outage(false);
    // Renewed after 46 seconds at the latest, and so valid until 90 at least, whatever comes now.
    sleep(SECOND * 3).await;
    journal.outage(true);
    sleep(SECOND * 30).await;
    journal.outage(false);
    let began = Instant::now();
    completed(&engine.start(&definition, "k", 0).await.unwrap()).await;
    assert!(began.elapsed() < SECOND, "{:?}", began.elapsed());
    assert_eq!(journal.calls("open_lease"), 1);
}

#[tokio::test(start_paused = true)]
async fn after_an_outage_for_all_nobody_is_called_dead_before_it_could_renew() {
    let (shared, world) = (MemoryJournal::new(), World::default());
    let definition = working(&world);
    let (one, other) = (FaultJournal::new(shared.clone()), FaultJournal::new(shared));
    let working = engine_on(one.clone()).register(&definition).open().await.unwrap();
    let saga = working.start(&definition, "k", 60).await.unwrap();
    until("its step is under way", async || world.count("work") == 1).await;
    let idle = engine_on(other.clone()).register(&definition).open().await.unwrap();
    one.outage(true);
    other.outage(true);
    sleep(SECOND * 20).await;
    // The idle one is back a second earlier. The lease of the other has lapsed, which is nobody's fault.
    other.outage(false);
    sleep(SECOND).await;
    one.outage(false);
    completed(&saga).await;
    assert_eq!(world.log(), ["work #1"], "no step was begun again");
    assert_eq!((one.calls("open_lease"), other.calls("open_lease")), (1, 1));
    drop(idle);
}

#[tokio::test(start_paused = true)]
async fn a_journal_that_is_out_of_reach_is_asked_about_once_a_second() {
    let (journal, world) = (FaultJournal::new(MemoryJournal::new()), World::default());
    let engine = engine_on(journal.clone()).register(&working(&world)).lease_ttl(SECOND * 600).open().await.unwrap();
    sleep(SECOND * 60).await;
    assert!((59..=62).contains(&journal.calls("fence_lapsed")), "{}", journal.calls("fence_lapsed"));
    journal.outage(true);
    // What it owns comes before what it could claim.
    let before = journal.calls("owned");
    sleep(SECOND * 100).await;
    let asked = journal.calls("owned") - before;
    // With the jitter, half a second to a second apart.
    assert!((90..=220).contains(&asked), "{asked}");
    journal.outage(false);
    sleep(SECOND * 2).await;
    completed(&engine.start(&working(&world), "k", 1).await.unwrap()).await;
}

#[tokio::test(start_paused = true)]
async fn a_dead_workers_sagas_are_taken_over_one_claim_after_the_other() {
    let (shared, world) = (MemoryJournal::new(), World::default());
    let definition = working(&world);
    let dead = FaultJournal::new(shared.clone());
    let dying = engine_on(dead.clone()).register(&definition).open().await.unwrap();
    for nth in 0..1_200 {
        dying.start(&definition, &nth.to_string(), 900).await.unwrap();
    }
    until("all are under way", async || world.count("work #1") == 1_200).await;
    dead.outage(true);
    drop(dying);
    let journal = FaultJournal::new(shared);
    journal.silent(true);
    let _heir = engine_on(journal.clone()).poll_interval(SECOND * 10).register(&definition).open().await.unwrap();
    until("some are taken over", async || world.count("work #2") > 0).await;
    sleep(SECOND * 2).await;
    assert_eq!(world.count("work #2"), 1_200, "the rest would have waited for the next look");
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_stops_during_an_outage_hands_its_sagas_back_after_it() {
    let (shared, world) = (MemoryJournal::new(), World::default());
    let definition = working(&world);
    let journal = FaultJournal::new(shared.clone());
    let stops = engine_on(journal.clone()).lease_ttl(SECOND * 600).register(&definition).open().await.unwrap();
    let saga = stops.start(&definition, "k", 10).await.unwrap().id();
    until("its step is under way", async || world.count("work") == 1).await;
    let heir = engine_on(shared).register(&definition).open().await.unwrap();
    let began = Instant::now();
    let outage = async {
        journal.outage(true);
        sleep(SECOND * 2).await;
        journal.outage(false);
    };
    tokio::join!(stops.shutdown(Duration::ZERO), outage);
    completed(&heir.handle(&definition, saga)).await;
    assert!(began.elapsed() < SECOND * 20, "nobody waits for the lease to lapse: {:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_has_lost_its_lease_stops_at_once() {
    let (shared, world) = (MemoryJournal::new(), World::default());
    let definition = working(&world);
    let journal = FaultJournal::new(shared.clone());
    let fenced = engine_on(journal.clone()).register(&definition).open().await.unwrap();
    let saga = fenced.start(&definition, "k", 60).await.unwrap().id();
    until("its step is under way", async || world.count("work") == 1).await;
    journal.outage(true);
    let other = engine_on(shared).register(&definition).open().await.unwrap();
    until("its saga is taken over", async || world.count("work #2") == 1).await;
    journal.outage(false);
    let began = Instant::now();
    fenced.shutdown(SECOND * 60).await;
    assert!(began.elapsed() < SECOND, "{:?}", began.elapsed());
    completed(&other.handle(&definition, saga)).await;
}

#[tokio::test(start_paused = true)]
async fn of_sagas_that_are_found_claimed_as_many_are_taken_up_as_there_are_slots_and_then_the_rest() {
    let (shared, world) = (MemoryJournal::new(), World::default());
    let definition = working(&world);
    let client = Engine::builder(shared.clone()).register(&definition).client_only().open().await.unwrap();
    let one = client.start(&definition, "one", 0).await.unwrap();
    let other = client.start(&definition, "other", 0).await.unwrap();
    let journal = FaultJournal::new(shared);
    journal.plan(Planned { method: "claim", call: 0, fault: Fault::After });
    let mut limits = Limits::default();
    limits.in_flight_max = 2;
    let worker = engine_on(journal.clone()).limits(limits).register(&definition).open().await.unwrap();
    until("they are claimed, and the answer is lost", async || journal.reached()).await;
    // Before the worker compares, one of its two slots is taken.
    let long = worker.start(&definition, "long", 30).await.unwrap();
    let both = async { (completed(&one).await, completed(&other).await) };
    tokio::time::timeout(SECOND * 5, both).await.expect("both are taken up");
    assert_eq!(world.log().len(), 3, "each once: {:?}", world.log());
    completed(&long).await;
}
