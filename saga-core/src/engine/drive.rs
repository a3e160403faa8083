//! Drives one saga under one lease: decide → append → act → report → decide. It knows nothing of
//! the rules of sagas; it keeps the order of durable and done.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use futures_util::{FutureExt as _, future::Future};
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::Instant;
use tracing::{Instrument as _, error, info_span, warn};

use super::attempt;
use super::dependency::Permit;
use super::incarnation::{Hold, Incarnation, Written, outage_delay};
use super::intercept::Call;
use super::mailbox::deliver;
use super::place::Place;
use super::saga::{Rest, Saga, SettleError, describe, moment, set_aside};
use super::turn::TurnError;
use super::{Inner, telemetry};
use crate::fault::Class;
use crate::id::SagaId;
use crate::journal::{After, End, LetterChange, Standing};
use crate::machine::{Attempt, AttentionReason, IllegalRecord, Report};
use crate::seeded::seeded;
use crate::step::{Facts, StepContext};
use crate::time::Timestamp;

/// A saga that waits no longer than this stays in memory, without a slot; one that waits longer is
/// parked. A second is what parking and claiming again would cost a busy journal anyway.
const STAY_MAX: Duration = Duration::from_secs(1);

/// How patiently a saga is taken up anew whose turn the journal has refused, or whose driver has panicked: about a
/// second.
const REFUSED_DELAY: u32 = 7;

/// Why the driver let go of a saga.
enum Exit {
    /// It ended, was parked, or belongs to another now.
    Gone,
    /// It waits in memory until this time.
    Sleep(Timestamp),
}

/// Why the driver cannot go on with a saga.
enum Stop {
    /// The lease is lost, or another has written: forget the saga.
    Lost,
    /// The worker stops: the next owner goes on.
    HandBack,
    /// The machine and the history disagree: a human must look.
    Broken(String),
}

impl From<IllegalRecord> for Stop {
    fn from(error: IllegalRecord) -> Self {
        Self::Broken(describe(&error))
    }
}

impl From<TurnError> for Stop {
    fn from(error: TurnError) -> Self {
        Self::Broken(describe(&error))
    }
}

impl From<SettleError> for Stop {
    fn from(error: SettleError) -> Self {
        Self::Broken(describe(&error))
    }
}

/// What a turn holds that others must be told, once it is durable.
struct News {
    ending: Option<End>,
    publishes: bool,
    starts: bool,
    opened: Vec<AttentionReason>,
    late_effects: u64,
    late_signals: u64,
}

pub(crate) struct Driver {
    pub(crate) inner: Arc<Inner>,
    pub(crate) incarnation: Arc<Incarnation>,
    pub(crate) saga: Box<Saga>,
    pub(crate) hold: Hold,
}

impl Driver {
    /// Starts the driver in a task of its own. Should the driver itself fail, the saga is taken up anew
    /// from its history.
    pub(crate) fn spawn(self, slot: OwnedSemaphorePermit) {
        // Now, and not when the task first runs: the next claim may come before, and counts the places that are left.
        let place = Place::with_slot(&self.inner, &self.saga.blueprint.name, slot);
        let inner = self.inner.clone();
        inner.drivers.clone().spawn(self.run_guarded(place));
    }

    /// As [`Driver::spawn`], in the caller's task. (No `async fn`, which would keep room for the future twice.)
    pub(crate) fn run_guarded(self, place: Place) -> impl Future<Output = ()> + Send {
        let (inner, id, blueprint) = (self.inner.clone(), self.saga.id, self.saga.blueprint.clone());
        // What runs has gone by then, so that the saga is let go before the worker looks for it.
        AssertUnwindSafe(self.run(place)).catch_unwind().then(move |ran| async move {
            if let Err(panic) = ran {
                let panic = blueprint.panic_text(&*panic);
                error!(saga.id = %id, panic, "the driver panicked; taking the saga up anew");
                inner.watchers.forget(id);
                // It may well panic anew: not as fast as the processor can.
                tokio::select! {
                    () = inner.draining.cancelled() => {}
                    () = tokio::time::sleep(outage_delay(REFUSED_DELAY)) => {}
                }
                inner.claims.ask_to_reconcile();
            }
        })
    }

