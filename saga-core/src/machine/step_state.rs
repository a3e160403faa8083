//! What is known of one step: a part of the fold of the journal.

use super::phase::Phase;
use crate::checkpoint::{Digest, Payload};
use crate::fault::Fault;
use crate::id::{Op, StepName};
use crate::time::Timestamp;

/// When something is due that an operator wants now, whatever the time is.
pub(super) const AT_ONCE: Timestamp = Timestamp::from_micros(0);

/// What is known of one step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepState {
    pub(super) name: StepName,
    /// The step of the plan that it is, or is an item of.
    pub(super) origin: usize,
    /// Which item of a fan-out it is, counted from zero.
    pub(super) item: Option<u32>,
    pub(super) phase: Phase,
    pub(super) output: Option<Payload>,
    /// The fingerprint of the input at the first intent.
    pub(super) input: Option<Digest>,
    /// Some attempt to run may have had its effect, and nothing has settled the question since.
    pub(super) maybe_applied: bool,
    /// The participant has been asked since the last attempt.
    pub(super) probed: bool,
    /// The generation of the key that the step runs under.
    pub(super) generation: u32,
    /// When that key was first used; known where a limit counts from it.
    pub(super) keyed_at: Option<Timestamp>,
    pub(super) run: Tally,
    pub(super) due: Option<Timestamp>,
    /// What only a step has that did not go well, or is being undone: most have none, and take less memory.
    trouble: Option<Box<Trouble>>,
}

/// What is known of a step that did not go well, or is being undone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Trouble {
    /// How often the participant was asked for a late effect since the compensation.
    pub(super) watches: u32,
    pub(super) probe: Tally,
    pub(super) undo: Tally,
    pub(super) fault: Option<Fault>,
    /// How undoing it, or asking about a late effect, last failed.
    pub(super) undo_fault: Option<Fault>,
}

/// The attempts of one operation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// All attempts that have begun.
    pub attempts: u32,
    /// Attempts since an operator last granted a fresh budget.
    pub since_granted: u32,
    /// How often the worker crashed during one, since an operator last granted a fresh budget.
    pub crashes: u32,
    /// When the first of them began, since an operator last granted a fresh budget; known where a
    /// limit counts from it.
    pub since: Option<Timestamp>,
}

impl Tally {
    /// A fresh budget of attempts; the total goes on.
    pub(super) fn grant(&mut self) {
        (self.since_granted, self.crashes, self.since) = (0, 0, None);
    }
}

impl StepState {
    pub(super) fn new(name: StepName, origin: usize, item: Option<u32>) -> Self {
        Self {
            name,
            origin,
            item,
            phase: Phase::Pending,
            output: None,
            input: None,
            maybe_applied: false,
            probed: false,
            generation: 0,
            keyed_at: None,
            run: Tally::default(),
            due: None,
            trouble: None,
        }
    }

    pub(super) fn trouble_mut(&mut self) -> &mut Trouble {
        self.trouble.get_or_insert_default()
    }

    /// How often the participant was asked for a late effect since the compensation.
    pub(super) fn watches(&self) -> u32 {
        self.trouble.as_ref().map_or(0, |trouble| trouble.watches)
    }

    /// The step's name.
    #[must_use]
    pub fn name(&self) -> &StepName {
        &self.name
    }

    /// Which item of a fan-out it is, counted from zero; none when it is a step of the plan.
    #[must_use]
    pub fn item(&self) -> Option<u32> {
        self.item
    }

    /// Where it stands.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// What it left, once it is done.
    #[must_use]
    pub fn output(&self) -> Option<&Payload> {
        self.output.as_ref()
    }

    /// The fingerprint of its input, once it has begun.
    #[must_use]
    pub fn input(&self) -> Option<Digest> {
        self.input
    }

    /// Whether some attempt may have had an effect that nothing has settled since.
    #[must_use]
    pub fn maybe_applied(&self) -> bool {
        self.maybe_applied
    }

    /// Whether the participant has been asked since the last attempt.
    #[must_use]
    pub fn probed(&self) -> bool {
        self.probed
    }

