//! What a saga can be told from outside, and what it makes of it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::phase::Phase;
use super::record::{Halt, Record};
use super::state::{Direction, SagaState};
use crate::checkpoint::{Checkpoint as _, Payload};
use crate::definition::{Kind, Locks, Plan};
use crate::fault::Fault;
use crate::id::StepName;

/// A message to a saga. Its JSON form is the stored form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mail {
    /// Turn back as soon as that is safe.
    Cancel {
        /// Who wants it.
        actor: String,
        /// Why.
        reason: String,
    },
    /// Try at once what waits for its next attempt.
    RetryNow {
        /// Who wants it.
        actor: String,
        /// Why.
        reason: String,
    },
    /// Something has happened that a step may wait for.
    Signal {
        /// What.
        name: String,
        /// What is to be known of it.
        payload: Payload,
    },
    /// A child saga has ended, or is done and kept.
    ChildEnded {
        /// The step that it was started for.
        step: StepName,
        /// How.
        end: ChildEnd,
    },
    /// To a child: its parent turns back.
    Recall,
    /// To a child: its parent is done.
    Release,
    /// The entity locks that a step has asked for are the saga's.
    Locked {
        /// The step.
        step: StepName,
        /// The fencing token of each entity.
        tokens: BTreeMap<String, u64>,
    },
}

/// How a child saga ended, as its parent is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChildEnd {
    /// It is done, and this is its output.
    Completed(Payload),
    /// It is rolled back, for this reason.
    RolledBack(Fault),
}

/// What was signalled, and no step has taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signalled {
    /// What.
    pub name: String,
    /// What is to be known of it.
    pub payload: Payload,
    /// The message's id.
    pub id: String,
}

impl SagaState {
    /// The record of a message that came.
    #[must_use]
    pub fn receive(&self, id: &str, mail: Mail) -> Record {
        let unread = |why: &str| Record::Unread { id: id.to_owned(), error: why.to_owned() };
        match mail {
            Mail::Cancel { actor, reason } => {
                if self.direction() == Direction::Forward && self.halted().is_none() {
                    Record::Halted { cause: Halt::Cancelled { actor, reason } }
                } else {
                    Record::CancelRefused { actor, reason }
                }
            }
            Mail::RetryNow { actor, reason } if self.is_put_off() => Record::RetriedNow { actor, reason },
            Mail::RetryNow { .. } => unread("nothing waits for its next attempt any more"),
            Mail::Signal { name, payload } => Record::Signalled { name, payload, id: id.to_owned() },
            Mail::Locked { step, tokens } => match Locks::from(tokens).encode() {
                Ok(output) if self.waits_for_locks(&step) => Record::Done { step, output },
                Ok(_) => unread("the step does not wait for locks any more"),
                Err(error) => unread(&error.to_string()),
            },
            Mail::ChildEnded { step, end } => self.hear_child(step, end).unwrap_or_else(unread),
            Mail::Recall => self.hear_recall().unwrap_or_else(unread),
            Mail::Release => self.hear_release().unwrap_or_else(unread),
        }
    }

    /// Whether a wish to cancel would still be heard.
    #[must_use]
    pub fn can_cancel(&self) -> bool {
        self.direction() == Direction::Forward
    }

    /// Whether something has failed and waits for its next attempt, at a later time.
    #[must_use]
    pub fn is_put_off(&self) -> bool {
        !self.direction().is_end() && self.steps().iter().any(super::step_state::StepState::is_put_off)
    }

    /// What has been signalled under this name and no step has taken, oldest first.
    #[must_use]
    pub fn signal(&self, name: &str) -> Option<&Payload> {
        self.signals.iter().find(|signal| signal.name == name).map(|signal| &signal.payload)
    }

    /// What has been signalled and no step has taken.
    #[must_use]
    pub fn untaken_signals(&self) -> &[Signalled] {
        &self.signals
    }

    fn waits_for_locks(&self, step: &StepName) -> bool {
        self.find(step).is_some_and(|index| self.steps()[index].phase() == Phase::Waiting)
    }

    /// A step that waits for a signal, when the signal has come.
    pub(super) fn take_signal(&self, plan: &Plan) -> Option<Record> {
        if self.signals.is_empty() {
            return None;
        }
        let takes = |(index, planned): (usize, &crate::definition::StepPlan)| {
            let step = &self.steps()[index];
            let waits = planned.kind == Kind::Signal && step.phase() == Phase::Waiting;
            let payload = self.signal(planned.signal.as_deref()?).filter(|_| waits)?;
            Some(Record::Done { step: step.name().clone(), output: payload.clone() })
        };
        plan.steps().iter().enumerate().find_map(takes)
    }
}