    /// Runs the saga until it ends, is parked, or is lost. Its place is given up while it only waits.
    async fn run(mut self, mut place: Place) {
        let definition = self.saga.blueprint.name.clone();
        place.enter_room(&definition).await;
        let mut place = Some(place);
        loop {
            let span = info_span!(
                "saga.run",
                saga.id = %self.saga.id,
                saga.definition = %self.saga.blueprint.name,
                saga.version = self.saga.blueprint.version,
                saga.key = self.saga.told_key(),
            );
            let exit = self.drive().instrument(span).await;
            drop(place.take());
            match exit {
                Ok(Exit::Gone) | Err(Stop::Lost | Stop::HandBack) => break,
                Ok(Exit::Sleep(until)) => {
                    // It was to be soon. If the journal's clock has been set back since, it is looked at again, and
                    // parked: the journal's clock goes on to tell when it is due.
                    let wake_at = self.inner.clock.instant(until).min(Instant::now() + STAY_MAX);
                    tokio::select! {
                        biased;
                        () = self.incarnation.lost.cancelled() => break,
                        // Closing the lease hands the saga back, due at once.
                        () = self.inner.draining.cancelled() => break,
                        () = tokio::time::sleep_until(wake_at) => {}
                        () = self.hold.mailbox.arrived() => {}
                    }
                    place = Some(Place::wait(&self.inner, &definition).await);
                }
                Err(Stop::Broken(problem)) => {
                    let seq = self.saga.state().turns();
                    quarantine(&self.incarnation, self.saga.id, seq, problem).await;
                    break;
                }
            }
        }
        let Self { inner, saga, hold, .. } = self;
        drop(hold);
        // Whoever waits is told what is durable: the rest may come otherwise, with the saga's next owner.
        match saga.has_news() && !seeded("M27") {
            false => inner.watchers.settled(saga),
            true => inner.watchers.forget(saga.id),
        }
    }

    async fn drive(&mut self) -> Result<Exit, Stop> {
        let mut running = FuturesUnordered::new();
        loop {
            for message in self.hold.mailbox.take() {
                self.saga.receive(message.id, &message.body)?;
            }
            let begin = !self.inner.draining.is_cancelled();
            let rest = self.saga.settle(self.inner.at(begin))?;
            let after = self.after(&rest, running.is_empty(), begin);
            if (self.saga.has_news() || after != After::Keep) && !self.append(after).await? {
                fetch_mail(&self.inner, &self.incarnation).await;
                continue;
            }
            let Rest::Wait { attempts, wake_at } = rest else { return Ok(Exit::Gone) };
            if after != After::Keep {
                return Ok(Exit::Gone);
            }
            for &attempt in &attempts {
                if let Some((call, permit)) = self.prepared(attempt).await? {
                    running.push(self.launch(attempt, call, permit));
                }
            }
            if running.is_empty() {
                return wake_at.map(Exit::Sleep).ok_or(Stop::HandBack);
            }
            self.wait(&mut running, wake_at).await?;
        }
    }

    /// What becomes of the saga with the turn: kept while something runs or is due very soon.
    fn after(&self, rest: &Rest, idle: bool, begin: bool) -> After {
        match rest {
            Rest::Ended(end) => After::End(*end),
            Rest::Wait { attempts, .. } if !idle || !attempts.is_empty() => After::Keep,
            Rest::Wait { wake_at, .. } => {
                let standing = self.saga.standing();
                // Who waits for a saga that is rolled back need not wait for what may come late.
                let soon = standing != Standing::Watching
                    && wake_at.is_some_and(|at| at.since(self.inner.clock.now()) <= STAY_MAX);
                if soon && begin { After::Keep } else { After::Park { wake_at: *wake_at, standing } }
            }
        }
    }

