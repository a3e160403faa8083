//! What takes the server's events, and what came.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::{Json, State};
use axum::http::StatusCode;
use axum::routing::post;
use futures_util::StreamExt as _;
use serde_json::Value;
use tokio::net::TcpListener;

use super::CampaignError;

/// The server's stream.
const STREAM: &str = "INITIATE";
/// How long a stream is read that has nothing more.
const SILENCE: Duration = Duration::from_secs(2);

/// An event as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Arrived {
    /// The same in every copy.
    pub(super) id: String,
    pub(super) topic: String,
    pub(super) execution_context_id: String,
    /// The header, the same in every copy as well.
    pub(super) idempotency_key: String,
}

/// Takes events over HTTP. Clones are the same one.
#[derive(Clone, Debug, Default)]
pub(super) struct Sink {
    arrived: Arc<Mutex<Vec<Arrived>>>,
}

impl Sink {
    /// Takes events from now on; the address.
    pub(super) async fn serve(&self) -> Result<String, CampaignError> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let url = format!("http://{}/events", listener.local_addr()?);
        let router = Router::new().route("/events", post(take)).with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(url)
    }

    pub(super) fn arrived(&self) -> Vec<Arrived> {
        self.arrived.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn take(State(sink): State<Sink>, Json(event): Json<Value>) -> StatusCode {
    let text = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
    let context = event["data"]["executionContextId"].as_str().unwrap_or_default();
    let arrived = Arrived {
        id: text("id"),
        topic: text("type"),
        execution_context_id: context.to_owned(),
        idempotency_key: text("idempotencykey"),
    };
    sink.arrived.lock().unwrap_or_else(PoisonError::into_inner).push(arrived);
    StatusCode::NO_CONTENT
}

/// All that is in the server's stream.
pub(super) async fn in_stream(url: &str) -> Result<Vec<Arrived>, CampaignError> {
    let context = async_nats::jetstream::new(async_nats::connect(url).await?);
    let stream = context.get_stream(STREAM).await?;
    let consumer = stream.create_consumer(async_nats::jetstream::consumer::pull::Config::default()).await?;
    let mut messages = consumer.messages().await?;
    let mut arrived = Vec::new();
    while let Ok(Some(message)) = tokio::time::timeout(SILENCE, messages.next()).await {
        let message = message?;
        let header = |name: &str| {
            let value = message.headers.as_ref().and_then(|headers| headers.get(name));
            value.map(ToString::to_string).unwrap_or_default()
        };
        let payload: Value = serde_json::from_slice(&message.payload)?;
        arrived.push(Arrived {
            id: header("Nats-Msg-Id"),
            topic: message.subject.rsplit('.').next().unwrap_or_default().to_owned(),
            execution_context_id: payload["executionContextId"].as_str().unwrap_or_default().to_owned(),
            idempotency_key: header("idempotencyKey"),
        });
    }
    Ok(arrived)
}

/// The events by execution context and topic, each once.
pub(super) fn once(arrived: &[Arrived]) -> BTreeMap<(&str, &str), BTreeSet<(&str, &str)>> {
    let mut once: BTreeMap<(&str, &str), BTreeSet<(&str, &str)>> = BTreeMap::new();
    for event in arrived {
        let events = once.entry((&event.execution_context_id, &event.topic)).or_default();
        events.insert((&event.id, &event.idempotency_key));
    }
    once
}
