//! Publishing the events of one saga: one after the other, in their order.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt as _;
use tracing::{error, warn};

use super::attempt::panic_message;
use super::{Inner, telemetry};
use crate::codec::open_event;
use crate::id::SagaId;
use crate::journal::{EventFate, OutboxEvent, SettledEvent};
use crate::publish::{EventPublisher, OutgoingEvent, PublishError};

/// How long one event may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// What became of a saga's events.
pub(super) struct Line {
    pub(super) saga: SagaId,
    pub(super) settled: Vec<SettledEvent>,
}

/// The events of each saga, in their order.
pub(super) fn by_saga(events: Vec<OutboxEvent>) -> Vec<(SagaId, Vec<OutboxEvent>)> {
    let mut lines: Vec<(SagaId, Vec<OutboxEvent>)> = Vec::new();
    let mut place = HashMap::new();
    for event in events {
        let at = *place.entry(event.saga).or_insert(lines.len());
        match lines.get_mut(at) {
            Some((_, line)) => line.push(event),
            None => lines.push((event.saga, vec![event])),
        }
    }
    lines
}

/// Publishes one saga's events, one after the other, up to the first that has to wait.
pub(super) async fn publish_line(
    inner: &Inner,
    publisher: &dyn EventPublisher,
    line: Vec<OutboxEvent>,
) -> Vec<SettledEvent> {
    let mut settled = Vec::with_capacity(line.len());
    for event in line {
        let fate = publish(inner, publisher, &event).await;
        let waits = matches!(fate, EventFate::Retry { .. });
        settled.push(SettledEvent { id: event.event.id, fate });
        if waits {
            break;
        }
    }
    settled
}

/// Publishes an event, and decides what becomes of it.
async fn publish(inner: &Inner, publisher: &dyn EventPublisher, event: &OutboxEvent) -> EventFate {
    // A panic of the publisher, or of a codec, is this event's trouble, and no other's.
    let answer = AssertUnwindSafe(hand_over(inner, publisher, event)).catch_unwind().await;
    let answer = answer.unwrap_or_else(|panic| {
        Err(PublishError::transient(format!("publishing panicked: {}", panic_message(&*panic))))
    });
    let Err(problem) = answer else {
        telemetry::published(1);
        telemetry::publish_lag(inner.clock.now().since(event.at));
        return EventFate::Published;
    };
    let (id, topic, attempt) = (&event.event.id, &event.event.topic, event.attempts + 1);
    let (policy, error) = (&inner.options.publish_retry, super::saga::describe(&problem));
    if problem.is_transient() && policy.allows_another(attempt) {
        telemetry::publish_failed();
        warn!(saga.id = %event.saga, event.id = %id, %topic, %error, "the event was not taken; trying again");
        return EventFate::Retry { after: policy.delay(attempt, fastrand::f64()), error };
    }
    telemetry::event_dead();
    error!(saga.id = %event.saga, event.id = %id, %topic, %error, "the event cannot be published; it waits for a human");
    EventFate::Dead { error }
}

async fn hand_over(inner: &Inner, publisher: &dyn EventPublisher, event: &OutboxEvent) -> Result<(), PublishError> {
    let payload = open_event(inner.blueprints(), &event.event.id, &event.event.payload)
        // Another worker may have the key, or this one after its next deploy.
        .map_err(|error| PublishError::transient("it does not open here").caused_by(error))?;
    let outgoing = OutgoingEvent {
        id: event.event.id.clone(),
        topic: event.event.topic.clone(),
        saga: event.saga,
        headers: event.event.headers.clone(),
        payload: payload.into_owned(),
        attempt: event.attempts + 1,
    };
    let too_late = |_| PublishError::transient(format!("no answer within {} s", TIMEOUT.as_secs()));
    tokio::time::timeout(TIMEOUT, publisher.publish(&outgoing)).await.map_err(too_late)?
}
