//! Messages to sagas: signals, and wishes to cancel.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::error::SignalError;
use super::incarnation::{Begun, outage_delay};
use super::{Inner, late, telemetry};
use crate::checkpoint::{Checkpoint, CheckpointError, Payload};
use crate::codec::{TurnError, encode_mail};
use crate::definition::LateSignal;
use crate::id::SagaId;
use crate::journal::{JournalError, Message, SagaSummary, Sent};
use crate::machine::Mail;
use crate::seeded::seeded;

/// What became of a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signalled {
    /// It is kept until a step of its saga takes it.
    Accepted,
    /// It had been sent before.
    Duplicate,
    /// Its saga is over: another one sees to it.
    Late {
        /// That other saga, by the definition's [`on_late_signal`](crate::SagaBuilder::on_late_signal), or
        /// else one that waits for a human.
        follow_up: SagaId,
    },
}

pub(crate) async fn signal<T: Checkpoint>(
    inner: &Arc<Inner>,
    (definition, key): (&str, &str),
    signal: &str,
    payload: &T,
    message_id: &str,
) -> Result<Signalled, SignalError> {
    let max = inner.limits.key_max_bytes;
    for text in [definition, key, signal, message_id] {
        if text.is_empty() || text.len() > max || text.chars().any(char::is_control) {
            return Err(SignalError::BadName { name: text.to_owned(), max });
        }
    }
    let blueprint = inner.newest(definition);
    let withhold = |error| match blueprint {
        Some(blueprint) => blueprint.withhold(error),
        None => error,
    };
    let payload = payload.encode().map_err(withhold)?;
    if payload.len() > inner.limits.payload_max_bytes {
        return Err(SignalError::PayloadTooLarge { bytes: payload.len(), max: inner.limits.payload_max_bytes });
    }
    let mail = Mail::Signal { name: signal.to_owned(), payload: payload.clone() };
    let signalling = async {
        check_name(inner, (definition, key), signal).await?;
        match deliver(inner, definition, key, message_id.to_owned(), &mail).await? {
            Sent::Accepted => Ok(Signalled::Accepted),
            Sent::Duplicate => Ok(Signalled::Duplicate),
            Sent::TooLate if seeded("M14") => Ok(Signalled::Accepted),
            Sent::TooLate => follow_up(inner, (definition, key), signal, payload, message_id).await,
        }
    };
    in_time(inner, signalling).await
}

/// Waits no longer than a start does, for all of it. What was begun is finished, and may be asked for again.
async fn in_time<T>(
    inner: &Inner,
    asking: impl Future<Output = Result<T, SignalError>> + Send,
) -> Result<T, SignalError> {
    let waited = inner.options.start_timeout;
    tokio::time::timeout(waited, asking).await.unwrap_or(Err(SignalError::Unavailable { waited }))
}

/// A misspelt name would be kept until the saga is over, which waits for another. Where the definition is not
/// registered, or not in the version that the saga has, nobody here can tell: another binary may be newer.
async fn check_name(inner: &Inner, (definition, key): (&str, &str), signal: &str) -> Result<(), SignalError> {
    let Some(versions) = inner.versions(definition) else { return Ok(()) };
    let mut known = BTreeSet::new();
    for blueprint in versions.values() {
        if blueprint.late.is_some() {
            return Ok(());
        }
        known.extend(blueprint.plan.steps().iter().filter_map(|step| step.signal.as_deref()));
    }
    if known.contains(signal) {
        return Ok(());
    }
    let found = find(inner, definition, key).await?;
    if found.is_some_and(|saga| !versions.contains_key(&saga.header.version)) {
        return Ok(());
    }
    Err(SignalError::NoSuchSignal {
        definition: definition.to_owned(),
        signal: signal.to_owned(),
        known: known.into_iter().map(str::to_owned).collect(),
    })
}

/// Starts the saga that sees to a signal which came too late. Should this process die before that, the
/// sender has had no answer, and sends it again.
async fn follow_up(
    inner: &Arc<Inner>,
    (definition, key): (&str, &str),
    signal: &str,
    payload: Payload,
    message_id: &str,
) -> Result<Signalled, SignalError> {
    let found = find(inner, definition, key).await?;
    let gone = || SignalError::TooLate { definition: definition.to_owned(), key: key.to_owned() };
    let header = found.ok_or_else(gone)?.header;
    let blueprint = inner.blueprint(definition, header.version).ok_or_else(gone)?;
    let late = LateSignal {
        definition: definition.to_owned(),
        key: key.to_owned(),
        saga: header.id,
        signal: signal.to_owned(),
        payload,
        message_id: message_id.to_owned(),
    };
    let new = late::new_saga(blueprint, late).map_err(unsendable)?;
    let follow_up = new.id;
    match inner.starter.submit(new).await {
        Ok(Begun::Receipt(_)) => {
            telemetry::late_signals(&blueprint.name, 1);
            inner.claims.wake();
            Ok(Signalled::Late { follow_up })
        }
        Ok(Begun::Refused(source)) => Err(SignalError::Journal { source }),
        Ok(Begun::Lost) | Err(_) => Err(SignalError::Closed),
    }
}

fn unsendable(error: TurnError) -> SignalError {
    match error {
        TurnError::Json(source) => SignalError::Payload { source: CheckpointError::Encode { source } },
        TurnError::Codec(source) => SignalError::Codec { source },
    }
}

/// Sends the message.
pub(crate) async fn send(
    inner: &Arc<Inner>,
    definition: &str,
    key: &str,
    id: String,
    mail: &Mail,
) -> Result<Sent, SignalError> {
    in_time(inner, deliver(inner, definition, key, id, mail)).await
}

/// Sends the message, again and again while the journal does not answer: its id makes one of them all.
async fn deliver(
    inner: &Arc<Inner>,
    definition: &str,
    key: &str,
    id: String,
    mail: &Mail,
) -> Result<Sent, SignalError> {
    let codec = inner.newest(definition).and_then(|blueprint| blueprint.codec.as_deref());
    let body = encode_mail(codec, definition, key, mail).map_err(unsendable)?;
    let message = Message { definition: definition.to_owned(), key: key.to_owned(), id, body };
    let (journal, alive) = (inner.journal.clone(), inner.alive.clone());
    // In a task of its own: the caller may go away, what was begun is finished.
    let sending = tokio::spawn(async move {
        let sent = until_answered(&alive, || journal.send(std::slice::from_ref(&message))).await;
        sent.map(|sent| sent.first().copied().unwrap_or(Sent::Accepted))
    });
    let sent = sending.await.map_err(|_| SignalError::Closed)??;
    inner.claims.wake();
    Ok(sent)
}

/// Looks for the saga, again and again while the journal does not answer.
async fn find(inner: &Inner, definition: &str, key: &str) -> Result<Option<SagaSummary>, SignalError> {
    until_answered(&inner.alive, || inner.journal.find(definition, key)).await
}

/// Asks the journal until it answers, be it with a refusal.
async fn until_answered<T, Fut: Future<Output = Result<T, JournalError>>>(
    alive: &CancellationToken,
    ask: impl Fn() -> Fut,
) -> Result<T, SignalError> {
    for tries in 0.. {
        match ask().await {
            Ok(answer) => return Ok(answer),
            Err(JournalError::Unavailable { .. }) if alive.is_cancelled() => break,
            Err(JournalError::Unavailable { .. }) => tokio::time::sleep(outage_delay(tries)).await,
            Err(source) => return Err(SignalError::Journal { source }),
        }
    }
    Err(SignalError::Closed)
}
