//! The life of one step: its phases, the events that move it, and the table of all moves.

use std::fmt::Write as _;

/// Where a step stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Not begun.
    Pending,
    /// An attempt has begun (its intent is journalled).
    Running,
    /// Taken once for each item of a list, and not all items are done.
    Open,
    /// The last attempt failed; the next is due at a journalled time.
    Waiting,
    /// Waits for a human.
    Blocked,
    /// Completed.
    Done,
    /// Best effort, failed for good; the saga went on.
    SoftFailed,
    /// Passed over by an operator.
    Skipped,
    /// Given up, certainly without effect.
    NotApplied,
    /// Given up, and the effect may have happened.
    Unknown,
    /// A probe has begun.
    Probing,
    /// A probe failed; the next is due at a journalled time.
    ProbeWaiting,
    /// A compensation attempt has begun.
    Undoing,
    /// A compensation attempt failed; the next is due at a journalled time.
    UndoWaiting,
    /// The compensation failed for good.
    UndoFailed,
    /// The compensation waits for a human.
    UndoBlocked,
    /// Compensated.
    Undone,
    /// Compensated, and the participant is asked whether the effect came late.
    Watching,
    /// A child saga runs for it.
    Delegated,
    /// Its child saga is being undone.
    Recalling,
}

/// What moves a step from one phase to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// An attempt began.
    Begin,
    /// The step completed, or an operator supplied its result.
    Succeed,
    /// The attempt failed or was interrupted, and another is due; or an operator asked for one.
    Retry,
    /// No further attempt, and no attempt had an effect.
    GiveUpNotApplied,
    /// No further attempt, and some attempt may have had its effect.
    GiveUpUnknown,
    /// The saga goes on without the step.
    SoftFail,
    /// A human is called.
    Block,
    /// An operator passed it over.
    Skip,
    /// An operator, or a probe, found that it did not happen.
    Disprove,
    /// An operator wants the participant asked again.
    Doubt,
    /// A probe began.
    BeginProbe,
    /// The probe failed, and another is due.
    RetryProbe,
    /// The probe cannot tell.
    ProbeUnknown,
    /// A compensation attempt began.
    BeginUndo,
    /// The compensation is done, or an operator passed it over.
    Undo,
    /// The compensation attempt failed or was interrupted, and another is due.
    RetryUndo,
    /// No further attempt of the compensation.
    GiveUpUndo,
    /// A human is called for the compensation.
    BlockUndo,
    /// The step is taken once for each item of a list.
    FanOut,
    /// The step waits for its time.
    Sleep,
    /// The participant is asked whether the effect came late.
    BeginWatch,
    /// It did not, so far; or the question failed, and is asked again.
    Quiet,
    /// It did.
    LateEffect,
    /// The question went unanswered to the end.
    GiveUpWatch,
    /// A child saga was started for it.
    Delegate,
    /// Its child saga is to turn back, or to be undone.
    Recall,
    /// An operator wants it worked out once more.
    Reset,
}

impl Phase {
    /// All phases, in the order of a step's life.
    pub const ALL: [Self; 20] = [
        Self::Pending,
        Self::Running,
        Self::Open,
        Self::Waiting,
        Self::Blocked,
        Self::Done,
        Self::SoftFailed,
        Self::Skipped,
        Self::NotApplied,
        Self::Unknown,
        Self::Probing,
        Self::ProbeWaiting,
        Self::Undoing,
        Self::UndoWaiting,
        Self::UndoFailed,
        Self::UndoBlocked,
        Self::Undone,
        Self::Watching,
        Self::Delegated,
        Self::Recalling,
    ];
}

impl Phase {
    /// Whether a saga can go on past a step that stands here.
    #[must_use]
    pub fn went_by(self) -> bool {
        matches!(self, Self::Done | Self::SoftFailed | Self::Skipped)
    }
}

impl Event {
    /// All events.
    pub const ALL: [Self; 27] = [
        Self::Begin,
        Self::Succeed,
        Self::Retry,
        Self::GiveUpNotApplied,
        Self::GiveUpUnknown,
        Self::SoftFail,
        Self::Block,
        Self::Skip,
        Self::Disprove,
        Self::Doubt,
        Self::BeginProbe,
        Self::RetryProbe,
        Self::ProbeUnknown,
        Self::BeginUndo,
        Self::Undo,
        Self::RetryUndo,
        Self::GiveUpUndo,
        Self::BlockUndo,
        Self::FanOut,
        Self::Sleep,
        Self::BeginWatch,
        Self::Quiet,
        Self::LateEffect,
        Self::GiveUpWatch,
        Self::Delegate,
        Self::Recall,
        Self::Reset,
    ];
}

