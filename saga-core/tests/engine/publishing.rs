//! Promise 9: events are published once their turn is committed, in order, and never otherwise.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use saga_core::engine::OpenError;
use saga_core::journal::MemoryJournal;
use saga_core::publish::{EventPublisher, OutgoingEvent, PublishError};
use saga_core::{Definition, Event, RetryPolicy, Source as _, StepError, async_trait, step_fn};
use tokio::time::Instant;

use super::support::{completed, engine, rolled_back, until};

/// A broker that takes what it likes, and remembers.
#[derive(Clone, Debug, Default)]
struct Broker {
    taken: Arc<Mutex<Vec<OutgoingEvent>>>,
    /// How many more are not taken.
    refuses: Arc<Mutex<u32>>,
    poison: Option<&'static str>,
}

impl Broker {
    fn topics(&self) -> Vec<String> {
        self.taken.lock().unwrap().iter().map(|event| event.topic.clone()).collect()
    }
}

#[async_trait]
impl EventPublisher for Broker {
    async fn publish(&self, event: &OutgoingEvent) -> Result<(), PublishError> {
        if self.poison == Some(event.topic.as_str()) {
            return Err(PublishError::rejected("not a topic"));
        }
        let mut refuses = self.refuses.lock().unwrap();
        if *refuses > 0 {
            *refuses -= 1;
            return Err(PublishError::transient("not now"));
        }
        self.taken.lock().unwrap().push(event.clone());
        Ok(())
    }
}

/// Publishes three events around a step that takes a second, and one more when that went well.
fn telling(fails: bool) -> Definition<i64, i64> {
    Definition::build("telling", 1, |saga, n| {
        saga.publish("one", n.map(|n: i64| Event::new("first", n).header("tenant", "acme")));
        saga.publish("two", n.map(|n: i64| Event::new("second", n)));
        let work = step_fn(move |_, n: i64| async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            if fails { Err(StepError::rejected("no")) } else { Ok(n) }
        });
        let worked = saga.query("work", work, n);
        saga.publish("three", worked.map(|n: i64| Event::new("third", n)));
        saga.returns(worked)
    })
    .unwrap()
}

