//! What the HTTP publisher promises, on a real server.

#![allow(clippy::unwrap_used, reason = "tests, by nature")]

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use saga_core::SagaId;
use saga_core::publish::{EventPublisher, OutgoingEvent, PublishError};
use saga_publish::http::{BuildError, HttpPublisher, Mode};
use serde_json::{Value, json};

struct Request {
    method: Method,
    path: String,
    headers: HeaderMap,
    body: Bytes,
}

impl Request {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap().to_str().unwrap()
    }
}

#[derive(Clone)]
enum Fault {
    Status(u16, &'static [(&'static str, &'static str)]),
    NoAnswer,
}

/// Records what it is sent, and answers as it is told; 204 when it is told nothing.
#[derive(Clone, Default)]
struct Receiver {
    requests: Arc<Mutex<Vec<Request>>>,
    faults: Arc<Mutex<VecDeque<Fault>>>,
}

impl Receiver {
    async fn listen(&self) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let app = Router::new().fallback(receive).with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        format!("http://{address}")
    }

    fn fail(&self, fault: Fault) {
        self.faults.lock().unwrap().push_back(fault);
    }

    fn received(&self) -> Vec<Request> {
        std::mem::take(&mut self.requests.lock().unwrap())
    }
}

async fn receive(
    State(receiver): State<Receiver>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    receiver.requests.lock().unwrap().push(Request { method, path: uri.path().to_owned(), headers, body });
    let fault = receiver.faults.lock().unwrap().pop_front();
    match fault {
        None => StatusCode::NO_CONTENT.into_response(),
        Some(Fault::Status(status, headers)) => {
            (StatusCode::from_u16(status).unwrap(), axum::response::AppendHeaders(headers.to_vec())).into_response()
        }
        Some(Fault::NoAnswer) => std::future::pending().await,
    }
}

fn event(topic: &str) -> OutgoingEvent {
    OutgoingEvent {
        id: "e-1".to_owned(),
        topic: topic.to_owned(),
        saga: SagaId::new(),
        headers: BTreeMap::from([("Trace-Parent".to_owned(), "00-größe".to_owned())]),
        payload: "{\"card\":\"4111\"}".to_owned(),
        attempt: 1,
    }
}

async fn dapr() -> (Receiver, HttpPublisher) {
    let receiver = Receiver::default();
    let publisher = HttpPublisher::dapr(&receiver.listen().await, "orders").source("/checkout").build().unwrap();
    (receiver, publisher)
}

#[tokio::test]
async fn dapr_is_sent_a_structured_cloud_event_under_the_events_id() {
    let (receiver, publisher) = dapr().await;
    let sent = event("line/items updated");
    publisher.publish(&sent).await.unwrap();
    let [request] = &receiver.received()[..] else { panic!("one request") };
    assert_eq!(
        (&request.method, request.path.as_str()),
        (&Method::POST, "/v1.0/publish/orders/line%2Fitems%20updated")
    );
    assert_eq!(request.header("content-type"), "application/cloudevents+json");
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    let expected = json!({
        "specversion": "1.0",
        "id": "e-1",
        "source": "/checkout",
        "type": "line/items updated",
        "subject": sent.saga.to_string(),
        "datacontenttype": "application/json",
        "traceparent": "00-größe",
        "data": { "card": "4111" },
    });
    assert_eq!(body, expected);
}

#[tokio::test]
async fn a_plain_url_is_sent_events_in_either_mode_with_the_hosts_headers() {
    let receiver = Receiver::default();
    let url = format!("{}/hook", receiver.listen().await);
    let builder = || HttpPublisher::to(&url).type_prefix("com.example.").header("Authorization", "Bearer t");
    let sent = event("paid");
    builder().build().unwrap().publish(&sent).await.unwrap();
    builder().mode(Mode::Binary).build().unwrap().publish(&sent).await.unwrap();
    let [structured, binary] = &receiver.received()[..] else { panic!("two requests") };
    for request in [structured, binary] {
        assert_eq!(request.path, "/hook");
        assert_eq!(request.header("authorization"), "Bearer t");
    }
    assert_eq!(structured.header("content-type"), "application/cloudevents+json");
    assert_eq!(binary.header("content-type"), "application/json");
    assert_eq!(binary.body, sent.payload.as_bytes());
    assert_eq!(binary.header("ce-specversion"), "1.0");
    assert_eq!(binary.header("ce-id"), "e-1");
    assert_eq!(binary.header("ce-type"), "com.example.paid");
    assert_eq!(binary.header("ce-source"), "/saga");
    assert_eq!(binary.header("ce-subject"), sent.saga.to_string());
    assert_eq!(binary.header("ce-traceparent"), "00-gr%C3%B6%C3%9Fe");
}

