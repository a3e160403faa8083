//! Messages to sagas: signals, and wishes to cancel.

use std::sync::Arc;

use super::Inner;
use super::error::SignalError;
use super::incarnation::outage_delay;
use crate::checkpoint::Checkpoint;
use crate::journal::{JournalError, Message, Sent};
use crate::machine::Mail;

pub(crate) async fn signal<T: Checkpoint>(
    inner: &Arc<Inner>,
    (definition, key): (&str, &str),
    signal: &str,
    payload: &T,
    message_id: &str,
) -> Result<Sent, SignalError> {
    let max = inner.limits.key_max_bytes;
    for text in [definition, key, signal, message_id] {
        if text.is_empty() || text.len() > max || text.chars().any(char::is_control) {
            return Err(SignalError::BadName { name: text.to_owned(), max });
        }
    }
    let payload = payload.encode()?;
    if payload.len() > inner.limits.payload_max_bytes {
        return Err(SignalError::PayloadTooLarge { bytes: payload.len(), max: inner.limits.payload_max_bytes });
    }
    let mail = Mail::Signal { name: signal.to_owned(), payload };
    send(inner, definition, key, message_id.to_owned(), &mail).await
}

/// Sends the message, again and again while the journal does not answer: its id makes one of them all.
pub(crate) async fn send(
    inner: &Arc<Inner>,
    definition: &str,
    key: &str,
    id: String,
    mail: &Mail,
) -> Result<Sent, SignalError> {
    let body = serde_json::to_string(mail)
        .map_err(|source| SignalError::Payload { source: crate::checkpoint::CheckpointError::Encode { source } })?;
    let message = Message { definition: definition.to_owned(), key: key.to_owned(), id, body };
    let (journal, alive) = (inner.journal.clone(), inner.alive.clone());
    // In a task of its own: the caller may go away, what was begun is finished.
    let sending = tokio::spawn(async move {
        for tries in 0.. {
            match journal.send(std::slice::from_ref(&message)).await {
                Ok(sent) => return Ok(sent.first().copied().unwrap_or(Sent::Accepted)),
                Err(JournalError::Unavailable { .. }) if !alive.is_cancelled() => {}
                Err(source) => return Err(SignalError::Journal { source }),
            }
            tokio::time::sleep(outage_delay(tries)).await;
        }
        Err(SignalError::Closed)
    });
    let waited = inner.options.start_timeout;
    let sent = match tokio::time::timeout(waited, sending).await {
        Ok(Ok(sent)) => sent?,
        Ok(Err(_)) => return Err(SignalError::Closed),
        Err(_) => return Err(SignalError::Unavailable { waited }),
    };
    inner.claims.notify_one();
    Ok(sent)
}
