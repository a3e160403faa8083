//! Starting sagas: durable, idempotent by key, and run where they are started.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::Instant;

use super::drive::Driver;
use super::error::StartError;
use super::handle::SagaHandle;
use super::incarnation::{Begun, Hold, Incarnation};
use super::place::Place;
use super::saga::Saga;
use super::watch::Watch;
use super::{Inner, telemetry};
use crate::checkpoint::{Checkpoint, Payload};
use crate::codec::{TurnError, encode_turn};
use crate::definition::{Blueprint, Definition};
use crate::id::SagaId;
use crate::journal::{NewSaga, SagaHeader, StartReceipt};
use crate::limits::Limits;
use crate::machine::Record;

/// How long a start waits for a slot before it leaves the saga to whoever claims it. Claiming and loading a saga costs
/// several times as much as going on with it: were every start that finds no slot left to that, a worker that was held
/// up once could not catch up again for as long as the load stays what it is.
const SLOT_WAIT: Duration = Duration::from_millis(250);

/// Prepares a saga that a journal starts inside the caller's own transaction, see
/// `saga_postgres::start_in` and `saga_sqlite::start_in`. It exists if and only if that transaction
/// commits; a worker then claims it.
///
/// # Errors
/// [`StartError::BadKey`], [`StartError::PayloadTooLarge`] or [`StartError::Input`].
pub fn prepare_start<I: Checkpoint, O>(
    definition: &Definition<I, O>,
    key: &str,
    input: &I,
) -> Result<NewSaga, StartError> {
    let input = check(definition.blueprint(), &Limits::default(), key, input)?;
    new_saga(definition.blueprint(), SagaId::new(), key, &input)
}

fn check<I: Checkpoint>(blueprint: &Blueprint, limits: &Limits, key: &str, input: &I) -> Result<Payload, StartError> {
    if key.is_empty() || key.len() > limits.key_max_bytes || key.chars().any(char::is_control) {
        return Err(StartError::BadKey { len: key.len(), max: limits.key_max_bytes });
    }
    let input = input.encode().map_err(|error| blueprint.withhold(error))?;
    if input.len() > limits.payload_max_bytes {
        return Err(StartError::PayloadTooLarge { bytes: input.len(), max: limits.payload_max_bytes });
    }
    Ok(input)
}

fn new_saga(blueprint: &Blueprint, id: SagaId, key: &str, input: &Payload) -> Result<NewSaga, StartError> {
    let started = Record::Started { input: input.clone(), parent: None };
    let body = encode_turn(blueprint, id, &[started]).map_err(unencodable)?;
    Ok(NewSaga { body, ..bare(blueprint, id, key, input) })
}

/// A new saga without its first turn.
fn bare(blueprint: &Blueprint, id: SagaId, key: &str, input: &Payload) -> NewSaga {
    NewSaga {
        id,
        definition: blueprint.name.to_string(),
        version: blueprint.version,
        key: key.to_owned(),
        input: blueprint.digest(input.digest()),
        body: String::new(),
        nonce: fastrand::i64(..),
    }
}

fn unencodable(error: TurnError) -> StartError {
    match error {
        TurnError::Json(source) => StartError::Input { source: crate::checkpoint::CheckpointError::Encode { source } },
        TurnError::Codec(source) => StartError::Codec { source },
    }
}

pub(crate) async fn start<I: Checkpoint, O: Send + 'static>(
    inner: &Arc<Inner>,
    definition: &Definition<I, O>,
    key: &str,
    input: I,
) -> Result<SagaHandle<O>, StartError> {
    let Some(blueprint) = inner.blueprint(definition.name(), definition.version()).cloned() else {
        return Err(StartError::UnknownDefinition {
            definition: definition.name().to_owned(),
            version: definition.version(),
        });
    };
    let input = check(&blueprint, &inner.limits, key, &input)?;
    let id = (inner.options.ids)();
    let here = here(inner, id, &blueprint.name).await;
    if inner.draining.is_cancelled() {
        return Err(StartError::Closed);
    }
    let same_input = |existing: &SagaHeader| same_input(&blueprint, &input, existing);
    let (reply, receipt) = oneshot::channel();
    // Before anything is begun, so that no news are missed. (Should it not be started, that is forgotten with this.)
    let local = Watch::new(inner, id, here.is_some());
    // Started in a task of its own: the caller may go away, what was begun is finished.
    match here {
        Some(here) => {
            let saga = || Box::new(Saga::new(id, key, blueprint.clone(), input.clone(), inner.clock.now()));
            let saga = first_intents(inner, saga()).unwrap_or_else(saga);
            let first = NewSaga { body: saga.first_turn().map_err(unencodable)?, ..bare(&blueprint, id, key, &input) };
            inner.drivers.spawn(start_here(inner.clone(), here, saga, first, reply));
        }
        None => {
            let new = new_saga(&blueprint, id, key, &input)?;
            inner.drivers.spawn(start_elsewhere(inner.clone(), new, reply));
        }
    }
    let began = match tokio::time::timeout(inner.options.start_timeout, receipt).await {
        Ok(Ok(began)) => began,
        Ok(Err(_)) => return Err(StartError::Closed),
        Err(_) => return Err(StartError::Unavailable { waited: inner.options.start_timeout }),
    };
    let handle = |id| SagaHandle::of(inner.clone(), definition, id);
    match began {
        Begun::Receipt(StartReceipt::Created) => Ok(handle(id).watching(local)),
        Begun::Receipt(StartReceipt::Exists(header)) => same_input(&header).map(|()| handle(header.id)),
        Begun::Lost => Err(StartError::Closed),
        Begun::Refused(source) => Err(StartError::Journal { source }),
    }
}