#[tokio::test]
async fn only_a_refusal_that_is_for_good_rejects_an_event() {
    let (receiver, publisher) = dapr().await;
    for status in [400, 401, 403, 404, 409, 413, 422] {
        receiver.fail(Fault::Status(status, &[]));
        let error = publisher.publish(&event("t")).await.unwrap_err();
        assert!(!error.is_transient(), "{status}");
        assert!(error.to_string().contains(&status.to_string()), "{error}");
    }
    for status in [408, 425, 429, 500, 502, 503, 504, 301, 302, 307, 308] {
        receiver.fail(Fault::Status(status, &[("location", "/elsewhere")]));
        assert!(publisher.publish(&event("t")).await.unwrap_err().is_transient(), "{status}");
    }
    // Redirects were not followed.
    assert!(receiver.received().iter().all(|request| request.path == "/v1.0/publish/orders/t"));
    publisher.publish(&event("t")).await.unwrap();
}

#[tokio::test]
async fn a_receiver_that_asks_to_be_left_alone_is_heard() {
    let (receiver, publisher) = dapr().await;
    receiver.fail(Fault::Status(429, &[("retry-after", "7")]));
    let error = publisher.publish(&event("t")).await.unwrap_err();
    assert!(matches!(error, PublishError::Transient { retry_after: Some(wait), .. } if wait.as_secs() == 7));
    receiver.fail(Fault::Status(503, &[("retry-after", "Fri, 31 Dec 1999 23:59:59 GMT")]));
    let error = publisher.publish(&event("t")).await.unwrap_err();
    assert!(matches!(error, PublishError::Transient { retry_after: None, .. }));
}

#[tokio::test]
async fn no_answer_in_time_is_transient_and_the_next_try_has_the_same_id() {
    let receiver = Receiver::default();
    let publisher = HttpPublisher::dapr(&receiver.listen().await, "orders").timeout(Duration::from_millis(100));
    let publisher = publisher.build().unwrap();
    receiver.fail(Fault::NoAnswer);
    let error = publisher.publish(&event("t")).await.unwrap_err();
    assert!(error.is_transient() && error.to_string().contains("in time"), "{error}");
    publisher.publish(&OutgoingEvent { attempt: 2, ..event("t") }).await.unwrap();
    let ids: Vec<Value> = receiver
        .received()
        .iter()
        .map(|request| serde_json::from_slice::<Value>(&request.body).unwrap()["id"].clone())
        .collect();
    assert_eq!(ids, ["e-1", "e-1"]);
}

#[tokio::test]
async fn while_nobody_listens_publishing_is_transient_and_succeeds_later() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let publisher = HttpPublisher::to(&format!("http://ann:pass@{address}/?token=secret")).build().unwrap();
    let error = publisher.publish(&event("t")).await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    let shown = format!("{error:?} {publisher:?}");
    assert!(!shown.contains("pass") && !shown.contains("secret") && !shown.contains("4111"), "{shown}");
    let receiver = Receiver::default();
    let listener = tokio::net::TcpListener::bind(address).await.unwrap();
    let app = Router::new().fallback(receive).with_state(receiver.clone());
    tokio::spawn(async move { axum::serve(listener, app).await });
    publisher.publish(&event("t")).await.unwrap();
    assert_eq!(receiver.received().len(), 1);
}

#[tokio::test]
async fn an_event_that_no_request_can_carry_is_rejected_and_not_sent() {
    let (receiver, publisher) = dapr().await;
    let no_json = OutgoingEvent { payload: "4111".to_owned() + "}", ..event("t") };
    let reserved = OutgoingEvent { headers: BTreeMap::from([("Id".to_owned(), "e-2".to_owned())]), ..event("t") };
    for event in [event(""), event(".."), no_json, reserved] {
        let error = publisher.publish(&event).await.unwrap_err();
        assert!(!error.is_transient(), "{event:?}");
        assert!(!format!("{error:?}").contains("4111"), "{error:?}");
    }
    assert!(receiver.received().is_empty());
}

#[test]
fn what_cannot_be_an_address_or_a_header_is_refused_without_showing_secrets() {
    let bad = HttpPublisher::to("ftp://ann:pass@h/?token=t").build().unwrap_err();
    assert_eq!(bad.to_string(), "the address \"…@h/\" is no http or https URL that a path can follow");
    assert!(matches!(HttpPublisher::dapr("http://h", "..").build(), Err(BuildError::BadAddress { .. })));
    let builder = HttpPublisher::to("http://h").header("dapr-api-token", "s\necret");
    assert!(!format!("{builder:?}").contains("ecret"));
    let bad = builder.build().unwrap_err();
    assert!(bad.to_string().contains("dapr-api-token") && !format!("{bad:?}").contains("ecret"), "{bad:?}");
}
