//! What goes with a turn beside its records: dead letters, messages to other sagas, locks. All of it
//! follows from the records.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::saga::Saga;
use crate::checkpoint::CheckpointError;
use crate::codec;
use crate::definition::{Kind, StepPlan};
use crate::id::{Op, StepName};
use crate::journal::{After, End, LetterChange, LockChange, Message};
use crate::machine::{ChildEnd, Mail, Parent, Phase, Record};

/// Why a turn cannot be written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TurnError {
    /// Its records have no JSON form.
    #[error("the turn cannot be encoded")]
    Encode(#[from] serde_json::Error),
    /// Its records, or a message of it, cannot be written down or sealed.
    #[error(transparent)]
    Codec(#[from] codec::TurnError),
    /// What the saga returns to its parent has none.
    #[error("what the saga returns cannot be encoded for its parent")]
    Output(#[from] CheckpointError),
    /// The definition's own code panicked.
    #[error("working out what the saga returns to its parent panicked: {0}")]
    Panicked(String),
}

impl Saga {
    /// What the turn tells other sagas: a parent how this one ended, children what becomes of them.
    pub(super) fn sends(&self, after: After) -> Result<Vec<Message>, TurnError> {
        let mut messages = Vec::new();
        for record in self.records() {
            match (record, self.state().parent()) {
                (Record::Completed, Some(parent)) => {
                    messages.push(self.to_parent(parent, "completed", self.output()?)?)
                }
                (Record::RolledBack, Some(parent)) => {
                    let end = ChildEnd::RolledBack(self.state().reason());
                    messages.push(self.to_parent(parent, "rolled back", end)?);
                }
                (Record::Recalled { step }, _) => messages.extend(self.to_child(step, &Mail::Recall)?),
                _ => {}
            }
        }
        if after == After::End(End::Completed) {
            for index in self.state().kept_children(&self.blueprint.plan) {
                messages.extend(self.to_child(self.state().steps()[index].name(), &Mail::Release)?);
            }
        }
        Ok(messages)
    }

    fn output(&self) -> Result<ChildEnd, TurnError> {
        // A user's `map`, or a `Serialize`, may panic.
        match catch_unwind(AssertUnwindSafe(|| (self.blueprint.encode_output)(self.state()))) {
            Ok(output) => Ok(ChildEnd::Completed(output.map_err(|error| self.blueprint.withhold(error))?)),
            Err(panic) => Err(TurnError::Panicked(self.blueprint.panic_text(&*panic).to_owned())),
        }
    }

    fn to_parent(&self, parent: &Parent, what: &str, end: ChildEnd) -> Result<Message, TurnError> {
        let Parent { definition, key, step } = parent.clone();
        // A child that was done, and is undone, speaks twice.
        let id = format!("{} {what}", self.id);
        let mail = Mail::ChildEnded { step, end };
        let body = codec::encode_mail(self.blueprint.codec.as_deref(), &definition, &key, &mail)?;
        Ok(Message { definition, key, id, body })
    }

    fn to_child(&self, step: &StepName, mail: &Mail) -> Result<Option<Message>, TurnError> {
        let index = self.state().find(step);
        let child = index.and_then(|index| self.state().planned(&self.blueprint.plan, index).child.as_ref());
        let Some((definition, _)) = child else { return Ok(None) };
        let id = match mail {
            Mail::Recall => format!("{} recalls", self.id),
            _ => format!("{} releases", self.id),
        };
        let (definition, body) = (definition.to_string(), serde_json::to_string(mail)?);
        Ok(Some(Message { definition, key: self.child_key(step), id, body }))
    }

    /// What the turn asks for, or gives up, among the entity locks.
    pub(super) fn lock_change(&self, after: After) -> Option<LockChange> {
        let is_lock = |planned: &StepPlan| planned.kind == Kind::Lock;
        let index = self.blueprint.plan.steps().iter().position(is_lock)?;
        let asks = self.records().iter().find_map(|record| match record {
            Record::Locking { step, keys, .. } => Some(LockChange::Ask { step: step.clone(), keys: keys.clone() }),
            _ => None,
        });
        let over = matches!(after, After::End(_)) || self.records().contains(&Record::RolledBack);
        // What did not come in time, or is not wanted any more, others need not wait for.
        let in_vain = self.state().steps()[index].phase() == Phase::NotApplied && !self.records().is_empty();
        let has_asked = self.state().steps()[index].phase() != Phase::Pending;
        if over || in_vain { has_asked.then_some(LockChange::GiveUp) } else { asks }
    }

    /// The dead letters that the turn opens and closes.
    pub(super) fn letters(&self) -> Vec<LetterChange> {
        let mut changes = Vec::new();
        for record in self.records() {
            match record {
                Record::NeedsAttention { step, op, reason, error } => {
                    let tally = step
                        .as_ref()
                        .and_then(|step| self.state().find(step))
                        .map(|index| self.state().steps()[index].tally(*op));
                    changes.push(LetterChange::Open {
                        step: step.clone(),
                        op: *op,
                        reason: *reason,
                        error: error.clone(),
                        attempts: tally.unwrap_or_default().attempts,
                    });
                }
                Record::Resolved { step, op, resolution, actor, reason } => changes.push(LetterChange::Close {
                    step: step.clone(),
                    op: *op,
                    resolution: resolution.as_str().to_owned(),
                    actor: actor.clone(),
                    reason: reason.clone(),
                }),
                // What waited for a human has been overtaken: the saga turned back past it.
                Record::TurnedBack { step } => {
                    changes.extend(self.overtaken().iter().map(|overtaken| LetterChange::Close {
                        step: Some(overtaken.clone()),
                        op: Op::Run,
                        resolution: "superseded".to_owned(),
                        actor: "engine".to_owned(),
                        reason: match step {
                            Some(step) => format!("the saga turned back at {step}"),
                            None => "the saga turned back".to_owned(),
                        },
                    }));
                }
                Record::Started { .. }
                | Record::Locking { .. }
                | Record::Delegated { .. }
                | Record::Recalled { .. }
                | Record::Reopened
                | Record::Released
                | Record::FollowedUp { .. }
                | Record::Begun { .. }
                | Record::Done { .. }
                | Record::Failed { .. }
                | Record::Interrupted { .. }
                | Record::Probed { .. }
                | Record::Sleeping { .. }
                | Record::FannedOut { .. }
                | Record::SoftFailed { .. }
                | Record::Halted { .. }
                | Record::CancelRefused { .. }
                | Record::RetriedNow { .. }
                | Record::Signalled { .. }
                | Record::Unread { .. }
                | Record::Watched { .. }
                | Record::Compensated { .. }
                | Record::Completed
                | Record::RolledBack => {}
            }
        }
        changes
    }
}
