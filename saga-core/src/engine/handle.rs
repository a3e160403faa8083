//! Handles: how those who start sagas learn what became of them.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::Inner;
use super::error::{HistoryError, OutcomeError};
use super::saga::Saga;
use super::watch::Watch;
use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::codec::TurnError;
use crate::definition::{Blueprint, Definition};
use crate::fault::Fault;
use crate::id::{Epoch, SagaId, StepName};
use crate::journal::{DeadLetter, SagaHeader, SagaStatus, Stored};
use crate::machine::{Direction, Record, SagaState, decode_turn};
use crate::time::Timestamp;

/// How often a handle asks the journal about a saga that runs elsewhere: soon at first, then more
/// and more rarely.
const POLL: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(500));
/// How many dead letters an outcome lists.
const LETTERS: usize = 100;

/// What became of a saga.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SagaOutcome<O> {
    /// Every step is done.
    Completed(O),
    /// The saga turned back, and every compensation that was owed is done.
    RolledBack(Failure),
    /// The saga waits for a human. It is not over: ask again once the dead letters are resolved.
    NeedsAttention(Vec<DeadLetter>),
}

/// Why a saga turned back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The step that failed; none when the saga was halted from outside, by its deadline.
    pub step: Option<StepName>,
    /// How it failed.
    pub fault: Fault,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.step {
            Some(step) => write!(f, "{step} failed: {}", self.fault),
            None => self.fault.fmt(f),
        }
    }
}

/// One turn of a saga's history, see [`Engine::history`](super::Engine::history).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryTurn {
    /// When it was written, by the journal's clock.
    pub at: Timestamp,
    /// The lease that wrote it; none for a start without one.
    pub epoch: Option<Epoch>,
    /// What happened.
    pub records: Vec<Record>,
}

pub(crate) async fn history(inner: &Inner, saga: SagaId) -> Result<Option<Vec<HistoryTurn>>, OutcomeError> {
    let loaded = inner.journal.load(&[saga]).await.map_err(|source| OutcomeError::Journal { saga, source })?;
    let Some(history) = loaded.into_iter().next() else { return Ok(None) };
    let header = history.header;
    let turn = |(seq, stored): (usize, Stored)| {
        let records =
            opened_or_sealed(inner, &header, &stored.body).map_err(|source| HistoryError::Turn { seq, source });
        let records = records.map_err(|source| OutcomeError::Unreadable { saga, source })?;
        Ok(HistoryTurn { at: stored.at, epoch: stored.epoch, records })
    };
    history.turns.into_iter().enumerate().map(turn).collect::<Result<_, _>>().map(Some)
}

/// The records of a turn; with payloads as they stand in the journal when they cannot be opened here.
pub(crate) fn opened_or_sealed(inner: &Inner, saga: &SagaHeader, body: &str) -> Result<Vec<Record>, serde_json::Error> {
    let blueprint = inner.blueprint(&saga.definition, saga.version);
    match blueprint.map(|blueprint| crate::codec::decode_turn(blueprint, saga, body)) {
        Some(Ok(records)) => Ok(records),
        Some(Err(TurnError::Json(error))) => Err(error),
        Some(Err(TurnError::Codec(_))) | None => decode_turn(body),
    }
}

type Decode<O> = Arc<dyn Fn(&SagaState) -> Result<O, CheckpointError> + Send + Sync>;

/// A saga that was started, and the type of its output.
pub struct SagaHandle<O> {
    inner: Arc<Inner>,
    blueprint: Arc<Blueprint>,
    output: Decode<O>,
    id: SagaId,
    /// The news from this process's own worker, should it run the saga.
    local: Mutex<Option<Watch>>,
}

