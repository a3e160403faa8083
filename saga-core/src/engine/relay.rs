//! The relay: hands the events of this worker's sagas, and those that gone workers have left, to the
//! publisher. At least once, and those of one saga in their order.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;
use tracing::{error, warn};

use super::Inner;
use super::incarnation::{Incarnation, outage_delay};
use super::publishing::{Line, by_saga, publish_line};
use crate::id::SagaId;
use crate::journal::{EventFate, JournalError, OutboxEvent, SettledEvent};
use crate::publish::EventPublisher;
use crate::seeded::seeded;
use crate::time::Timestamp;

/// How many events are read at a time.
const BATCH: usize = 1_000;
/// No more are read while so many sagas have events on their way: a read comes upon those once more.
const BUSY_MAX: usize = BATCH / 2;
/// How many sagas have an event on its way to the broker at a time.
const AT_ONCE: usize = 256;
/// The events of gone workers are looked for this often at most: those of its own sagas wake it.
const SWEEP: Duration = Duration::from_secs(1);

/// Publishes until the worker stops.
pub(crate) async fn run(inner: Arc<Inner>, publisher: Arc<dyn EventPublisher>) {
    // Whoever publishes what is left waits until nothing of this is on its way any more.
    let _relaying = inner.relaying.lock().await;
    while !inner.draining.is_cancelled() {
        if let Some(incarnation) = inner.incarnation().filter(|incarnation| incarnation.is_live()) {
            Relay::new(&inner, &publisher, &incarnation).run().await;
        }
        // A lease comes back, or the next begins, within moments.
        tokio::select! {
            biased;
            () = inner.draining.cancelled() => {}
            () = tokio::time::sleep(SWEEP) => {}
        }
    }
}

/// Publishes what the last sagas of a worker that stops have left, and what can be done at once of it.
pub(crate) async fn finish(inner: &Arc<Inner>, incarnation: &Incarnation) {
    let Some(publisher) = &inner.options.publisher else { return };
    let _relaying = inner.relaying.lock().await;
    let mut relay = Relay::new(inner, publisher, incarnation);
    while relay.read().await.is_ok() && !relay.lines.is_empty() && relay.let_end().await.is_ok() {}
}

/// The events of one lease on their way. The journal is read and told while others are being published.
struct Relay<'r> {
    inner: &'r Arc<Inner>,
    publisher: &'r Arc<dyn EventPublisher>,
    incarnation: &'r Incarnation,
    /// On their way, each saga's in their order.
    lines: JoinSet<Line>,
    at_once: Arc<Semaphore>,
    /// Back from there, and the journal is to be told.
    ended: Vec<Line>,
    /// The sagas of both: what the journal goes on handing out of them is not taken up twice, and what comes after
    /// it waits.
    busy: HashSet<SagaId>,
}

impl<'r> Relay<'r> {
    fn new(inner: &'r Arc<Inner>, publisher: &'r Arc<dyn EventPublisher>, incarnation: &'r Incarnation) -> Self {
        Self {
            inner,
            publisher,
            incarnation,
            lines: JoinSet::new(),
            at_once: Arc::new(Semaphore::new(AT_ONCE)),
            ended: Vec::new(),
            busy: HashSet::new(),
        }
    }

    /// Publishes until the worker stops or the lease is lost.
    async fn run(mut self) {
        let mut outages = 0;
        while !self.inner.draining.is_cancelled() {
            // What is on its way is dropped with this: another lease publishes it anew.
            if self.incarnation.lost.is_cancelled() {
                return;
            }
            let sweep_at = Instant::now() + SWEEP.max(self.inner.options.poll_interval);
            match self.round().await {
                Ok(due) => {
                    outages = 0;
                    self.wait(due.map_or(sweep_at, |due| self.inner.clock.instant(due).min(sweep_at))).await;
                }
                Err(JournalError::Fenced { .. }) => return,
                Err(problem) => {
                    warn!(%problem, "the outbox cannot be read or settled; trying again");
                    outages += 1;
                    tokio::select! {
                        biased;
                        () = self.inner.draining.cancelled() => {}
                        () = tokio::time::sleep(outage_delay(outages)) => {}
                    }
                }
            }
        }
        let alive = self.inner.alive.clone();
        tokio::select! {
            biased;
            // The engine is gone: nothing more leaves it.
            () = alive.cancelled() => {}
            ended = self.let_end() => if let Err(problem) = ended {
                warn!(%problem, "events that were published could not be settled; they are published once more");
            }
        }
    }

    /// Tells the journal what has come back, and takes up more. None is due before the time in the answer, as far
    /// as is known.
    async fn round(&mut self) -> Result<Option<Timestamp>, JournalError> {
        while let Some(line) = self.lines.try_join_next() {
            self.ended(line);
        }
        self.settle().await?;
        if self.busy.len() < BUSY_MAX && self.incarnation.is_live() { self.read().await } else { Ok(None) }
    }

    /// Waits until there may be something to do, but no longer than this.
    async fn wait(&mut self, until: Instant) {
        tokio::select! {
            biased;
            () = self.inner.draining.cancelled() => {}
            () = self.incarnation.lost.cancelled() => {}
            Some(line) = self.lines.join_next() => self.ended(line),
            () = self.inner.events.notified() => {}
            () = tokio::time::sleep_until(until) => {}
        }
    }

    /// Takes up what is there and not on its way already.
    async fn read(&mut self) -> Result<Option<Timestamp>, JournalError> {
        let batch = self.inner.journal.outbox(self.incarnation.lease, BATCH).await?;
        let fresh: Vec<OutboxEvent> =
            batch.events.into_iter().filter(|event| !self.busy.contains(&event.saga)).collect();
        if seeded("M7") {
            let sent = |event: &OutboxEvent| SettledEvent { id: event.event.id.clone(), fate: EventFate::Published };
            let sent: Vec<SettledEvent> = fresh.iter().map(sent).collect();
            self.inner.journal.settle_events(self.incarnation.lease, &sent).await?;
        }
        for (saga, events) in by_saga(fresh) {
            self.busy.insert(saga);
            let (inner, publisher, at_once) = (self.inner.clone(), self.publisher.clone(), self.at_once.clone());
            self.lines.spawn(async move {
                let _place = at_once.acquire_owned().await;
                Line { saga, settled: publish_line(&inner, &*publisher, events).await }
            });
        }
        Ok(batch.next_due_at)
    }

    fn ended(&mut self, line: Result<Line, JoinError>) {
        match line {
            Ok(line) => self.ended.push(line),
            // What users bring is caught where it is called. The saga stays busy until the next lease.
            Err(problem) => error!(%problem, "publishing an event failed"),
        }
    }

    /// Waits for what is on its way, and tells the journal.
    async fn let_end(&mut self) -> Result<(), JournalError> {
        while let Some(line) = self.lines.join_next().await {
            self.ended(line);
        }
        self.settle().await
    }

    async fn settle(&mut self) -> Result<(), JournalError> {
        if self.ended.is_empty() {
            return Ok(());
        }
        let settled: Vec<SettledEvent> = self.ended.iter().flat_map(|line| line.settled.iter().cloned()).collect();
        self.inner.journal.settle_events(self.incarnation.lease, &settled).await?;
        if settled.iter().any(|event| matches!(event.fate, EventFate::Dead { .. })) {
            self.inner.alerts.notify_one();
        }
        for line in self.ended.drain(..) {
            self.busy.remove(&line.saga);
        }
        Ok(())
    }
}