#[tokio::test(start_paused = true)]
async fn events_are_published_in_order_with_their_headers_under_stable_ids() {
    let (definition, broker) = (telling(false), Broker::default());
    let engine = engine(&MemoryJournal::new()).register(&definition).publisher(broker.clone()).open().await.unwrap();
    let saga = engine.start(&definition, "k", 7).await.unwrap();
    completed(&saga).await;
    until("all published", async || broker.topics().len() == 3).await;
    assert_eq!(broker.topics(), ["first", "second", "third"]);
    let taken = broker.taken.lock().unwrap().clone();
    assert_eq!(
        (taken[0].headers["tenant"].as_str(), taken[0].payload.as_str(), taken[0].saga),
        ("acme", "7", saga.id())
    );
    let ids: std::collections::BTreeSet<&String> = taken.iter().map(|event| &event.id).collect();
    assert_eq!(ids.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn what_was_committed_is_published_and_what_came_after_the_failure_never() {
    let (definition, broker) = (telling(true), Broker::default());
    let engine = engine(&MemoryJournal::new()).register(&definition).publisher(broker.clone()).open().await.unwrap();
    rolled_back(&engine.start(&definition, "k", 7).await.unwrap()).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(broker.topics(), ["first", "second"]);
}

#[tokio::test(start_paused = true)]
async fn an_event_that_is_not_taken_is_tried_again_before_those_that_come_after_it() {
    let (definition, broker) = (telling(false), Broker::default());
    *broker.refuses.lock().unwrap() = 3;
    let engine = engine(&MemoryJournal::new())
        .register(&definition)
        .publisher(broker.clone())
        .publish_retry(RetryPolicy::fixed(Duration::from_secs(5)).attempts(10))
        .open()
        .await
        .unwrap();
    completed(&engine.start(&definition, "k", 7).await.unwrap()).await;
    until("all published", async || broker.topics().len() == 3).await;
    assert_eq!(broker.topics(), ["first", "second", "third"]);
}

#[tokio::test(start_paused = true)]
async fn a_poison_event_waits_for_a_human_and_holds_up_no_other() {
    let definition = telling(false);
    let journal = MemoryJournal::new();
    let broker = Broker { poison: Some("second"), ..Broker::default() };
    let first = engine(&journal).register(&definition).publisher(broker.clone()).open().await.unwrap();
    completed(&first.start(&definition, "k", 7).await.unwrap()).await;
    until("the others published", async || broker.topics().len() == 2).await;
    assert_eq!(broker.topics(), ["first", "third"]);
    let dead = first.operator().dead_events(10).await.unwrap();
    assert_eq!(
        (dead.len(), dead[0].event.event.topic.as_str(), dead[0].error.contains("not a topic")),
        (1, "second", true)
    );
    first.shutdown(Duration::from_secs(1)).await;
    // The broker has learned the topic.
    let mended = Broker::default();
    let second = engine(&journal).register(&definition).publisher(mended.clone()).open().await.unwrap();
    second.operator().republish(&dead[0].event.event.id, "ann", "the topic is there now").await.unwrap();
    until("published", async || mended.topics() == ["second"]).await;
    assert_eq!(second.operator().dead_events(10).await.unwrap(), []);
    let gone = second.operator().republish(&dead[0].event.event.id, "ann", "once more").await;
    assert!(gone.is_err());
}

#[tokio::test(start_paused = true)]
async fn events_of_a_crashed_worker_are_published_by_the_next_one() {
    let (definition, journal) = (telling(false), MemoryJournal::new());
    let down = Broker { refuses: Arc::new(Mutex::new(u32::MAX)), ..Broker::default() };
    let first = engine(&journal).register(&definition).publisher(down.clone()).open().await.unwrap();
    let saga = first.start(&definition, "k", 7).await.unwrap().id();
    tokio::time::sleep(Duration::from_millis(500)).await;
    drop(first);
    let broker = Broker::default();
    let second = engine(&journal).register(&definition).publisher(broker.clone()).open().await.unwrap();
    completed(&second.handle(&definition, saga)).await;
    until("all published", async || broker.topics().len() == 3).await;
    assert_eq!(broker.topics(), ["first", "second", "third"]);
    assert_eq!(down.topics(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_stops_publishes_what_its_sagas_left() {
    let (definition, broker) = (telling(false), Broker::default());
    let engine = engine(&MemoryJournal::new()).register(&definition).publisher(broker.clone()).open().await.unwrap();
    engine.start(&definition, "k", 7).await.unwrap();
    engine.shutdown(Duration::from_secs(10)).await;
    assert_eq!(broker.topics(), ["first", "second", "third"]);
}

#[tokio::test(start_paused = true)]
async fn a_worker_without_a_publisher_does_not_open() {
    let definition = telling(false);
    let opened = engine(&MemoryJournal::new()).register(&definition).open().await;
    assert!(matches!(opened, Err(OpenError::NoPublisher { .. })), "{opened:?}");
    engine(&MemoryJournal::new()).register(&definition).client_only().open().await.unwrap();
}

/// Does this with the first event it is given, and takes all that come later.
#[derive(Clone, Debug)]
struct Stumbles(Broker, Arc<Mutex<Option<Stumble>>>);

#[derive(Clone, Copy, Debug)]
enum Stumble {
    Panics,
    Hangs,
}

impl Stumbles {
    fn first(stumble: Stumble) -> Self {
        Self(Broker::default(), Arc::new(Mutex::new(Some(stumble))))
    }
}

#[async_trait]
impl EventPublisher for Stumbles {
    async fn publish(&self, event: &OutgoingEvent) -> Result<(), PublishError> {
        let stumble = self.1.lock().unwrap().take();
        match stumble {
            Some(Stumble::Panics) => panic!("as asked for"),
            Some(Stumble::Hangs) => std::future::pending().await,
            None => self.0.publish(event).await,
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_whose_publisher_panics_is_tried_again() {
    let (definition, publisher) = (telling(false), Stumbles::first(Stumble::Panics));
    let engine = engine(&MemoryJournal::new()).register(&definition).publisher(publisher.clone()).open().await.unwrap();
    completed(&engine.start(&definition, "k", 7).await.unwrap()).await;
    until("all published", async || publisher.0.topics().len() == 3).await;
    assert_eq!(publisher.0.topics(), ["first", "second", "third"]);
}

#[tokio::test(start_paused = true)]
async fn an_event_that_hangs_holds_up_no_other_sagas() {
    let (definition, publisher) = (telling(false), Stumbles::first(Stumble::Hangs));
    let engine = engine(&MemoryJournal::new()).register(&definition).publisher(publisher.clone()).open().await.unwrap();
    let began = Instant::now();
    engine.start(&definition, "hangs", 7).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    engine.start(&definition, "goes on", 8).await.unwrap();
    until("the other saga's are published", async || publisher.0.topics().len() == 3).await;
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    // The first one's time limit comes, and it is tried again.
    until("all published", async || publisher.0.topics().len() == 6).await;
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_does_not_answer_keeps_no_saga_from_being_handed_back() {
    let (definition, journal, hour) = (telling(false), MemoryJournal::new(), Duration::from_secs(3600));
    let hangs = Stumbles::first(Stumble::Hangs);
    let first = engine(&journal).lease_ttl(hour).register(&definition).publisher(hangs).open().await.unwrap();
    let saga = first.start(&definition, "k", 7).await.unwrap().id();
    tokio::time::sleep(Duration::from_millis(100)).await;
    first.shutdown(Duration::ZERO).await;
    let (stopped, broker) = (Instant::now(), Broker::default());
    let second = engine(&journal).register(&definition).publisher(broker.clone()).open().await.unwrap();
    completed(&second.handle(&definition, saga)).await;
    assert!(stopped.elapsed() < Duration::from_secs(10), "{:?}", stopped.elapsed());
    until("all published", async || broker.topics().len() == 3).await;
}
