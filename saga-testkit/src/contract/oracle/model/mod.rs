//! The model: what a journal keeps, as lists.
//!
//! Its clock counts calls. Only the order of times can matter for an answer, and the journal's own clock goes on between
//! any two calls. The far past and the far future are an hour away from any call that is made.

mod events;
mod lines;
mod mail;
mod sagas;

use std::collections::BTreeMap;
use std::time::Duration;

use saga_core::definition::Outline;
use saga_core::journal::{DeadLetter, End, Lease, Message, NewEvent, SagaHeader, Standing};
use saga_core::{Epoch, SagaId, StepName, Timestamp};

/// By the count of calls.
pub(super) type Moment = i64;

/// Further away than any life lasts.
const FAR: Moment = 1 << 40;
/// How far away that is by the journal's clock.
const HOUR: Duration = Duration::from_secs(3600);
/// Whatever lasts longer than this does not end within a life.
const LONG: Duration = Duration::from_secs(600);

/// Why a call was not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    Fenced,
    IdTaken,
    /// An error that no call should end with.
    Unexpected(String),
}

#[derive(Debug, Default)]
pub(super) struct Model {
    now: Moment,
    /// The journal's time at the first lease: what times far away are reckoned from.
    began: Option<Timestamp>,
    outlines: Vec<Outline>,
    leases: Vec<LeaseRow>,
    /// The present lease of each worker, and the one before.
    workers: BTreeMap<usize, (Lease, Option<Lease>)>,
    sagas: Vec<SagaRow>,
    letters: Vec<LetterRow>,
    messages: Vec<MessageRow>,
    events: Vec<EventRow>,
    lines: Vec<LineRow>,
    /// The last token that was seen for an entity, and who had it.
    tokens: BTreeMap<String, (Moment, u64)>,
}

/// Closed ones are gone.
#[derive(Debug)]
struct LeaseRow {
    epoch: Epoch,
    until: Moment,
    fenced: bool,
}

#[derive(Debug)]
struct SagaRow {
    header: SagaHeader,
    turns: Vec<TurnRow>,
    stands: Stands,
}

#[derive(Debug)]
struct TurnRow {
    epoch: Option<Epoch>,
    nonce: i64,
    body: String,
}

#[derive(Clone, Copy, Debug)]
enum Stands {
    Owned(Epoch),
    Parked { due: Option<Moment>, standing: Standing },
    Over { end: End, at: Moment },
}

#[derive(Debug)]
struct LetterRow {
    letter: DeadLetter,
    at: Moment,
    open: bool,
    alerted: bool,
}

#[derive(Debug)]
struct MessageRow {
    message: Message,
    at: Moment,
    read: bool,
}

#[derive(Debug)]
struct EventRow {
    saga: SagaId,
    event: NewEvent,
    owner: Epoch,
    due: Moment,
    attempts: u32,
    dead: Option<String>,
}

/// A saga that has asked for entities: first come, first served.
#[derive(Debug)]
struct LineRow {
    saga: SagaId,
    step: StepName,
    keys: Vec<String>,
    at: Moment,
    granted: bool,
    read: bool,
}

impl Model {
    /// Time goes on with every call.
    pub(super) fn go_on(&mut self) {
        self.now += 1;
    }

    pub(super) fn register(&mut self, outline: &Outline) -> Outline {
        let stored = self.outlines.iter().find(|o| o.definition == outline.definition && o.version == outline.version);
        if let Some(stored) = stored {
            return stored.clone();
        }
        self.outlines.push(outline.clone());
        outline.clone()
    }

    pub(super) fn open(
        &mut self,
        worker: usize,
        ttl: Duration,
        answer: &Result<(Lease, Timestamp), Refusal>,
    ) -> Result<(), String> {
        let Ok((lease, now)) = answer else { return Err("a lease".to_owned()) };
        if let Some(row) = self.leases.iter().find(|row| row.epoch >= lease.epoch) {
            return Err(format!("an epoch above {}", row.epoch));
        }
        self.began.get_or_insert(*now);
        self.leases.push(LeaseRow { epoch: lease.epoch, until: self.now + length(ttl), fenced: false });
        let before = self.workers.get(&worker).map(|(present, _)| *present);
        self.workers.insert(worker, (*lease, before));
        Ok(())
    }

    pub(super) fn renew(&mut self, lease: Lease, ttl: Duration) -> Result<(), Refusal> {
        let until = self.now + length(ttl);
        self.valid(lease)?.until = until;
        Ok(())
    }

    pub(super) fn close(&mut self, lease: Lease) -> u64 {
        if self.valid(lease).is_err() {
            return 0;
        }
        self.leases.retain(|row| row.epoch != lease.epoch);
        let mut released = 0;
        for saga in &mut self.sagas {
            if matches!(saga.stands, Stands::Owned(epoch) if epoch == lease.epoch) {
                saga.stands = Stands::Parked { due: Some(self.now), standing: Standing::Waiting };
                released += 1;
            }
        }
        released
    }

    pub(super) fn fence(&mut self) -> Vec<Epoch> {
        let lapsed = self.leases.iter_mut().filter(|row| !row.fenced && row.until < self.now);
        lapsed
            .map(|row| {
                row.fenced = true;
                row.epoch
            })
            .collect()
    }

    fn valid(&mut self, lease: Lease) -> Result<&mut LeaseRow, Refusal> {
        let row = self.leases.iter_mut().find(|row| row.epoch == lease.epoch && !row.fenced);
        row.ok_or(Refusal::Fenced)
    }

    /// Whether whatever this lease had is anybody's.
    fn is_gone(&self, epoch: Epoch) -> bool {
        !self.leases.iter().any(|row| row.epoch == epoch && !row.fenced)
    }

    /// A lease of a worker: the present ones come first, then the ones before.
    pub(super) fn lease(&self, place: usize, workers: usize) -> Option<Lease> {
        let (present, before) = self.workers.get(&(place % workers))?;
        if place < workers { Some(*present) } else { *before }
    }

    /// Every lease that a worker may still believe to have.
    pub(super) fn leases(&self) -> Vec<Lease> {
        self.workers.values().flat_map(|(present, before)| [Some(*present), *before]).flatten().collect()
    }

    /// A time that is past, or far away, always another one.
    pub(super) fn instant(&self, far: bool) -> Timestamp {
        let began = self.began.unwrap_or(Timestamp::from_micros(0)).as_micros();
        let hour = i64::try_from(HOUR.as_micros()).unwrap_or(i64::MAX);
        Timestamp::from_micros(began + self.now + if far { hour } else { -hour })
    }

    /// The moment of such a time.
    fn moment(&self, at: Timestamp) -> Moment {
        let began = self.began.unwrap_or(Timestamp::from_micros(0)).as_micros();
        let hour = i64::try_from(HOUR.as_micros()).unwrap_or(i64::MAX);
        let far = at.as_micros() > began + hour / 2;
        if far { at.as_micros() - began - hour + FAR } else { at.as_micros() - began + hour - FAR }
    }
}

fn length(duration: Duration) -> Moment {
    if duration > LONG { FAR } else { 0 }
}

/// When a saga was created is the journal's to tell.
pub(crate) fn forget_time(header: &mut SagaHeader) {
    header.created_at = Timestamp::from_micros(0);
}

/// What was found, against what should be there.
fn expect<T: PartialEq + std::fmt::Debug>(found: &T, expected: &T) -> Result<(), String> {
    if found == expected { Ok(()) } else { Err(format!("{expected:?}")) }
}