fn same_input(blueprint: &Blueprint, input: &Payload, existing: &SagaHeader) -> Result<(), StartError> {
    if blueprint.is_digest(existing.input, input.digest()) {
        return Ok(());
    }
    Err(StartError::KeyConflict {
        definition: existing.definition.clone(),
        key: existing.key.clone(),
        existing: existing.id,
    })
}

/// What it takes to run a saga in this process.
struct Here {
    incarnation: Arc<Incarnation>,
    place: Place,
    hold: Hold,
}

/// This process runs the saga when it is a worker with a valid lease and a free place.
async fn here(inner: &Arc<Inner>, saga: SagaId, definition: &str) -> Option<Here> {
    let live = || inner.incarnation().filter(|incarnation| incarnation.is_live());
    live()?;
    let mut place = Place::in_room(inner, definition)?;
    place.take_slot(slot(inner).await?);
    let incarnation = live()?;
    let hold = incarnation.hold(saga)?;
    Some(Here { incarnation, place, hold })
}

/// A free slot, soon. It does not stand in the semaphore's line: there stand the sagas that have begun and are due, and
/// new ones must not keep those waiting.
async fn slot(inner: &Inner) -> Option<OwnedSemaphorePermit> {
    let until = Instant::now() + SLOT_WAIT;
    loop {
        if let Ok(slot) = inner.slots.clone().try_acquire_owned() {
            // There may be one for the next in line as well, and nobody else tells.
            if inner.slots.available_permits() > 0 {
                inner.vacated.notify_one();
            }
            return Some(slot);
        }
        tokio::select! {
            biased;
            () = inner.draining.cancelled() => return None,
            () = inner.vacated.notified() => {}
            () = tokio::time::sleep_until(until) => return None,
        }
    }
}

/// Puts the intents of the first steps into the start itself: they cost no commit of their own.
fn first_intents(inner: &Inner, mut saga: Box<Saga>) -> Option<Box<Saga>> {
    saga.settle(inner.at(true)).ok()?;
    saga.starts_plainly().then_some(saga)
}

/// Submitted at once; the future is what waits for the answer, and then runs the saga.
fn start_here(
    inner: Arc<Inner>,
    here: Here,
    saga: Box<Saga>,
    first: NewSaga,
    reply: oneshot::Sender<Begun>,
) -> impl Future<Output = ()> + Send {
    let nonce = first.nonce;
    let began = here.incarnation.starter.submit(first);
    run_here(inner, here, saga, nonce, began, reply)
}

async fn run_here(
    inner: Arc<Inner>,
    here: Here,
    mut saga: Box<Saga>,
    nonce: i64,
    began: oneshot::Receiver<Begun>,
    reply: oneshot::Sender<Begun>,
) {
    let Here { incarnation, place, hold } = here;
    let id = saga.id;
    match began.await.unwrap_or(Begun::Lost) {
        Begun::Receipt(StartReceipt::Created) => {
            telemetry::started(&saga.blueprint.name);
            saga.turn_written();
            // Whoever started it may have gone; the saga runs all the same.
            reply.send(Begun::Receipt(StartReceipt::Created)).ok();
            Driver { inner, incarnation, saga, hold }.run_guarded(place).await;
        }
        Begun::Lost if !inner.alive.is_cancelled() => {
            // The lease went between asking and writing. A start without an owner needs none, and the
            // saga's id tells whether the first try had gone through.
            inner.watchers.forget(id);
            drop((hold, place));
            match new_saga(&saga.blueprint, id, saga.key(), saga.state().input()) {
                Ok(new) => Box::pin(start_elsewhere(inner, NewSaga { nonce, ..new }, reply)).await,
                // Without a reply the engine counts as closed; that it is encodable was seen before.
                Err(_) => drop(reply),
            }
        }
        other => {
            reply.send(other).ok();
        }
    }
}

/// Without an owner there is nobody whose intents the first turn could hold: it is the start alone.
async fn start_elsewhere(inner: Arc<Inner>, new: NewSaga, reply: oneshot::Sender<Begun>) {
    let definition: Arc<str> = new.definition.as_str().into();
    let began = inner.starter.submit(new).await.unwrap_or(Begun::Lost);
    if matches!(began, Begun::Receipt(StartReceipt::Created)) {
        telemetry::started(&definition);
        inner.claims.wake();
    }
    // Whoever started it may have gone; the saga runs all the same.
    reply.send(began).ok();
}
