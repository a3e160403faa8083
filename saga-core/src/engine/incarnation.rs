//! One incarnation of a worker: a lease, and all that is held under it. When the lease is lost the
//! incarnation ends as a whole, and the worker begins another under a new epoch.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use super::Inner;
use super::attempt::panic_message;
use super::batch::Batcher;
use super::claims::Claims;
use super::mailbox::Mailbox;
use super::telemetry;
use crate::id::{Epoch, SagaId};
use crate::journal::{Appended, Journal, JournalError, Lease, NewSaga, StartReceipt, Turn};

/// What became of a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    /// It is durable.
    Durable,
    /// Another has written in its place: drop the saga.
    Rival,
    /// It would end the saga, which has a message that it has not read: read it first.
    Unread,
    /// The lease is lost, or the engine is gone: drop the saga.
    Lost,
    /// The journal refuses this turn, and no other: the saga cannot go on here.
    Refused,
}

/// What became of a start.
#[derive(Debug)]
pub(crate) enum Begun {
    Receipt(StartReceipt),
    Lost,
    Refused(JournalError),
}

#[derive(Debug)]
pub(crate) struct Incarnation {
    pub(crate) lease: Lease,
    /// Cancelled once the lease is lost or the engine is gone.
    pub(crate) lost: CancellationToken,
    opened: Instant,
    /// For how many microseconds after that the lease is certainly valid, by this process's monotonic clock.
    /// (Every attempt looks at it: a lock would be written to by all threads.)
    valid_for: AtomicU64,
    /// Tells all that wait for a renewal, in the order in which they came.
    renewals: Notify,
    pub(crate) appender: Batcher<Turn, Written>,
    pub(crate) starter: Batcher<NewSaga, Begun>,
    held: Arc<Mutex<Held>>,
    claims: Arc<Claims>,
}

type Held = HashMap<SagaId, Place>;

/// A saga that is held.
#[derive(Debug, Default)]
struct Place {
    mailbox: Arc<Mailbox>,
    /// Somebody else was to take it up meanwhile, or its driver gave up: it belongs to this worker, and once
    /// it is let go nobody works on it.
    stray: bool,
    /// Its driver has written a turn that parks or ends it, and has no answer yet: by what the journal says it may
    /// have been claimed again.
    leaving: bool,
}

impl Incarnation {
    pub(crate) fn new(inner: &Inner, lease: Lease, valid_until: Instant) -> Self {
        let (journal, limits, lost) = (&inner.journal, &inner.limits, inner.alive.child_token());
        let appender = {
            let (journal, lost) = (journal.clone(), lost.clone());
            Batcher::spawn(limits.batch_max, move |turns: Vec<Turn>| {
                let (journal, lost) = (journal.clone(), lost.clone());
                async move {
                    let answers = unless_it_panics(append(&*journal, lease, &turns, &lost), &lost).await;
                    (turns, answers)
                }
            })
        };
        let starter = {
            let (journal, lost) = (journal.clone(), lost.clone());
            Batcher::spawn(limits.batch_max, move |sagas: Vec<NewSaga>| {
                let (journal, lost) = (journal.clone(), lost.clone());
                async move {
                    let answers = unless_it_panics(start(&*journal, Some(lease), &sagas, &lost), &lost).await;
                    (sagas, answers)
                }
            })
        };
        let (opened, claims) = (Instant::now(), inner.claims.clone());
        let valid_for = AtomicU64::new(micros(opened, valid_until));
        Self {
            lease,
            lost,
            opened,
            valid_for,
            renewals: Notify::new(),
            appender,
            starter,
            held: Arc::default(),
            claims,
        }
    }

    pub(crate) fn epoch(&self) -> Epoch {
        self.lease.epoch
    }

    /// Takes note that the lease was renewed.
    pub(crate) fn renewed(&self, valid_until: Instant) {
        self.valid_for.store(micros(self.opened, valid_until), Ordering::Release);
        self.renewals.notify_waiters();
    }

    /// Whether the lease is certainly valid now.
    pub(crate) fn is_live(&self) -> bool {
        let valid_for = Duration::from_micros(self.valid_for.load(Ordering::Acquire));
        self.opened.elapsed() < valid_for && !self.lost.is_cancelled()
    }

    /// Returns true as soon as the lease is certainly valid, false once it is lost. Nothing with an
    /// effect begins on a lease that may have lapsed.
    pub(crate) async fn live(&self) -> bool {
        loop {
            // Listening before looking: a renewal in between is not missed.
            let mut renewed = std::pin::pin!(self.renewals.notified());
            renewed.as_mut().enable();
            if self.is_live() {
                return true;
            }
            if self.lost.is_cancelled() {
                return false;
            }
            tokio::select! {
                biased;
                () = self.lost.cancelled() => return false,
                () = renewed => {}
            }
        }
    }