    /// The generation of its idempotency key: how often it was certain that nothing had happened under
    /// the key before, and a new one was taken.
    #[must_use]
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// When its present key was first used, where a limit counts from that.
    #[must_use]
    pub fn keyed_at(&self) -> Option<Timestamp> {
        self.keyed_at
    }

    /// The attempts of one of its operations.
    #[must_use]
    pub fn tally(&self, op: Op) -> Tally {
        match op {
            Op::Run => self.run,
            Op::Probe => self.trouble.as_ref().map_or_else(Tally::default, |trouble| trouble.probe),
            Op::Compensate => self.trouble.as_ref().map_or_else(Tally::default, |trouble| trouble.undo),
        }
    }

    /// When its next attempt is due, while it waits for one.
    #[must_use]
    pub fn due(&self) -> Option<Timestamp> {
        self.due
    }

    /// Whether it has failed and waits for its next attempt, its next probe, or the next attempt to undo it, at a
    /// later time. What waits for a time of its own, a signal or a lock has not failed.
    #[must_use]
    pub fn is_put_off(&self) -> bool {
        let put_off = self.due.is_some_and(|due| due > AT_ONCE);
        match self.phase {
            Phase::Waiting => put_off && self.run.attempts > 0,
            Phase::ProbeWaiting | Phase::UndoWaiting => put_off,
            Phase::Pending
            | Phase::Open
            | Phase::Running
            | Phase::Blocked
            | Phase::Done
            | Phase::SoftFailed
            | Phase::Skipped
            | Phase::NotApplied
            | Phase::Unknown
            | Phase::Probing
            | Phase::Undoing
            | Phase::UndoFailed
            | Phase::UndoBlocked
            | Phase::Undone
            | Phase::Watching
            | Phase::Delegated
            | Phase::Recalling => false,
        }
    }

    /// How its compensation, or the question whether its effect came late, last failed.
    #[must_use]
    pub fn undo_fault(&self) -> Option<&Fault> {
        self.trouble.as_ref()?.undo_fault.as_ref()
    }

    /// How it last failed.
    #[must_use]
    pub fn fault(&self) -> Option<&Fault> {
        self.trouble.as_ref()?.fault.as_ref()
    }

    /// Why the saga went on without it, for a best-effort step that failed.
    #[must_use]
    pub fn soft_failure(&self) -> Option<&str> {
        self.fault().filter(|_| self.phase == Phase::SoftFailed).map(|fault| fault.message.as_str())
    }

    /// The operation whose attempt is under way, if one is.
    #[must_use]
    pub fn in_flight(&self) -> Option<Op> {
        match self.phase {
            Phase::Running => Some(Op::Run),
            Phase::Probing | Phase::Watching => Some(Op::Probe),
            Phase::Undoing => Some(Op::Compensate),
            Phase::Pending
            | Phase::Open
            | Phase::Waiting
            | Phase::Blocked
            | Phase::Done
            | Phase::SoftFailed
            | Phase::Skipped
            | Phase::NotApplied
            | Phase::Unknown
            | Phase::ProbeWaiting
            | Phase::UndoWaiting
            | Phase::UndoFailed
            | Phase::UndoBlocked
            | Phase::Undone
            | Phase::Delegated
            | Phase::Recalling => None,
        }
    }

    /// The operation that waits for a human, if one does.
    #[must_use]
    pub fn blocked(&self) -> Option<Op> {
        match self.phase {
            Phase::Blocked => Some(Op::Run),
            Phase::UndoBlocked => Some(Op::Compensate),
            Phase::Pending
            | Phase::Open
            | Phase::Running
            | Phase::Waiting
            | Phase::Done
            | Phase::SoftFailed
            | Phase::Skipped
            | Phase::NotApplied
            | Phase::Unknown
            | Phase::Probing
            | Phase::ProbeWaiting
            | Phase::Undoing
            | Phase::UndoWaiting
            | Phase::UndoFailed
            | Phase::Undone
            | Phase::Watching
            | Phase::Delegated
            | Phase::Recalling => None,
        }
    }

    pub(super) fn tally_mut(&mut self, op: Op) -> &mut Tally {
        match op {
            Op::Run => &mut self.run,
            Op::Probe => &mut self.trouble_mut().probe,
            Op::Compensate => &mut self.trouble_mut().undo,
        }
    }
}