    /// Makes everything applied so far durable. Nothing is done in the world before this returns. False
    /// when a message has come that must be read before the saga can end.
    async fn append(&mut self, after: After) -> Result<bool, Stop> {
        let (news, written) = self.submit(after)?;
        match written.await.unwrap_or(Written::Lost) {
            Written::Durable => {}
            Written::Unread if matches!(after, After::End(_)) => {
                self.hold.leaving(false);
                return Ok(false);
            }
            Written::Lost => return Err(Stop::Lost),
            Written::Rival => {
                error!(saga.id = %self.saga.id, "another turn stands where this worker's was to stand; dropping the saga");
                return Err(Stop::Lost);
            }
            // Only a turn that ends its saga can be told to read first.
            Written::Refused | Written::Unread => {
                error!(saga.id = %self.saga.id, "the journal refuses the saga's turn; it stays as it is");
                // Taken up anew, it may well be refused anew: not as fast as the processor can.
                self.pause(outage_delay(REFUSED_DELAY)).await;
                self.hold.give_up();
                return Err(Stop::Lost);
            }
        }
        self.saga.turn_written();
        self.tell(&news, after);
        Ok(true)
    }

    /// Hands the turn on, with the journal's answer to come; and what it holds that others must be told.
    fn submit(&mut self, after: After) -> Result<(News, oneshot::Receiver<Written>), Stop> {
        let turn = self.saga.turn(after, fastrand::i64(..))?;
        let news = News {
            ending: self.saga.ending(),
            publishes: !turn.events.is_empty(),
            starts: !turn.starts.is_empty() || !turn.sends.is_empty(),
            opened: turn.letters.iter().filter_map(opened).collect(),
            late_effects: self.saga.late_effects(),
            late_signals: self.saga.late_signals(),
        };
        match after {
            After::Keep => self.saga.turn_sent(),
            After::Park { .. } | After::End(_) => self.hold.leaving(true),
        }
        Ok((news, self.incarnation.appender.submit(turn)))
    }

    /// Tells those whom it concerns what has just become durable.
    fn tell(&self, news: &News, after: After) {
        let definition = &self.saga.blueprint.name;
        let &News { ending, publishes, starts, ref opened, late_effects, late_signals } = news;
        if let Some(end) = ending {
            telemetry::ended(definition, end);
        }
        if late_signals > 0 {
            warn!(saga.id = %self.saga.id, signals = late_signals, "no step took what was signalled; other sagas see to it");
            telemetry::late_signals(definition, late_signals);
        }
        if publishes {
            self.inner.events.notify_one();
        }
        if starts {
            self.inner.claims.wake();
        }
        if late_effects > 0 {
            warn!(saga.id = %self.saga.id, "an effect came after its compensation; compensating it again");
            telemetry::late_effects(definition, late_effects);
        }
        if let After::Park { wake_at: Some(at), .. } = after {
            self.inner.due_hint(at);
        }
        if !opened.is_empty() {
            opened.iter().for_each(|reason| telemetry::dead_lettered(definition, *reason));
            self.inner.alerts.notify_one();
        }
    }

