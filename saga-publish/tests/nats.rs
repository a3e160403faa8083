//! What the NATS publisher promises, on a real server.

#![allow(clippy::unwrap_used, reason = "tests, by nature")]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_nats::jetstream;
use async_nats::jetstream::consumer::{AckPolicy, PullConsumer};
use futures_util::future::join_all;
use futures_util::{StreamExt as _, TryStreamExt as _};
use saga_core::SagaId;
use saga_core::publish::{EventPublisher, OutgoingEvent, PublishError};
use saga_publish::nats::{NatsPublisher, OpenError, stream};
use saga_testkit::nats::NatsServer;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(30);

fn event(id: &str, topic: &str) -> OutgoingEvent {
    OutgoingEvent {
        id: id.to_owned(),
        topic: topic.to_owned(),
        saga: SagaId::new(),
        headers: BTreeMap::new(),
        payload: format!("{{\"of\":\"{id}\"}}"),
        attempt: 1,
    }
}

/// The server of all tests here. Without one they fail, and say what to install.
async fn shared() -> &'static NatsServer {
    NatsServer::shared().await.unwrap_or_else(|problem| panic!("{problem}"))
}

/// A server that a test may kill.
async fn own() -> NatsServer {
    NatsServer::start().await.unwrap_or_else(|problem| panic!("{problem}"))
}

