//! Decisions by hand about sagas that wait for a human. Each is journalled with who and why, under a
//! lease like every other append.

use std::sync::Arc;
use std::time::Duration;

use super::Inner;
use super::error::{EventError, OperatorError};
use super::incarnation::Hold;
use super::saga::Saga;
use super::send::send;
use crate::definition::Blueprint;
use crate::id::{SagaId, StepName};
use crate::journal::{After, Appended, ClaimOne, DeadEvent, History, JournalError, Lease, LockEntry, Sent, Turn};
use crate::machine::{Direction, Mail, Record, Refused, Resolution};

/// How often, and how far apart, a saga that a worker is busy with is asked for.
const BUSY_TRIES: u32 = 20;
const BUSY_PAUSE: Duration = Duration::from_millis(50);
/// How long the lease of an engine that is no worker lasts: a decision takes milliseconds.
const LEASE_TTL: Duration = Duration::from_secs(10);

/// What an operator can do; made by [`Engine::operator`](super::Engine::operator).
#[derive(Clone, Debug)]
pub struct Operator {
    inner: Arc<Inner>,
}

impl Operator {
    pub(crate) fn new(inner: Arc<Inner>) -> Self {
        Self { inner }
    }

    /// Decides about the step `step` of a saga that waits for a human there. `actor` and `reason`
    /// are journalled with the decision. The saga then goes on by itself, on any worker.
    ///
    /// ```
    /// # async fn example(engine: saga_core::Engine) -> Result<(), Box<dyn std::error::Error>> {
    /// use saga_core::Payload;
    /// use saga_core::engine::Resolution;
    ///
    /// for letter in engine.dead_letters(10).await? {
    ///     println!("{} {}: {}", letter.key, letter.reason, letter.error);
    ///     if letter.step.as_ref().is_some_and(|step| step.as_str() == "capture") {
    ///         let receipt = Resolution::Supply(Payload::from_json("\"txn-1\"".to_owned())?);
    ///         engine.operator().resolve(letter.saga, "capture", receipt, "ann", "seen at the gateway").await?;
    ///     }
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// See [`OperatorError`]; after [`OperatorError::Journal`] look before deciding again.
    pub async fn resolve(
        &self,
        saga: SagaId,
        step: &str,
        resolution: Resolution,
        actor: &str,
        reason: &str,
    ) -> Result<(), OperatorError> {
        let step = StepName::from(step);
        self.decide(saga, |blueprint, known| {
            if let Resolution::Supply(output) = &resolution
                && let Some(index) = known.state().find(&step)
            {
                blueprint.steps[known.state().origin(index)]
                    .accepts(output)
                    .map_err(|source| OperatorError::BadResult { saga, source: blueprint.withhold(source) })?;
            }
            known
                .state()
                .resolve_by_hand(&blueprint.plan, &step, resolution.clone(), actor, reason)
                .map_err(|source| OperatorError::Refused { saga, source })
        })
        .await
    }

    /// Has a saga turn back as soon as that is safe: steps that are under way come to their end, a pivot
    /// whose outcome is in doubt is resolved first, and nothing new begins. Await the saga's outcome to
    /// learn whether the wish came in time; it is journalled either way, with who and why.
    ///
    /// # Errors
    /// [`OperatorError::Refused`] when the saga is past its point of no return already, or turns back.
    pub async fn cancel(&self, saga: SagaId, actor: &str, reason: &str) -> Result<(), OperatorError> {
        let refused = |source| OperatorError::Refused { saga, source };
        if actor.trim().is_empty() || reason.trim().is_empty() {
            return Err(refused(Refused::NoReason));
        }
        let summary = self.inner.journal.summary(saga).await;
        let summary = summary.map_err(|source| OperatorError::Journal { saga, source })?;
        let header = summary.ok_or(OperatorError::NotFound { saga })?.header;
        let (_, known) = self.load(saga).await?;
        let direction = known.state().direction();
        if !known.state().can_cancel() {
            return Err(refused(Refused::TooLate { direction }));
        }
        let mail = Mail::Cancel { actor: actor.to_owned(), reason: reason.to_owned() };
        let id = format!("cancel {}", uuid::Uuid::now_v7());
        match send(&self.inner, &header.definition, &header.key, id, &mail).await {
            Ok(Sent::Accepted | Sent::Duplicate) => Ok(()),
            Ok(Sent::TooLate) => Err(refused(Refused::TooLate { direction: Direction::Completed })),
            Err(problem) => Err(OperatorError::NotSent { saga, source: problem }),
        }
    }

