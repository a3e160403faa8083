//! The one place where payloads are sealed and opened: between records and the text of a turn, and between
//! messages and theirs.

use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::envelope::Envelope;
use super::{Codec, CodecError, Json};
use crate::checkpoint::Payload;
use crate::definition::{Blueprint, LateSignal};
use crate::id::{SagaId, StepName};
use crate::journal::SagaHeader;
use crate::machine::{self, ChildEnd, Mail, ProbeAnswer, Record, Resolution};

/// A turn or a message cannot be written down, or read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TurnError {
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    #[error(transparent)]
    Codec(#[from] CodecError),
}

/// The stored form of a turn.
pub(crate) fn encode_turn(blueprint: &Blueprint, saga: SagaId, records: &[Record]) -> Result<String, TurnError> {
    let Some(codec) = &blueprint.codec else { return Ok(machine::encode_turn(records)?) };
    let mut records = records.to_vec();
    for record in &mut records {
        if let Some((kind, name, payload)) = payload_of(record) {
            *payload = seal(&**codec, payload, &in_saga(saga, kind, name))?;
        }
    }
    Ok(machine::encode_turn(&records)?)
}

/// Reads a stored turn.
pub(crate) fn decode_turn(blueprint: &Blueprint, saga: &SagaHeader, body: &str) -> Result<Vec<Record>, TurnError> {
    let mut records = machine::decode_turn(body).map_err(|error| blueprint.withhold_json(error))?;
    for record in &mut records {
        let Some((kind, name, payload)) = payload_of(record) else { continue };
        let place = in_saga(saga.id, kind, name);
        let in_mail = |kind| in_mail(&saga.definition, &saga.key, kind, name);
        let opened = match kind {
            SIGNALLED => open_kept(blueprint, payload, &place, &in_mail(SIGNAL))?,
            DONE => open_kept(blueprint, payload, &place, &in_mail(CHILD))?,
            _ => open(blueprint, payload, &place)?,
        };
        if let Some(opened) = opened {
            *payload = opened;
        }
    }
    Ok(records)
}

/// The stored form of a message to the saga of this definition and start key.
pub(crate) fn encode_mail(
    codec: Option<&dyn Codec>,
    definition: &str,
    key: &str,
    mail: &Mail,
) -> Result<String, TurnError> {
    let Some(codec) = codec else { return Ok(serde_json::to_string(mail)?) };
    let mut mail = mail.clone();
    if let Some((kind, name, payload)) = payload_of_mail(&mut mail) {
        *payload = seal(codec, payload, &in_mail(definition, key, kind, name))?;
    }
    Ok(serde_json::to_string(&mail)?)
}

/// A message that came.
#[derive(Debug)]
pub(crate) enum OpenedMail {
    /// It is opened.
    Open(Mail),
    /// It does not open here: its payload is sealed still.
    Sealed(Mail, CodecError),
}

/// Reads a message to the saga of this start key.
pub(crate) fn open_mail(blueprint: &Blueprint, key: &str, body: &str) -> Result<OpenedMail, serde_json::Error> {
    let mut mail: Mail = serde_json::from_str(body).map_err(|error| blueprint.withhold_json(error))?;
    let opened = match payload_of_mail(&mut mail) {
        Some((kind, name, payload)) => open(blueprint, payload, &in_mail(&blueprint.name, key, kind, name)),
        None => Ok(None),
    };
    Ok(match opened {
        Ok(None) => OpenedMail::Open(mail),
        Ok(Some(opened)) => {
            if let Some((.., payload)) = payload_of_mail(&mut mail) {
                *payload = opened;
            }
            OpenedMail::Open(mail)
        }
        Err(error) => OpenedMail::Sealed(mail, error),
    })
}

/// The stored form of an event's payload.
pub(crate) fn seal_event(blueprint: &Blueprint, id: &str, payload: &Payload) -> Result<Payload, CodecError> {
    match &blueprint.codec {
        Some(codec) => seal(&**codec, payload, &in_event(id)),
        None => Ok(payload.clone()),
    }
}

/// The payload of an event, sealed by whichever of these definitions.
pub(crate) fn open_event<'a, 'b>(
    blueprints: impl Iterator<Item = &'b Arc<Blueprint>>,
    id: &str,
    stored: &'a str,
) -> Result<Cow<'a, str>, CodecError> {
    let place = in_event(id);
    let plain = Json.open(stored, &place);
    let Err(mut problem) = plain else { return plain };
    for codec in blueprints.filter_map(|blueprint| blueprint.codec.as_ref()) {
        match guarded(|| codec.open(stored, &place)) {
            Ok(opened) => return Ok(opened),
            Err(error) => problem = error,
        }
    }
    Err(problem)
}

/// The payload of a signal that comes too late, for a saga whose own definition does not know the codec.
pub(crate) fn seal_late(blueprint: &Blueprint, late: &LateSignal) -> Result<Payload, CodecError> {
    match &blueprint.codec {
        Some(codec) => seal(&**codec, &late.payload, &in_mail(&late.definition, &late.key, SIGNAL, &late.signal)),
        None => Ok(late.payload.clone()),
    }
}

fn seal(codec: &dyn Codec, payload: &Payload, place: &[u8]) -> Result<Payload, CodecError> {
    let sealed = guarded(|| codec.seal(payload.as_json(), place))?;
    Payload::from_json(sealed).map_err(|_quotes_it| CodecError::NotJson)
}