/// A prefix and a stream of the test's own.
fn own_prefix() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("own{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

fn config(prefix: &str) -> stream::Config {
    stream::Config { name: prefix.to_owned(), subjects: vec![format!("{prefix}.>")], ..stream::Config::default() }
}

async fn open(server: &NatsServer, prefix: &str) -> NatsPublisher {
    let client = async_nats::connect(server.url()).await.unwrap();
    // What was under way when the server went is given up soon.
    let publisher = NatsPublisher::builder(client).prefix(prefix).ack_timeout(Duration::from_millis(500));
    publisher.create_stream(config(prefix)).open().await.unwrap()
}

/// All that the stream has stored, in order.
async fn stored(server: &NatsServer, stream: &str) -> Vec<jetstream::Message> {
    let context = jetstream::new(async_nats::connect(server.url()).await.unwrap());
    let mut stream = context.get_stream(stream).await.unwrap();
    let messages = usize::try_from(stream.info().await.unwrap().state.messages).unwrap();
    if messages == 0 {
        return Vec::new();
    }
    let config = jetstream::consumer::pull::Config { ack_policy: AckPolicy::None, ..Default::default() };
    let consumer: PullConsumer = stream.create_consumer(config).await.unwrap();
    let all = async { consumer.messages().await.unwrap().take(messages).try_collect().await.unwrap() };
    tokio::time::timeout(PATIENCE, all).await.unwrap()
}

fn header(message: &jetstream::Message, name: &str) -> String {
    message.headers.as_ref().unwrap().get(name).unwrap().to_string()
}

fn is_rejected(result: Result<(), PublishError>) -> bool {
    result.is_err_and(|error| !error.is_transient())
}

/// Hands the event over until it is taken, as a relay does; returns how often it failed before.
async fn publish_until_taken(publisher: &NatsPublisher, event: &OutgoingEvent) -> u32 {
    let tries = async {
        for failed in 0.. {
            match publisher.publish(event).await {
                Ok(()) => return failed,
                Err(error) => assert!(error.is_transient(), "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        unreachable!()
    };
    tokio::time::timeout(PATIENCE, tries).await.unwrap()
}

#[tokio::test]
async fn the_same_event_published_twice_is_stored_once() {
    let (server, prefix) = (shared().await, own_prefix());
    let publisher = open(server, &prefix).await;
    let first = event("e-1", "paid");
    publisher.publish(&first).await.unwrap();
    publisher.publish(&OutgoingEvent { attempt: 2, ..first.clone() }).await.unwrap();
    // From another process as well.
    open(server, &prefix).await.publish(&first).await.unwrap();
    publisher.publish(&event("e-2", "paid")).await.unwrap();
    let ids: Vec<_> = stored(server, &prefix).await.iter().map(|message| header(message, "Nats-Msg-Id")).collect();
    assert_eq!(ids, ["e-1", "e-2"]);
}

#[tokio::test]
async fn the_id_the_saga_the_headers_and_the_payload_arrive_under_the_topics_subject() {
    let (server, prefix) = (shared().await, own_prefix());
    let publisher = open(server, &prefix).await;
    let headers = [("traceparent", "00-4bf9-00f0-01"), ("Tenant", "größe")];
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let sent = OutgoingEvent { headers: headers.into(), ..event("e-1", "line items.updated") };
    publisher.publish(&sent).await.unwrap();
    let [message] = &stored(server, &prefix).await[..] else { panic!("one message") };
    assert_eq!(message.subject.as_str(), format!("{prefix}.line%20items.updated"));
    assert_eq!(message.subject.as_str(), publisher.subject("line items.updated").unwrap());
    assert_eq!(header(message, "Nats-Msg-Id"), "e-1");
    assert_eq!(header(message, "Saga-Id"), sent.saga.to_string());
    assert_eq!(header(message, "traceparent"), "00-4bf9-00f0-01");
    assert_eq!(header(message, "Tenant"), "größe");
    assert_eq!(message.payload, sent.payload.as_bytes());
}

#[tokio::test]
async fn while_the_server_is_down_publishing_is_transient_and_succeeds_once_it_is_back() {
    let (server, prefix) = (own().await, own_prefix());
    let publisher = open(&server, &prefix).await;
    publisher.publish(&event("before", "t")).await.unwrap();
    server.kill().unwrap();
    let during = event("during", "t");
    let refused = tokio::time::timeout(PATIENCE, publisher.publish(&during)).await.unwrap();
    assert!(refused.is_err_and(|error| error.is_transient()));
    server.start_again().await.unwrap();
    publish_until_taken(&publisher, &during).await;
    let ids: Vec<_> = stored(&server, &prefix).await.iter().map(|message| header(message, "Nats-Msg-Id")).collect();
    assert_eq!(ids, ["before", "during"], "what was acknowledged survived, and what was tried again is there once");
}

#[tokio::test]
async fn events_of_one_saga_keep_their_order_while_the_server_comes_and_goes() {
    let (server, prefix) = (own().await, own_prefix());
    let publisher = open(&server, &prefix).await;
    let ids: Vec<String> = (0..60).map(|n| format!("e-{n:03}")).collect();
    let relay = async {
        for id in &ids {
            publish_until_taken(&publisher, &event(id, "t")).await;
        }
    };
    let trouble = async {
        for _ in 0..2 {
            tokio::time::sleep(Duration::from_millis(20)).await;
            server.kill().unwrap();
            server.start_again().await.unwrap();
        }
    };
    tokio::join!(relay, trouble);
    let arrived: Vec<_> = stored(&server, &prefix).await.iter().map(|message| header(message, "Nats-Msg-Id")).collect();
    assert_eq!(arrived, ids);
}

#[tokio::test]
async fn events_of_different_sagas_share_a_connection_and_wait_side_by_side() {
    let (server, prefix) = (shared().await, own_prefix());
    let client = async_nats::connect(server.url()).await.unwrap();
    // Far more events than may be in flight: the rest wait their turn, and none is refused.
    let publisher = NatsPublisher::builder(client.clone()).prefix(&prefix).in_flight_max(100);
    let publisher = publisher.create_stream(config(&prefix)).open().await.unwrap();
    let events: Vec<_> = (0..2_000).map(|n| event(&format!("e-{n}"), "t")).collect();
    let published = join_all(events.iter().map(|event| publisher.publish(event))).await;
    assert!(published.iter().all(Result::is_ok));
    assert_eq!(stored(server, &prefix).await.len(), events.len());
    assert_eq!(client.statistics().connects.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_dropped_publish_gives_its_place_to_the_next() {
    let (server, prefix) = (shared().await, own_prefix());
    let client = async_nats::connect(server.url()).await.unwrap();
    let publisher = NatsPublisher::builder(client).prefix(&prefix).in_flight_max(1);
    let publisher = publisher.create_stream(config(&prefix)).open().await.unwrap();
    for n in 0..20 {
        let dropped = event(&format!("dropped-{n}"), "t");
        // Polled once: sent, perhaps, and not acknowledged.
        drop(saga_testkit::faults::polled(publisher.publish(&dropped), 1).await);
    }
    let kept = tokio::time::timeout(PATIENCE, publisher.publish(&event("kept", "t"))).await;
    kept.unwrap().unwrap();
}

#[tokio::test]
async fn without_a_stream_publishing_is_transient_until_there_is_one() {
    let (server, prefix) = (shared().await, own_prefix());
    let client = async_nats::connect(server.url()).await.unwrap();
    let publisher = NatsPublisher::builder(client.clone()).prefix(&prefix).open().await.unwrap();
    let error = publisher.publish(&event("e-1", "t")).await.unwrap_err();
    assert!(error.is_transient() && error.to_string().contains("no stream"), "{error}");
    jetstream::new(client).create_stream(config(&prefix)).await.unwrap();
    publisher.publish(&event("e-1", "t")).await.unwrap();
}

#[tokio::test]
async fn what_the_server_will_never_take_is_rejected_and_says_nothing_of_the_payload() {
    let (server, prefix) = (shared().await, own_prefix());
    let client = async_nats::connect(server.url()).await.unwrap();
    let small = stream::Config { max_message_size: 1_000, ..config(&prefix) };
    let publisher = NatsPublisher::builder(client).prefix(&prefix).create_stream(small).open().await.unwrap();
    let of_size = |bytes: usize| OutgoingEvent { payload: "4111".repeat(bytes / 4), ..event("e-1", "t") };
    // Larger than the stream's messages, and larger than the server's.
    for bytes in [2_000, 2 << 20] {
        let error = publisher.publish(&of_size(bytes)).await.unwrap_err();
        assert!(!error.is_transient(), "{error:?}");
        assert!(!format!("{error:?}{error}").contains("4111"), "{error:?}");
    }
    assert!(is_rejected(publisher.publish(&event("e-1", "")).await), "no topic");
    assert!(is_rejected(publisher.publish(&event("e\r\n1", "t")).await), "an id that breaks out of its header");
    for (name, value) in [("a b", "x"), ("", "x"), ("a", "x\r\nb: y"), ("Nats-Rollup", "all"), ("nats-msg-id", "e-2")] {
        let headers = BTreeMap::from([(name.to_owned(), value.to_owned())]);
        let event = OutgoingEvent { headers, ..event("e-1", "t") };
        assert!(is_rejected(publisher.publish(&event).await), "{name:?}: {value:?}");
    }
    assert!(stored(server, &prefix).await.is_empty());
}

#[tokio::test]
async fn a_full_stream_is_transient() {
    let (server, prefix) = (shared().await, own_prefix());
    let client = async_nats::connect(server.url()).await.unwrap();
    let full = stream::Config { max_messages: 1, discard: stream::DiscardPolicy::New, ..config(&prefix) };
    let publisher = NatsPublisher::builder(client).prefix(&prefix).create_stream(full).open().await.unwrap();
    publisher.publish(&event("e-1", "t")).await.unwrap();
    let refused = publisher.publish(&event("e-2", "t")).await;
    assert!(refused.is_err_and(|error| error.is_transient()));
}

#[tokio::test]
async fn a_stream_that_exists_is_left_as_it_is_and_one_that_cannot_be_made_is_an_error() {
    let (server, prefix) = (shared().await, own_prefix());
    let client = async_nats::connect(server.url()).await.unwrap();
    let context = jetstream::new(client.clone());
    context.create_stream(stream::Config { max_messages: 7, ..config(&prefix) }).await.unwrap();
    open(server, &prefix).await;
    assert_eq!(context.get_stream(&prefix).await.unwrap().cached_info().config.max_messages, 7);
    // Another stream has the subjects.
    let rival = stream::Config { name: format!("{prefix}-rival"), ..config(&prefix) };
    let refused = NatsPublisher::builder(client.clone()).create_stream(rival).open().await.unwrap_err();
    assert!(matches!(refused, OpenError::Stream { stream, .. } if stream.ends_with("rival")));
    let refused = NatsPublisher::builder(client).prefix("a b").open().await.unwrap_err();
    assert!(matches!(refused, OpenError::BadPrefix { .. }));
}