    /// Has what has failed, and waits for its next attempt at a later time, tried at once: for a participant that
    /// is back before a patient policy would ask it again. It costs an attempt like any other and grants no new
    /// ones, and a breaker that is open, or a rate, is still waited for. Journalled with who and why; asking
    /// twice is asking once.
    ///
    /// # Errors
    /// [`OperatorError::Refused`] with [`Refused::NoRetryPending`] when nothing of the saga waits for an attempt:
    /// what waits for a human is decided by [`Operator::resolve`].
    pub async fn retry_now(&self, saga: SagaId, actor: &str, reason: &str) -> Result<(), OperatorError> {
        let refused = |source| OperatorError::Refused { saga, source };
        if actor.trim().is_empty() || reason.trim().is_empty() {
            return Err(refused(Refused::NoReason));
        }
        let summary = self.inner.journal.summary(saga).await;
        let summary = summary.map_err(|source| OperatorError::Journal { saga, source })?;
        let header = summary.ok_or(OperatorError::NotFound { saga })?.header;
        let (_, known) = self.load(saga).await?;
        if !known.state().is_put_off() {
            return Err(refused(Refused::NoRetryPending));
        }
        let mail = Mail::RetryNow { actor: actor.to_owned(), reason: reason.to_owned() };
        // Told in the same state it is the same message: whoever asks twice is heard once.
        let id = format!("retry-now {}", known.state().turns());
        match send(&self.inner, &header.definition, &header.key, id, &mail).await {
            Ok(Sent::Accepted | Sent::Duplicate) => Ok(()),
            Ok(Sent::TooLate) => Err(refused(Refused::NoRetryPending)),
            Err(source) => Err(OperatorError::NotSent { saga, source }),
        }
    }

    /// Lets a saga go on that was set aside as a whole because its history could not be read, after a
    /// binary was deployed that can.
    ///
    /// # Errors
    /// See [`OperatorError`].
    pub async fn resume(&self, saga: SagaId, actor: &str, reason: &str) -> Result<(), OperatorError> {
        self.decide(saga, |_, known| {
            known.state().resume_by_hand(actor, reason).map_err(|source| OperatorError::Refused { saga, source })
        })
        .await
    }

