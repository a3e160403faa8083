//! What a saga can be told from outside, and what it makes of it.

use serde::{Deserialize, Serialize};

use super::record::{Halt, Record};
use super::state::{Direction, SagaState};
use crate::checkpoint::Payload;
use crate::definition::{Kind, Plan};

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
    /// Something has happened that a step may wait for.
    Signal {
        /// What.
        name: String,
        /// What is to be known of it.
        payload: Payload,
    },
}

impl SagaState {
    /// The record of a message that came.
    #[must_use]
    pub fn receive(&self, mail: Mail) -> Record {
        match mail {
            Mail::Cancel { actor, reason } => {
                if self.direction() == Direction::Forward && self.halted().is_none() {
                    Record::Halted { cause: Halt::Cancelled { actor, reason } }
                } else {
                    Record::CancelRefused { actor, reason }
                }
            }
            Mail::Signal { name, payload } => Record::Signalled { name, payload },
        }
    }

    /// Whether a wish to cancel would still be heard.
    #[must_use]
    pub fn can_cancel(&self) -> bool {
        self.direction() == Direction::Forward
    }

    /// What has been signalled under this name and no step has taken, oldest first.
    #[must_use]
    pub fn signal(&self, name: &str) -> Option<&Payload> {
        self.signals.iter().find(|(signalled, _)| signalled == name).map(|(_, payload)| payload)
    }

    /// What has been signalled and no step has taken.
    #[must_use]
    pub fn untaken_signals(&self) -> &[(String, Payload)] {
        &self.signals
    }

    /// A step that waits for a signal, when the signal has come.
    pub(super) fn take_signal(&self, plan: &Plan) -> Option<Record> {
        if self.signals.is_empty() {
            return None;
        }
        let takes = |(index, planned): (usize, &crate::definition::StepPlan)| {
            let step = &self.steps()[index];
            let waits = planned.kind == Kind::Signal && step.phase() == super::phase::Phase::Waiting;
            let payload = self.signal(planned.signal.as_deref()?).filter(|_| waits)?;
            Some(Record::Done { step: step.name().clone(), output: payload.clone() })
        };
        plan.steps().iter().enumerate().find_map(takes)
    }
}