/// What the codec, which may be the host's own, answers; a panic is an answer as well, for this payload and no other.
fn guarded<T>(ask: impl FnOnce() -> Result<T, CodecError>) -> Result<T, CodecError> {
    catch_unwind(AssertUnwindSafe(ask)).unwrap_or(Err(CodecError::Panicked))
}

/// None when the payload was not sealed. What a child returned is sealed with the child's codec.
fn open(blueprint: &Blueprint, payload: &Payload, place: &[u8]) -> Result<Option<Payload>, CodecError> {
    let own = blueprint.codec.as_deref().unwrap_or(&Json);
    open_with(own, payload, place).or_else(|problem| {
        let others = blueprint.related.iter().filter_map(|related| related.codec.as_deref());
        others.map(|codec| open_with(codec, payload, place)).find_map(Result::ok).ok_or(problem)
    })
}

fn open_with(codec: &dyn Codec, payload: &Payload, place: &[u8]) -> Result<Option<Payload>, CodecError> {
    match guarded(|| codec.open(payload.as_json(), place))? {
        Cow::Borrowed(_) => Ok(None),
        Cow::Owned(text) => Payload::from_json(text).map(Some).map_err(|_quotes_it| CodecError::NotJson),
    }
}

/// Opens in a history what came in a message. What could not be opened when it came was taken in as it was:
/// sealed as a message, and perhaps sealed once more as a record.
fn open_kept(
    blueprint: &Blueprint,
    payload: &Payload,
    place: &[u8],
    mail_place: &[u8],
) -> Result<Option<Payload>, CodecError> {
    match open(blueprint, payload, place) {
        Ok(Some(opened)) if Envelope::read(opened.as_json()).is_some() => open(blueprint, &opened, mail_place),
        Ok(opened) => Ok(opened),
        Err(problem) => open(blueprint, payload, mail_place).map_err(|_as_a_message_too| problem),
    }
}

/// The payload of a record, with the kind of record and the name in it that it is sealed for. These words
/// are part of the stored form: they never change.
fn payload_of(record: &mut Record) -> Option<(&'static str, &str, &mut Payload)> {
    match record {
        Record::Started { input, parent: _ } => Some(("started", "", input)),
        Record::Done { step, output } => Some((DONE, step.as_str(), output)),
        Record::Probed { step, answer: ProbeAnswer::Applied(output) } => Some(("probed", step.as_str(), output)),
        Record::Watched { step, answer: ProbeAnswer::Applied(output), .. } => Some(("watched", step.as_str(), output)),
        Record::Signalled { name, payload, id: _ } => Some((SIGNALLED, name.as_str(), payload)),
        Record::Resolved { step, resolution: Resolution::Supply(output), .. } => {
            Some(("supplied", step.as_ref().map_or("", StepName::as_str), output))
        }
        Record::Probed { answer: ProbeAnswer::NotApplied | ProbeAnswer::Unknown, .. }
        | Record::Watched { answer: ProbeAnswer::NotApplied | ProbeAnswer::Unknown, .. }
        | Record::Resolved {
            resolution: Resolution::Retry | Resolution::Probe | Resolution::Skip | Resolution::NotApplied,
            ..
        }
        | Record::Begun { .. }
        | Record::Failed { .. }
        | Record::Interrupted { .. }
        | Record::Sleeping { .. }
        | Record::Locking { .. }
        | Record::Delegated { .. }
        | Record::Recalled { .. }
        | Record::Reopened
        | Record::Released
        | Record::FollowedUp { .. }
        | Record::FannedOut { .. }
        | Record::SoftFailed { .. }
        | Record::Halted { .. }
        | Record::CancelRefused { .. }
        | Record::RetriedNow { .. }
        | Record::Unread { .. }
        | Record::TurnedBack { .. }
        | Record::Compensated { .. }
        | Record::NeedsAttention { .. }
        | Record::Completed
        | Record::RolledBack => None,
    }
}

const DONE: &str = "done";
const SIGNALLED: &str = "signalled";
const SIGNAL: &str = "signal";
const CHILD: &str = "child";

/// As [`payload_of`], of a message.
fn payload_of_mail(mail: &mut Mail) -> Option<(&'static str, &str, &mut Payload)> {
    match mail {
        Mail::Signal { name, payload } => Some((SIGNAL, name.as_str(), payload)),
        Mail::ChildEnded { step, end: ChildEnd::Completed(output) } => Some((CHILD, step.as_str(), output)),
        Mail::ChildEnded { end: ChildEnd::RolledBack(_), .. }
        | Mail::Cancel { .. }
        | Mail::RetryNow { .. }
        | Mail::Recall
        | Mail::Release
        | Mail::Locked { .. } => None,
    }
}

/// Where in a saga's history a payload stands.
fn in_saga(saga: SagaId, kind: &str, name: &str) -> Vec<u8> {
    format!("saga\0{saga}\0{kind}\0{name}").into_bytes()
}

/// For which saga a message is. It may come before the saga, which has no id by then.
fn in_mail(definition: &str, key: &str, kind: &str, name: &str) -> Vec<u8> {
    format!("mail\0{definition}\0{key}\0{kind}\0{name}").into_bytes()
}

fn in_event(id: &str) -> Vec<u8> {
    format!("event\0{id}").into_bytes()
}