    /// Events that could not be published and wait for a human, oldest first, at most `limit`.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn dead_events(&self, limit: usize) -> Result<Vec<DeadEvent>, JournalError> {
        self.inner.journal.dead_events(limit).await
    }

    /// Has an event that could not be published tried again, with a fresh budget of attempts. `actor` and
    /// `reason` are logged.
    ///
    /// # Errors
    /// See [`EventError`].
    pub async fn republish(&self, event: &str, actor: &str, reason: &str) -> Result<(), EventError> {
        self.revive(event, true, actor, reason).await?;
        self.inner.events.notify_one();
        Ok(())
    }

    /// Drops an event that could not be published: nobody will ever get it. `actor` and `reason` are logged.
    ///
    /// # Errors
    /// See [`EventError`].
    pub async fn drop_event(&self, event: &str, actor: &str, reason: &str) -> Result<(), EventError> {
        self.revive(event, false, actor, reason).await
    }

    async fn revive(&self, event: &str, again: bool, actor: &str, reason: &str) -> Result<(), EventError> {
        if actor.trim().is_empty() || reason.trim().is_empty() {
            return Err(EventError::NoReason);
        }
        let revived = self.inner.journal.revive_event(event, again).await;
        if !revived.map_err(|source| EventError::Journal { source })? {
            return Err(EventError::NotWaiting { event: event.to_owned() });
        }
        let decision = if again { "publish again" } else { "drop" };
        tracing::warn!(event.id = event, decision, actor, reason, "an operator decided about an event");
        Ok(())
    }

    /// Which sagas have entities locked, and which wait for them, in the order of keys and of their lines,
    /// at most `limit`.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn locks(&self, limit: usize) -> Result<Vec<LockEntry>, JournalError> {
        self.inner.journal.locks(limit).await
    }

    async fn decide(
        &self,
        saga: SagaId,
        decision: impl Fn(&Arc<Blueprint>, &Saga) -> Result<Record, OperatorError>,
    ) -> Result<(), OperatorError> {
        // Looked at first without touching anything: a refusal writes nothing.
        let (blueprint, known) = self.load(saga).await?;
        decision(&blueprint, &known)?;
        let own = self.inner.incarnation().filter(|incarnation| incarnation.is_live());
        let (lease, temporary) = match &own {
            Some(incarnation) => (incarnation.lease, None),
            None => {
                let opened = self.inner.journal.open_lease("operator", LEASE_TTL).await;
                let (lease, _) = opened.map_err(|source| OperatorError::Journal { saga, source })?;
                (lease, Some(lease))
            }
        };
        let decided = self.decide_under(lease, saga, &decision).await;
        if let Some(lease) = temporary {
            // Whatever happened, the saga must not hang on this lease.
            if let Err(problem) = self.inner.journal.close_lease(lease).await {
                tracing::warn!(saga.id = %saga, %problem, "the operator's lease was not closed; it lapses by itself");
            }
        }
        self.inner.claims.wake();
        decided
    }

    async fn decide_under(
        &self,
        lease: Lease,
        saga: SagaId,
        decision: &impl Fn(&Arc<Blueprint>, &Saga) -> Result<Record, OperatorError>,
    ) -> Result<(), OperatorError> {
        let _hold = self.claim(lease, saga).await?;
        let (blueprint, mut known) = self.load(saga).await?;
        let now = self.inner.clock.now();
        let applied = decision(&blueprint, &known).and_then(|record| {
            known.apply(record).map_err(|error| OperatorError::Unreadable { saga, source: error.into() })
        });
        let turn = match &applied {
            Ok(()) => known.turn(After::Park { wake_at: Some(now), standing: known.standing() }, nonce()),
            // It changed between looking and claiming: given back as it was. Its worker may have died meanwhile, and
            // left attempts that nobody runs: whoever claims it next sees to them, and works out what it waits for.
            Err(_) => {
                let wake_at = (!known.state().is_set_aside()).then_some(now);
                known.turn(After::Park { wake_at, standing: known.standing() }, nonce())
            }
        };
        let turn = turn.map_err(|source| OperatorError::Unwritable { saga, source: Box::new(source) })?;
        self.append(lease, turn).await?;
        applied
    }

    /// Makes the lease the owner of the saga, waiting a little for a worker that is busy with it.
    async fn claim(&self, lease: Lease, saga: SagaId) -> Result<Option<Hold>, OperatorError> {
        let mut busy = OperatorError::Busy { saga, by: None };
        for _ in 0..BUSY_TRIES {
            let own = self.inner.incarnation().filter(|incarnation| incarnation.lease == lease);
            // Under this worker's own lease the journal would not tell its drivers from us.
            let hold = own.as_ref().map(|incarnation| incarnation.hold(saga));
            // Whatever becomes of this, also when it is cancelled or an answer is lost: the worker looks afterwards
            // whether the saga is left with it.
            hold.iter().flatten().for_each(Hold::give_up);
            if !matches!(hold, Some(None)) {
                let claimed = self.inner.journal.claim_one(lease, saga).await;
                match claimed.map_err(|source| OperatorError::Journal { saga, source })? {
                    ClaimOne::Claimed(_) => return Ok(hold.flatten()),
                    ClaimOne::Owned(epoch) => busy = OperatorError::Busy { saga, by: Some(epoch) },
                    ClaimOne::Ended | ClaimOne::NotFound => return Err(OperatorError::NotFound { saga }),
                }
            }
            drop(hold);
            tokio::time::sleep(BUSY_PAUSE).await;
        }
        Err(busy)
    }

    pub(crate) async fn load(&self, saga: SagaId) -> Result<(Arc<Blueprint>, Saga), OperatorError> {
        let loaded = self.inner.journal.load(&[saga]).await;
        let history: History = loaded
            .map_err(|source| OperatorError::Journal { saga, source })?
            .pop()
            .ok_or(OperatorError::NotFound { saga })?;
        let (definition, version) = (history.header.definition.clone(), history.header.version);
        let Some(blueprint) = self.inner.blueprint(&definition, version) else {
            return Err(OperatorError::UnknownDefinition { saga, definition, version });
        };
        let known =
            Saga::replay(blueprint.clone(), &history).map_err(|source| OperatorError::Unreadable { saga, source })?;
        Ok((blueprint.clone(), known))
    }

    /// Appends the turn, sending it again while the answer is lost: that settles whether it went in.
    async fn append(&self, lease: Lease, turn: Turn) -> Result<(), OperatorError> {
        let saga = turn.saga;
        let turns = [turn];
        for tries in 0..10 {
            match self.inner.journal.append(lease, &turns).await {
                Ok(answers) => {
                    return match answers.first() {
                        Some(Appended::Written | Appended::Repeated) => Ok(()),
                        Some(Appended::Rival | Appended::Unread) | None => Err(OperatorError::Busy { saga, by: None }),
                    };
                }
                Err(JournalError::Unavailable { .. }) if tries < 9 => {
                    tokio::time::sleep(super::incarnation::outage_delay(tries)).await;
                }
                Err(source) => return Err(OperatorError::Journal { saga, source }),
            }
        }
        Err(OperatorError::Busy { saga, by: None })
    }
}

fn nonce() -> i64 {
    fastrand::i64(..)
}