/// The transition table: the only moves there are. `apply` obeys it, and the picture in the
/// documentation is drawn from it.
pub const TRANSITIONS: &[(Phase, Event, Phase)] = {
    use {Event as E, Phase as P};
    &[
        (P::Pending, E::Begin, P::Running),
        (P::Pending, E::Block, P::Blocked),
        (P::Pending, E::Sleep, P::Waiting),
        (P::Pending, E::FanOut, P::Open),
        (P::Open, E::Succeed, P::Done),
        // A decision is taken at once.
        (P::Pending, E::Succeed, P::Done),
        (P::Running, E::Succeed, P::Done),
        (P::Running, E::Retry, P::Waiting),
        (P::Running, E::GiveUpNotApplied, P::NotApplied),
        (P::Running, E::GiveUpUnknown, P::Unknown),
        (P::Waiting, E::Begin, P::Running),
        (P::Waiting, E::Block, P::Blocked),
        // The time that was waited for has come.
        (P::Waiting, E::Succeed, P::Done),
        // Sending the same key again would prove nothing, or do it twice: ask first.
        (P::Waiting, E::BeginProbe, P::Probing),
        // The saga turned back while the step waited for its next attempt.
        (P::Waiting, E::GiveUpNotApplied, P::NotApplied),
        (P::Waiting, E::GiveUpUnknown, P::Unknown),
        (P::Blocked, E::Retry, P::Waiting),
        (P::Blocked, E::Skip, P::Skipped),
        (P::Blocked, E::Succeed, P::Done),
        (P::Blocked, E::Disprove, P::NotApplied),
        (P::Blocked, E::Doubt, P::Unknown),
        // The saga turned back while the step waited for a human.
        (P::Blocked, E::GiveUpNotApplied, P::NotApplied),
        (P::Blocked, E::GiveUpUnknown, P::Unknown),
        // Proven to have had no effect under the old key: again, under a new one.
        (P::NotApplied, E::Begin, P::Running),
        (P::NotApplied, E::SoftFail, P::SoftFailed),
        (P::NotApplied, E::Block, P::Blocked),
        (P::Unknown, E::SoftFail, P::SoftFailed),
        (P::Unknown, E::Block, P::Blocked),
        (P::Unknown, E::BeginProbe, P::Probing),
        (P::Unknown, E::BeginUndo, P::Undoing),
        (P::Unknown, E::BlockUndo, P::UndoBlocked),
        (P::Probing, E::Succeed, P::Done),
        (P::Probing, E::Disprove, P::NotApplied),
        (P::Probing, E::ProbeUnknown, P::Unknown),
        (P::Probing, E::RetryProbe, P::ProbeWaiting),
        (P::ProbeWaiting, E::BeginProbe, P::Probing),
        (P::ProbeWaiting, E::Block, P::Blocked),
        (P::ProbeWaiting, E::BlockUndo, P::UndoBlocked),
        (P::Done, E::BeginUndo, P::Undoing),
        (P::Done, E::BlockUndo, P::UndoBlocked),
        (P::SoftFailed, E::BeginUndo, P::Undoing),
        (P::SoftFailed, E::BlockUndo, P::UndoBlocked),
        (P::Undoing, E::Undo, P::Undone),
        (P::Undoing, E::RetryUndo, P::UndoWaiting),
        (P::Undoing, E::GiveUpUndo, P::UndoFailed),
        (P::UndoWaiting, E::BeginUndo, P::Undoing),
        (P::UndoWaiting, E::BlockUndo, P::UndoBlocked),
        (P::UndoFailed, E::BlockUndo, P::UndoBlocked),
        (P::UndoBlocked, E::RetryUndo, P::UndoWaiting),
        (P::UndoBlocked, E::Undo, P::Undone),
        (P::Undone, E::BeginWatch, P::Watching),
        (P::Undone, E::BlockUndo, P::UndoBlocked),
        (P::Watching, E::Quiet, P::Undone),
        (P::Watching, E::LateEffect, P::Done),
        (P::Watching, E::GiveUpWatch, P::UndoFailed),
        (P::Pending, E::Delegate, P::Delegated),
        (P::Delegated, E::Succeed, P::Done),
        // The child saga rolled itself back.
        (P::Delegated, E::GiveUpNotApplied, P::NotApplied),
        // One wish serves a child that still runs and one that is done.
        (P::Delegated, E::Recall, P::Recalling),
        (P::Done, E::Recall, P::Recalling),
        (P::Recalling, E::Undo, P::Undone),
        // What is worked out here, and could not be, is begun anew.
        (P::Blocked, E::Reset, P::Pending),
    ]
};

/// Where `event` takes a step that stands at `from`; none when the move does not exist.
#[must_use]
pub fn next_phase(from: Phase, event: Event) -> Option<Phase> {
    TRANSITIONS.iter().find(|(phase, on, _)| *phase == from && *on == event).map(|&(_, _, to)| to)
}

/// The table as a Mermaid state diagram.
#[must_use]
pub fn to_mermaid() -> String {
    let mut out = String::from("stateDiagram-v2\n    [*] --> Pending\n");
    for (from, event, to) in TRANSITIONS {
        let _infallible = writeln!(out, "    {from:?} --> {to:?}: {event:?}");
    }
    out
}

/// The table as a matrix, every event for every phase: `.` where the move is refused.
#[must_use]
pub fn to_matrix() -> String {
    let mut out = String::new();
    for phase in Phase::ALL {
        let _infallible = writeln!(out, "{phase:?}");
        for event in Event::ALL {
            let to = next_phase(phase, event).map_or(".".to_owned(), |to| format!("{to:?}"));
            let _infallible = writeln!(out, "    {:<18}{to}", format!("{event:?}"));
        }
    }
    out
}