    /// Waits, unless the lease is lost or the worker stops.
    async fn pause(&mut self, pause: Duration) {
        tokio::select! {
            () = self.incarnation.lost.cancelled() => {}
            () = self.inner.draining.cancelled() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }

    /// What it takes to make the attempt, if its intent has just become durable; none when it is under way.
    async fn prepared(&mut self, attempt: Attempt) -> Result<Option<(Call, Option<Permit>)>, Stop> {
        let Some((prepared, permit)) = self.saga.take_prepared(attempt) else { return Ok(None) };
        // A worker whose lease may have lapsed starts nothing.
        if !self.incarnation.is_live() && !self.incarnation.live().await {
            return Err(Stop::Lost);
        }
        Ok(Some((Call::new(prepared).within(&self.inner.options.interceptors), permit)))
    }

    /// Makes the attempt.
    fn launch(
        &self,
        attempt: Attempt,
        call: Call,
        permit: Option<Permit>,
    ) -> impl Future<Output = (Attempt, Report)> + Send + use<> {
        let cx = self.context(attempt);
        if let Some(dependency) = self.dependency(attempt).filter(|_| attempt.number == 1) {
            self.inner.dependencies.deposit(dependency, attempt.op, cx.now());
        }
        let (max, secret) = (self.inner.limits.payload_max_bytes, self.saga.blueprint.is_secret());
        let permit = permit.map(|permit| (permit, self.inner.clone()));
        // (No `async` block, which would keep room for the future twice.)
        attempt::run(call, cx, max, secret).map(move |report| {
            if let Some((permit, inner)) = permit {
                permit.report(answered(&report), inner.clock.now());
            }
            (attempt, report)
        })
    }

    fn dependency(&self, attempt: Attempt) -> Option<&Arc<str>> {
        self.saga.state().planned(&self.saga.blueprint.plan, attempt.step).dependency.as_ref()
    }

    /// The report, with the wait that the dependency's retry budget asks for.
    fn paced(&self, attempt: Attempt, report: Report, now: Timestamp) -> Report {
        match (report, self.dependency(attempt)) {
            (Report::Failed { fault, retry_after }, Some(dependency)) if fault.class == Class::Transient => {
                let wait = self.inner.dependencies.withdraw(dependency, attempt.op, now);
                Report::Failed { fault, retry_after: retry_after.max(Some(wait)) }
            }
            (report, _) => report,
        }
    }

    fn context(&self, attempt: Attempt) -> StepContext {
        let (blueprint, state, now) = (&self.saga.blueprint, self.saga.state(), self.inner.clock.now());
        StepContext::new(Facts {
            saga: self.saga.id,
            definition: blueprint.name.clone(),
            step: state.steps()[attempt.step].name().clone(),
            item: state.steps()[attempt.step].item(),
            op: attempt.op,
            attempt: attempt.number,
            generation: state.steps()[attempt.step].generation(),
            epoch: self.incarnation.epoch(),
            now,
            timeout: state.time_limit(&blueprint.plan, attempt, now),
        })
    }

    /// Waits until an attempt ends or something is due, and takes in all attempts that have ended.
    async fn wait(
        &mut self,
        running: &mut FuturesUnordered<impl Future<Output = (Attempt, Report)> + Send>,
        wake_at: Option<Timestamp>,
    ) -> Result<(), Stop> {
        let wake_at = wake_at.filter(|_| !self.inner.draining.is_cancelled()).map(|at| self.inner.clock.instant(at));
        let timer = async {
            match wake_at {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        let ended = tokio::select! {
            biased;
            // First, as it is nearly always why one wakes; should the lease be lost as well, the append tells.
            ended = running.next() => ended,
            () = self.incarnation.lost.cancelled() => return Err(Stop::Lost),
            // The attempts are dropped; their intents stand, and the next owner finds them unknown.
            () = self.inner.aborting.cancelled() => return Err(Stop::HandBack),
            () = self.hold.mailbox.arrived() => None,
            () = timer => None,
        };
        let mut ended = ended;
        while let Some((attempt, report)) = ended {
            let now = self.inner.clock.now();
            let report = self.paced(attempt, report, now);
            self.saga.report(attempt, report, moment(now, &self.inner.limits))?;
            ended = running.next().now_or_never().flatten();
        }
        Ok(())
    }
}

/// Gets the messages that the journal has for this worker's sagas.
async fn fetch_mail(inner: &Inner, incarnation: &Incarnation) {
    if let Err(problem) = deliver(inner, incarnation).await {
        warn!(%problem, "messages cannot be read; trying again");
        tokio::time::sleep(outage_delay(3)).await;
    }
}

/// Sets aside a saga that cannot be read or run here, so that it never stops the others.
pub(crate) async fn quarantine(incarnation: &Incarnation, id: SagaId, seq: u32, problem: String) {
    error!(saga.id = %id, %problem, "the saga cannot be read or run; setting it aside");
    match set_aside(id, seq, fastrand::i64(..), problem) {
        Ok(turn) => {
            if incarnation.appender.submit(turn).await != Ok(Written::Durable) {
                error!(saga.id = %id, "the saga could not be set aside; its next owner will try");
            }
        }
        Err(problem) => error!(saga.id = %id, %problem, "the dead letter cannot be encoded"),
    }
}

/// Whether the participant answered, be it with a refusal.
fn answered(report: &Report) -> bool {
    match report {
        Report::Done(_) | Report::Probed(_) | Report::Compensated => true,
        Report::Failed { fault, .. } => fault.class == Class::Terminal,
    }
}

fn opened(change: &LetterChange) -> Option<AttentionReason> {
    match change {
        LetterChange::Open { reason, .. } => Some(*reason),
        LetterChange::Close { .. } => None,
    }
}