impl<O: Send + 'static> SagaHandle<O> {
    pub(crate) fn of<I: Checkpoint>(inner: Arc<Inner>, definition: &Definition<I, O>, id: SagaId) -> Self {
        let (blueprint, definition) = (definition.blueprint().clone(), definition.clone());
        let output: Decode<O> = Arc::new(move |state| definition.output(state));
        Self { inner, blueprint, output, id, local: Mutex::new(None) }
    }

    pub(crate) fn watching(self, local: Watch) -> Self {
        Self { local: Mutex::new(Some(local)), ..self }
    }

    /// The saga's id.
    #[must_use]
    pub fn id(&self) -> SagaId {
        self.id
    }

    /// Waits until the saga has ended, or waits for a human. The future may be dropped and asked for
    /// again; the saga goes on regardless.
    ///
    /// # Errors
    /// See [`OutcomeError`]; the saga goes on regardless.
    pub async fn outcome(&self) -> Result<SagaOutcome<O>, OutcomeError> {
        let local = self.local.lock().unwrap_or_else(PoisonError::into_inner).take();
        let ended = match local {
            Some(watch) if watch.runs_here() => watch.ended().await,
            // This worker may well be who claims it; else the journal tells.
            Some(watch) => tokio::select! {
                biased;
                Some(saga) = watch.ended() => Some(saga),
                outcome = self.asked() => return outcome,
            },
            None => None,
        };
        match ended {
            Some(saga) => self.ended(saga.state()),
            None => self.asked().await,
        }
    }

    /// The outcome, from the journal: asked until it has one.
    async fn asked(&self) -> Result<SagaOutcome<O>, OutcomeError> {
        let mut pause = POLL.0;
        loop {
            if let Some(outcome) = self.outcome_now().await? {
                return Ok(outcome);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(POLL.1);
        }
    }

    /// What has become of the saga so far; none while it is under way.
    ///
    /// # Errors
    /// See [`OutcomeError`].
    pub async fn outcome_now(&self) -> Result<Option<SagaOutcome<O>>, OutcomeError> {
        let saga = self.id;
        let journal = &self.inner.journal;
        let failed = |source| OutcomeError::Journal { saga, source };
        let summary = journal.summary(saga).await.map_err(failed)?.ok_or(OutcomeError::NotFound { saga })?;
        let (runs, asked) = (summary.header.version, self.blueprint.version);
        if runs != asked {
            return Err(OutcomeError::OtherVersion { saga, runs, asked });
        }
        match summary.status {
            SagaStatus::Running | SagaStatus::Waiting => Ok(None),
            SagaStatus::NeedsAttention => {
                let letters = journal.dead_letters(Some(saga), LETTERS).await.map_err(failed)?;
                Ok(Some(SagaOutcome::NeedsAttention(letters)))
            }
            SagaStatus::Watching | SagaStatus::Retained | SagaStatus::Ended(_) => {
                let history =
                    journal.load(&[saga]).await.map_err(failed)?.pop().ok_or(OutcomeError::NotFound { saga })?;
                let replayed = Saga::replay(self.blueprint.clone(), &history)
                    .map_err(|source| OutcomeError::Unreadable { saga, source })?;
                self.ended(replayed.state()).map(Some)
            }
        }
    }

    /// What a step has left so far, whether the saga is over or not; none while it is not done. Name the type
    /// that the definition gives it.
    ///
    /// ```
    /// # async fn example(saga: saga_core::SagaHandle<String>) -> Result<(), Box<dyn std::error::Error>> {
    /// if let Some(order_id) = saga.output_of::<String>("create-order").await? {
    ///     println!("{order_id} is on its way");
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// See [`OutcomeError`]; [`OutcomeError::Undecodable`] when the step leaves another type.
    pub async fn output_of<T: Checkpoint>(&self, step: &str) -> Result<Option<T>, OutcomeError> {
        let state = self.state().await?;
        let step = state.find(&StepName::from(step)).and_then(|index| state.steps()[index].output());
        step.map(T::decode).transpose().map_err(|source| OutcomeError::Undecodable { saga: self.id, source })
    }

    /// Why the saga went on without a best-effort step; none when it did not.
    ///
    /// # Errors
    /// See [`OutcomeError`].
    pub async fn soft_failure_of(&self, step: &str) -> Result<Option<String>, OutcomeError> {
        let state = self.state().await?;
        let step = state.find(&StepName::from(step)).map(|index| &state.steps()[index]);
        Ok(step.and_then(|step| step.soft_failure()).map(str::to_owned))
    }

    /// The saga's state, as the journal has it now.
    async fn state(&self) -> Result<SagaState, OutcomeError> {
        let saga = self.id;
        let loaded = self.inner.journal.load(&[saga]).await;
        let history = loaded.map_err(|source| OutcomeError::Journal { saga, source })?.pop();
        let history = history.ok_or(OutcomeError::NotFound { saga })?;
        let (runs, asked) = (history.header.version, self.blueprint.version);
        if runs != asked {
            return Err(OutcomeError::OtherVersion { saga, runs, asked });
        }
        let replayed = Saga::replay(self.blueprint.clone(), &history);
        replayed.map(Saga::into_state).map_err(|source| OutcomeError::Unreadable { saga, source })
    }

    fn ended(&self, state: &SagaState) -> Result<SagaOutcome<O>, OutcomeError> {
        if state.direction() == Direction::Completed {
            return (self.output)(state).map(SagaOutcome::Completed).map_err(|source| OutcomeError::Undecodable {
                saga: self.id,
                source: self.blueprint.withhold(source),
            });
        }
        let cause = state.cause().filter(|_| state.halted().is_none());
        let step = cause.map(|step| step.name().clone());
        Ok(SagaOutcome::RolledBack(Failure { step, fault: state.reason() }))
    }
}

impl<O> fmt::Debug for SagaHandle<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SagaHandle({} of {:?})", self.id, self.blueprint)
    }
}
