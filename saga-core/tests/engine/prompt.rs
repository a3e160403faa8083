//! What a worker knows of it sees to at once, though the journal tells of no work and the worker itself looks every hour.

use std::time::Duration;

use saga_core::engine::{EngineBuilder, Resolution};
use saga_core::journal::{Journal as _, MemoryJournal, SagaStatus};
use saga_core::{BuildError, Definition, Engine, Event, Source as _, StepError, step_fn};
use saga_testkit::faults::FaultJournal;
use saga_testkit::publisher::RecordingPublisher;
use tokio::time::Instant;

use super::support::{completed, dead_letters, unhurried_on, until};

const SOON: Duration = Duration::from_secs(1);

fn left_to_itself(journal: &MemoryJournal) -> EngineBuilder {
    let journal = FaultJournal::new(journal.clone());
    journal.silent(true);
    unhurried_on(journal)
}

fn same() -> impl saga_core::Step<Input = i64, Output = i64> {
    step_fn(async |_, n: i64| Ok(n))
}

#[tokio::test(start_paused = true)]
async fn a_child_begins_and_its_parent_hears_of_its_end() {
    let child = Definition::build("child", 1, |saga, n| {
        let done = saga.query("work", same(), n);
        saga.returns(done)
    })
    .unwrap();
    let parent = Definition::build("parent", 1, |saga, n| {
        let below = saga.child("below", &child, n);
        saga.returns(below)
    })
    .unwrap();
    let engine = left_to_itself(&MemoryJournal::new()).register(&parent).register(&child).open().await.unwrap();
    let began = Instant::now();
    assert_eq!(completed(&engine.start(&parent, "k", 7).await.unwrap()).await, 7);
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn an_event_is_published() {
    let definition = Definition::build("telling", 1, |saga, n| {
        let done = saga.query("work", same(), n);
        // With the last turn: no later one wakes the relay instead.
        saga.publish("tell", done.map(|n: i64| Event::new("told", n)));
        saga.returns(done)
    })
    .unwrap();
    let broker = RecordingPublisher::new();
    let engine =
        left_to_itself(&MemoryJournal::new()).register(&definition).publisher(broker.clone()).open().await.unwrap();
    // The relay has looked, and found nothing.
    tokio::time::sleep(SOON).await;
    let began = Instant::now();
    completed(&engine.start(&definition, "k", 7).await.unwrap()).await;
    until("published", async || !broker.published().is_empty()).await;
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_sleep_that_is_shorter_than_the_time_between_two_looks_is_no_longer() {
    let definition = Definition::build("sleeping", 1, |saga, n| {
        let slept = saga.sleep("sleep", n.map(|_: i64| Duration::from_secs(90)));
        let done = saga.query("work", same(), (n, slept).map(|(n, ()): (i64, ())| n));
        saga.returns(done)
    })
    .unwrap();
    let engine = left_to_itself(&MemoryJournal::new()).register(&definition).open().await.unwrap();
    let began = Instant::now();
    completed(&engine.start(&definition, "k", 7).await.unwrap()).await;
    assert!(began.elapsed() < Duration::from_secs(90) + SOON, "{:?}", began.elapsed());
}

fn broken() -> Result<Definition<i64, i64>, BuildError> {
    Definition::build("broken", 1, |saga, n| {
        let paid = saga.pivot("pay", same(), n);
        let sent = saga.retryable("send", step_fn(async |_, _: i64| Err::<i64, _>(StepError::fatal("no"))), paid);
        saga.returns(sent)
    })
}

#[tokio::test(start_paused = true)]
async fn an_operators_decision_is_carried_out() {
    let definition = broken().unwrap();
    let engine = left_to_itself(&MemoryJournal::new()).register(&definition).open().await.unwrap();
    let began = Instant::now();
    let saga = engine.start(&definition, "k", 7).await.unwrap();
    dead_letters(&saga).await;
    until("parked", async || engine.in_flight() == 0).await;
    let supply = Resolution::Supply(saga_core::Payload::from_json("8".to_owned()).unwrap());
    engine.operator().resolve(saga.id(), "send", supply, "ann", "sent by hand").await.unwrap();
    assert_eq!(completed(&saga).await, 8);
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_signal_is_taken_in() {
    let definition = Definition::build("waiting", 1, |saga, n| {
        let said = saga.wait_for::<i64, _>("wait", "said", n.map(|_: i64| None));
        let done = saga.query("work", same(), said.map(|said: Option<i64>| said.unwrap_or_default()));
        saga.returns(done)
    })
    .unwrap();
    let engine = left_to_itself(&MemoryJournal::new()).register(&definition).open().await.unwrap();
    let began = Instant::now();
    let saga = engine.start(&definition, "k", 7).await.unwrap();
    until("parked", async || {
        engine.status(saga.id()).await.unwrap().unwrap().status == SagaStatus::Waiting && engine.in_flight() == 0
    })
    .await;
    engine.signal("waiting", "k", "said", &8_i64, "m-1").await.unwrap();
    assert_eq!(completed(&saga).await, 8);
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn what_another_process_sent_is_read_before_the_saga_ends() {
    let definition = Definition::build("cancelled", 1, |saga, n| {
        let work = step_fn(async |_, n: i64| {
            tokio::time::sleep(SOON).await;
            Ok(n)
        });
        let done = saga.query("work", work, n);
        saga.returns(done)
    })
    .unwrap();
    let inner = MemoryJournal::new();
    let engine = left_to_itself(&inner).register(&definition).open().await.unwrap();
    let other = Engine::builder(inner.clone()).register(&definition).client_only().open().await.unwrap();
    let began = Instant::now();
    let saga = engine.start(&definition, "k", 7).await.unwrap();
    other.operator().cancel(saga.id(), "ann", "not wanted").await.unwrap();
    // It came too late, and is kept all the same: with who, and why.
    assert_eq!(completed(&saga).await, 7);
    assert!(began.elapsed() < 2 * SOON, "{:?}", began.elapsed());
    let turns = inner.load(&[saga.id()]).await.unwrap().remove(0).turns;
    assert!(turns.iter().any(|turn| turn.body.contains("not wanted")), "{turns:?}");
}
