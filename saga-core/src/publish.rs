//! Events on their way to a broker.
//!
//! The engine's relay hands each committed event to an [`EventPublisher`]: events of different sagas at
//! the same time, those of one saga one after the other. Delivery is *at least once*: an event whose
//! acknowledgement was lost is handed over again, under the same [`OutgoingEvent::id`]. A publisher
//! passes that id on, so that the broker or the consumer can drop what it has already seen.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use tracing::info;

use crate::id::SagaId;

/// An event on its way to a broker.
///
/// Its `Debug` shows neither the payload nor what stands in the headers.
#[derive(Clone, PartialEq, Eq)]
pub struct OutgoingEvent {
    /// Marks the event, the same however often it is handed over: brokers and consumers deduplicate by it.
    pub id: String,
    /// What it is about, for example `line_items_updated`: brokers route by it.
    pub topic: String,
    /// The saga that published it. Events of one saga come in order.
    pub saga: SagaId,
    /// What goes with it beside the payload.
    pub headers: BTreeMap<String, String>,
    /// What it says: a JSON text.
    pub payload: String,
    /// Which try this is, counted from one.
    pub attempt: u32,
}

impl fmt::Debug for OutgoingEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutgoingEvent")
            .field("id", &self.id)
            .field("topic", &self.topic)
            .field("saga", &self.saga)
            .field("headers", &self.headers.keys())
            .field("payload_bytes", &self.payload.len())
            .field("attempt", &self.attempt)
            .finish()
    }
}

/// Where events go: a message broker, a web hook, a log.
///
/// ```
/// use saga_core::async_trait;
/// use saga_core::publish::{EventPublisher, OutgoingEvent, PublishError};
///
/// #[derive(Debug)]
/// struct Printer;
///
/// #[async_trait]
/// impl EventPublisher for Printer {
///     async fn publish(&self, event: &OutgoingEvent) -> Result<(), PublishError> {
///         if event.topic.is_empty() {
///             return Err(PublishError::rejected("an event without a topic"));
///         }
///         println!("{} {}: {}", event.id, event.topic, event.payload);
///         Ok(())
///     }
/// }
/// ```
#[async_trait]
pub trait EventPublisher: fmt::Debug + Send + Sync + 'static {
    /// Returns once the broker has the event durably.
    ///
    /// It is called concurrently for events of different sagas, and in order, one after the other, for
    /// those of one saga. Dropping the future leaves it open whether the broker has the event; it is then
    /// handed over again.
    ///
    /// # Errors
    /// [`PublishError::Transient`] whenever it is not certain that handing the event over again is useless.
    async fn publish(&self, event: &OutgoingEvent) -> Result<(), PublishError>;
}

/// Publishers are used behind a pointer.
const _: fn(&dyn EventPublisher) = |_| {};

/// An event was not published, or it is not known whether it was. No text here shows a payload.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// Hand it over again, under the same id: the broker is away or overloaded, or its answer was lost.
    #[error("the event is not certainly published, and is worth another try: {reason}")]
    Transient {
        /// What went wrong.
        reason: String,
        /// How long the broker asked to be left alone, when it did.
        retry_after: Option<Duration>,
        /// What the client said, when it said more.
        source: Option<Box<dyn Error + Send + Sync>>,
    },
    /// The broker will never take this event as it stands: a human must look at it.
    #[error("the broker will not take the event: {reason}")]
    Rejected {
        /// Why not.
        reason: String,
        /// What the client said, when it said more.
        source: Option<Box<dyn Error + Send + Sync>>,
    },
}

impl PublishError {
    /// Worth another try.
    #[must_use]
    pub fn transient(reason: impl fmt::Display) -> Self {
        Self::Transient { reason: reason.to_string(), retry_after: None, source: None }
    }

    /// Never to be taken.
    #[must_use]
    pub fn rejected(reason: impl fmt::Display) -> Self {
        Self::Rejected { reason: reason.to_string(), source: None }
    }

    /// The same error with what the client said.
    #[must_use]
    pub fn caused_by(self, cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        let source = Some(cause.into());
        match self {
            Self::Transient { reason, retry_after, .. } => Self::Transient { reason, retry_after, source },
            Self::Rejected { reason, .. } => Self::Rejected { reason, source },
        }
    }

    /// The same error with how long the broker asked to be left alone. It has no meaning for a rejection.
    #[must_use]
    pub fn after(self, wait: Duration) -> Self {
        match self {
            Self::Transient { reason, source, .. } => Self::Transient { reason, retry_after: Some(wait), source },
            rejected @ Self::Rejected { .. } => rejected,
        }
    }

    /// Whether handing the event over again can help.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Transient { .. } => true,
            Self::Rejected { .. } => false,
        }
    }
}

/// Writes events to the log, without their payloads, and calls them published. For development.
#[derive(Clone, Copy, Debug, Default)]
pub struct LogPublisher;

#[async_trait]
impl EventPublisher for LogPublisher {
    async fn publish(&self, event: &OutgoingEvent) -> Result<(), PublishError> {
        info!(
            event.id = %event.id,
            event.topic = %event.topic,
            saga.id = %event.saga,
            attempt = event.attempt,
            payload_bytes = event.payload.len(),
            "an event"
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_content() {
        let event = OutgoingEvent {
            id: "e-1".to_owned(),
            topic: "paid".to_owned(),
            saga: SagaId::new(),
            headers: BTreeMap::from([("tenant".to_owned(), "secret-tenant".to_owned())]),
            payload: "\"4111 1111 1111 1111\"".to_owned(),
            attempt: 1,
        };
        let shown = format!("{event:?}");
        assert!(shown.contains("e-1") && shown.contains("tenant"), "{shown}");
        assert!(!shown.contains("4111") && !shown.contains("secret-tenant"), "{shown}");
    }

    #[test]
    fn an_error_keeps_what_it_was_given() {
        let error = PublishError::transient("busy").caused_by("503").after(Duration::from_secs(2));
        assert!(error.is_transient());
        assert_eq!(error.source().unwrap().to_string(), "503");
        assert!(matches!(error, PublishError::Transient { retry_after: Some(wait), .. } if wait.as_secs() == 2));
        assert!(!PublishError::rejected("too large").after(Duration::ZERO).is_transient());
    }
}