    /// Marks the saga as held in this process's memory; none when it is held already. Whoever holds it then
    /// has parked it or is about to let it go: the worker looks again once that is done.
    pub(crate) fn hold(&self, saga: SagaId) -> Option<Hold> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = held.get_mut(&saga) {
            place.stray = true;
            return None;
        }
        let mailbox = Arc::<Mailbox>::default();
        held.insert(saga, Place { mailbox: mailbox.clone(), stray: false, leaving: false });
        Some(Hold { saga, mailbox, held: self.held.clone(), claims: self.claims.clone() })
    }

    /// Whether nobody here works on the saga, which the journal says is this worker's. One whose driver is leaving
    /// it is looked at again once it is let go.
    pub(crate) fn is_stray(&self, saga: SagaId) -> bool {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(place) = held.get_mut(&saga) else { return true };
        place.stray |= place.leaving;
        false
    }

    /// The mailbox of a saga that is held here.
    pub(crate) fn mailbox(&self, saga: SagaId) -> Option<Arc<Mailbox>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).get(&saga).map(|place| place.mailbox.clone())
    }
}

/// How many microseconds lie between the two, rounded down: a lease rather ends a little early.
fn micros(opened: Instant, until: Instant) -> u64 {
    u64::try_from(until.saturating_duration_since(opened).as_micros()).unwrap_or(u64::MAX)
}

/// The right to work on a saga within one incarnation; given up when dropped.
#[derive(Debug)]
pub(crate) struct Hold {
    saga: SagaId,
    pub(crate) mailbox: Arc<Mailbox>,
    held: Arc<Mutex<Held>>,
    claims: Arc<Claims>,
}

impl Hold {
    /// Whether a turn is on its way that parks or ends the saga.
    pub(crate) fn leaving(&self, leaving: bool) {
        if let Some(place) = self.held.lock().unwrap_or_else(PoisonError::into_inner).get_mut(&self.saga) {
            place.leaving = leaving;
        }
    }

    /// The saga belongs to this worker still, and its driver gives up: it is to be taken up anew.
    pub(crate) fn give_up(&self) {
        if let Some(place) = self.held.lock().unwrap_or_else(PoisonError::into_inner).get_mut(&self.saga) {
            place.stray = true;
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let place = self.held.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.saga);
        // Asked before it was let go, the worker would have found it held, and not looked again.
        if place.is_some_and(|place| place.stray) {
            self.claims.ask_to_reconcile();
        }
    }
}

/// The wait before an unavailable journal is asked again: 10 ms, doubling up to 1 s, with jitter.
pub(crate) fn outage_delay(tries: u32) -> Duration {
    Duration::from_millis(10 << tries.min(7)).min(Duration::from_secs(1)).mul_f64(0.5 + fastrand::f64() / 2.0)
}

/// The answers; none when the journal panics. Nobody knows then what was written, and the incarnation ends with it.
pub(crate) async fn unless_it_panics<T>(answers: impl Future<Output = Vec<T>>, lost: &CancellationToken) -> Vec<T> {
    AssertUnwindSafe(answers).catch_unwind().await.unwrap_or_else(|panic| {
        error!(panic = panic_message(&*panic), "the journal panicked");
        lost.cancel();
        Vec::new()
    })
}

/// Appends a batch, and goes on trying for as long as the lease lasts: an append is never given up
/// with its fate unknown while this worker may still act on it.
async fn append(journal: &dyn Journal, lease: Lease, turns: &[Turn], lost: &CancellationToken) -> Vec<Written> {
    for tries in 0.. {
        let began = Instant::now();
        match journal.append(lease, turns).await {
            Ok(answers) => {
                telemetry::committed(turns.len(), began.elapsed());
                return answers
                    .into_iter()
                    .map(|answer| match answer {
                        Appended::Written | Appended::Repeated => Written::Durable,
                        Appended::Rival => Written::Rival,
                        Appended::Unread => Written::Unread,
                    })
                    .collect();
            }
            Err(JournalError::Fenced { .. }) => {
                lost.cancel();
                return vec![Written::Lost; turns.len()];
            }
            Err(JournalError::Unavailable { doing, source }) => {
                warn!(epoch = %lease.epoch, doing, %source, tries, "the journal is unavailable; trying again");
            }
            Err(problem) => {
                error!(epoch = %lease.epoch, %problem, "the journal refuses an append");
                if turns.len() == 1 {
                    return vec![Written::Refused];
                }
                // One turn must not stop the others: send each by itself.
                let mut answers = Vec::with_capacity(turns.len());
                for turn in turns {
                    answers.extend(Box::pin(append(journal, lease, std::slice::from_ref(turn), lost)).await);
                }
                return answers;
            }
        }
        tokio::select! {
            biased;
            () = lost.cancelled() => break,
            () = tokio::time::sleep(outage_delay(tries)) => {}
        }
    }
    vec![Written::Lost; turns.len()]
}

