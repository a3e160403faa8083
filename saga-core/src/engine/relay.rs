//! The relay: hands the events of this worker's sagas, and those that gone workers have left, to the
//! publisher. At least once, and those of one saga in their order.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};
use tokio::time::Instant;
use tracing::{error, warn};

use super::Inner;
use super::incarnation::{Incarnation, outage_delay};
use super::telemetry;
use crate::codec::open_event;
use crate::id::SagaId;
use crate::journal::{EventFate, JournalError, OutboxEvent, SettledEvent};
use crate::publish::{EventPublisher, OutgoingEvent, PublishError};
use crate::seeded::seeded;

/// How many events one round takes.
const BATCH: usize = 1_000;
/// How many sagas have an event on its way to the broker at a time.
const AT_ONCE: usize = 256;
/// How long one event may take.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The events of gone workers are looked for this often at most: those of its own sagas wake it.
const SWEEP: Duration = Duration::from_secs(1);

/// Publishes until the worker stops.
pub(crate) async fn run(inner: Arc<Inner>, publisher: Arc<dyn EventPublisher>) {
    let mut outages = 0;
    while !inner.draining.is_cancelled() {
        let sweep_at = Instant::now() + SWEEP.max(inner.options.poll_interval);
        let Some(incarnation) = inner.incarnation().filter(|incarnation| incarnation.is_live()) else {
            // A lease comes back, or the next begins, within moments.
            tokio::time::sleep(SWEEP).await;
            continue;
        };
        let wake_at = match round(&inner, &incarnation, &*publisher).await {
            Ok(Round::More) => continue,
            Ok(Round::Until(due)) => {
                outages = 0;
                due.map_or(sweep_at, |due| due.min(sweep_at))
            }
            // The worker finds out by itself that its lease is gone.
            Err(JournalError::Fenced { .. }) => Instant::now() + SWEEP,
            Err(problem) => {
                warn!(%problem, "the outbox cannot be read or settled; trying again");
                outages += 1;
                Instant::now() + outage_delay(outages)
            }
        };
        tokio::select! {
            biased;
            () = inner.draining.cancelled() => {}
            () = inner.events.notified() => {}
            () = tokio::time::sleep_until(wake_at) => {}
        }
    }
}

/// Publishes what the last sagas of a worker that stops have left, and what can be done at once of it.
pub(crate) async fn finish(inner: &Inner, incarnation: &Incarnation) {
    let Some(publisher) = &inner.options.publisher else { return };
    while let Ok(Round::More) = round(inner, incarnation, &**publisher).await {}
}

enum Round {
    /// There may be more at once.
    More,
    /// There is none before this time, as far as is known.
    Until(Option<Instant>),
}

async fn round(
    inner: &Inner,
    incarnation: &Incarnation,
    publisher: &dyn EventPublisher,
) -> Result<Round, JournalError> {
    let batch = inner.journal.outbox(incarnation.lease, BATCH).await?;
    if batch.events.is_empty() {
        return Ok(Round::Until(batch.next_due_at.map(|due| inner.clock.instant(due))));
    }
    if seeded("M7") {
        let sent = |event: &OutboxEvent| SettledEvent { id: event.event.id.clone(), fate: EventFate::Published };
        let sent: Vec<SettledEvent> = batch.events.iter().map(sent).collect();
        inner.journal.settle_events(incarnation.lease, &sent).await?;
    }
    let lines = by_saga(batch.events);
    let settled: Vec<Vec<SettledEvent>> =
        stream::iter(lines).map(|line| publish_line(inner, publisher, line)).buffer_unordered(AT_ONCE).collect().await;
    let settled: Vec<SettledEvent> = settled.into_iter().flatten().collect();
    inner.journal.settle_events(incarnation.lease, &settled).await?;
    if settled.iter().any(|event| matches!(event.fate, EventFate::Dead { .. })) {
        inner.alerts.notify_one();
    }
    Ok(Round::More)
}

/// The events of each saga, in their order.
fn by_saga(events: Vec<OutboxEvent>) -> Vec<Vec<OutboxEvent>> {
    let mut lines: Vec<(SagaId, Vec<OutboxEvent>)> = Vec::new();
    let mut place = std::collections::HashMap::new();
    for event in events {
        let at = *place.entry(event.saga).or_insert(lines.len());
        match lines.get_mut(at) {
            Some((_, line)) => line.push(event),
            None => lines.push((event.saga, vec![event])),
        }
    }
    lines.into_iter().map(|(_, line)| line).collect()
}

/// Publishes one saga's events, one after the other, up to the first that has to wait.
async fn publish_line(inner: &Inner, publisher: &dyn EventPublisher, line: Vec<OutboxEvent>) -> Vec<SettledEvent> {
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

async fn publish(inner: &Inner, publisher: &dyn EventPublisher, event: &OutboxEvent) -> EventFate {
    let opened = open_event(inner.blueprints(), &event.event.id, &event.event.payload);
    let (payload, sealed) = match opened {
        Ok(payload) => (payload.into_owned(), None),
        // Another worker may have the key, or this one after its next deploy.
        Err(error) => (String::new(), Some(PublishError::transient("it does not open here").caused_by(error))),
    };
    let outgoing = OutgoingEvent {
        id: event.event.id.clone(),
        topic: event.event.topic.clone(),
        saga: event.saga,
        headers: event.event.headers.clone(),
        payload,
        attempt: event.attempts + 1,
    };
    let answer = match sealed {
        Some(problem) => Ok(Err(problem)),
        None => tokio::time::timeout(TIMEOUT, publisher.publish(&outgoing)).await,
    };
    let problem = match answer {
        Ok(Ok(())) => {
            telemetry::published(1);
            telemetry::publish_lag(inner.clock.now().since(event.at));
            return EventFate::Published;
        }
        Ok(Err(problem)) => problem,
        Err(_) => PublishError::transient(format!("no answer within {} s", TIMEOUT.as_secs())),
    };
    let (policy, error) = (&inner.options.publish_retry, super::saga::describe(&problem));
    if problem.is_transient() && policy.allows_another(outgoing.attempt) {
        telemetry::publish_failed();
        warn!(saga.id = %event.saga, event.id = %outgoing.id, topic = %outgoing.topic, %error, "the event was not taken; trying again");
        return EventFate::Retry { after: policy.delay(outgoing.attempt, fastrand::f64()), error };
    }
    telemetry::event_dead();
    error!(saga.id = %event.saga, event.id = %outgoing.id, topic = %outgoing.topic, %error, "the event cannot be published; it waits for a human");
    EventFate::Dead { error }
}