/// Creates a batch of sagas, and goes on trying for as long as the lease (or the engine) lasts.
pub(crate) async fn start(
    journal: &dyn Journal,
    lease: Option<Lease>,
    sagas: &[NewSaga],
    lost: &CancellationToken,
) -> Vec<Begun> {
    for tries in 0.. {
        match journal.start(lease, sagas).await {
            Ok(receipts) => return receipts.into_iter().map(Begun::Receipt).collect(),
            Err(JournalError::Fenced { .. }) => {
                lost.cancel();
                break;
            }
            Err(JournalError::Unavailable { doing, source }) => {
                warn!(doing, %source, tries, "the journal is unavailable; trying again");
            }
            Err(problem) if sagas.len() == 1 => return vec![Begun::Refused(problem)],
            Err(problem) => {
                error!(%problem, "the journal refuses a start");
                let mut answers = Vec::with_capacity(sagas.len());
                for saga in sagas {
                    answers.extend(Box::pin(start(journal, lease, std::slice::from_ref(saga), lost)).await);
                }
                return answers;
            }
        }
        tokio::select! {
            biased;
            () = lost.cancelled() => break,
            () = tokio::time::sleep(outage_delay(tries)) => {}
        }
    }
    sagas.iter().map(|_| Begun::Lost).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(3);

    fn incarnation() -> Incarnation {
        Incarnation {
            lease: Lease { epoch: Epoch(1) },
            lost: CancellationToken::new(),
            opened: Instant::now(),
            valid_for: AtomicU64::new(u64::try_from(TTL.as_micros()).unwrap()),
            renewals: Notify::new(),
            appender: Batcher::spawn(1, async |turns: Vec<Turn>| (turns, Vec::new())),
            starter: Batcher::spawn(1, async |sagas: Vec<NewSaga>| (sagas, Vec::new())),
            held: Arc::default(),
            claims: Arc::default(),
        }
    }

    /// Whether a saga that is let go is looked for, after `done` while it was held.
    async fn is_looked_for(done: impl FnOnce(&Incarnation, SagaId, &Hold)) -> bool {
        let (incarnation, saga) = (incarnation(), SagaId::new());
        let hold = incarnation.hold(saga).unwrap();
        done(&incarnation, saga, &hold);
        drop(hold);
        assert!(incarnation.is_stray(saga) && incarnation.mailbox(saga).is_none(), "it is let go");
        incarnation.claims.take_reconcile()
    }

    #[tokio::test]
    async fn a_saga_is_held_by_one_driver_and_looked_for_when_it_was_to_be_taken_up_meanwhile() {
        assert!(!is_looked_for(|incarnation, saga, _| assert!(incarnation.mailbox(saga).is_some())).await);
        assert!(is_looked_for(|incarnation, saga, _| assert!(incarnation.hold(saga).is_none())).await);
        assert!(is_looked_for(|_, _, hold| hold.give_up()).await);
        // One that is not leaving is in good hands; of one that is, nobody knows.
        assert!(!is_looked_for(|incarnation, saga, _| assert!(!incarnation.is_stray(saga))).await);
        assert!(!is_looked_for(|_, _, hold| hold.leaving(true)).await);
        let asked_while_leaving = |incarnation: &Incarnation, saga, hold: &Hold| {
            hold.leaving(true);
            assert!(!incarnation.is_stray(saga));
            hold.leaving(false);
            assert!(!incarnation.is_stray(saga), "and it is not forgotten that somebody asked");
        };
        assert!(is_looked_for(asked_while_leaving).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_counts_until_its_time_and_from_its_renewal_on() {
        let incarnation = Arc::new(incarnation());
        assert!(incarnation.is_live() && incarnation.live().await);
        tokio::time::sleep(TTL).await;
        assert!(!incarnation.is_live());
        let waits = tokio::spawn({
            let incarnation = incarnation.clone();
            async move { incarnation.live().await }
        });
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert!(!waits.is_finished());
        incarnation.renewed(Instant::now() + TTL);
        assert!(waits.await.unwrap() && incarnation.is_live());
        incarnation.lost.cancel();
        assert!(!incarnation.is_live() && !incarnation.live().await);
    }

    #[test]
    fn a_journal_that_is_out_of_reach_is_asked_again_in_growing_intervals_up_to_a_second() {
        for (tries, longest) in [(0, 10), (1, 20), (3, 80), (6, 640), (7, 1_000), (60, 1_000)] {
            for _ in 0..200 {
                let delay = outage_delay(tries);
                let longest = Duration::from_millis(longest);
                assert!((longest / 2..=longest).contains(&delay), "{delay:?} after {tries} tries");
            }
        }
    }
}
