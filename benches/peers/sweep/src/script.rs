//! What happens in a run.

use std::time::Duration;

use crate::ledger::{Ask, Op};

/// A call to the participant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    pub op: Op,
    pub undo: bool,
}

impl Call {
    /// Which one this is, if any.
    pub fn of(ask: &Ask) -> Option<Self> {
        match ask {
            Ask::Perform { op, .. } => Some(Self { op: *op, undo: false }),
            Ask::Undo { op, .. } => Some(Self { op: *op, undo: true }),
            Ask::Probe { .. } | Ask::Told { .. } => None,
        }
    }
}

/// When, seen from a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// It was sent and has not arrived. Of a killed worker it never does, of a frozen one when that goes on.
    Before,
    /// It had its effect, and there is no answer yet.
    Effect,
    /// The answer has come, and no checkpoint was written.
    Answered,
    /// So long after the answer, wherever the engine is then.
    Later(Duration),
}

/// Where a worker is killed or frozen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    pub call: Call,
    pub moment: Moment,
}

/// What is wrong with the participant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The capture is declined, and has no effect.
    Declined,
    /// The capture is declined, and is not when it is asked for again.
    DeclinedOnce,
    /// This has its effect, and its answers are lost, however often it is asked for.
    AnswersLost { op: Op },
    /// This is answered never, and has its effect much later.
    Late { op: Op },
    /// The capture is declined, and the undoing of this is refused: so often, or for ever.
    UndoRefused { op: Op, times: Option<u32> },
}

/// What happens in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Script {
    pub point: Option<Point>,
    /// Whether the worker at the point is frozen, and not killed.
    pub zombie: bool,
    pub fault: Option<Fault>,
}

impl Script {
    /// What is wrong with this call.
    pub fn fault_at(&self, ask: &Ask) -> Option<Fault> {
        let call = Call::of(ask)?;
        let fault = self.fault?;
        let declined = call == Call { op: Op::Capture, undo: false };
        match fault {
            Fault::Declined | Fault::DeclinedOnce if declined => Some(fault),
            Fault::UndoRefused { .. } if declined => Some(Fault::Declined),
            Fault::AnswersLost { op } | Fault::Late { op } if call == (Call { op, undo: false }) => Some(fault),
            Fault::UndoRefused { op, .. } if call == (Call { op, undo: true }) => Some(fault),
            Fault::Declined
            | Fault::DeclinedOnce
            | Fault::AnswersLost { .. }
            | Fault::Late { .. }
            | Fault::UndoRefused { .. } => None,
        }
    }
}

/// A kind of run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Schedule {
    /// The worker is killed at every point, and started again.
    Crash,
    /// The worker is frozen at every point, another takes over, and the first goes on.
    Zombie,
    /// A step's outcome stays unknown.
    Unknown,
    /// A compensation fails.
    Undo,
}

impl Schedule {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Crash, Self::Zombie, Self::Unknown, Self::Undo];

    /// Its runs, once each.
    pub fn scripts(self) -> Vec<Script> {
        match self {
            Self::Crash => points(&[Moment::Before, Moment::Effect, Moment::Answered, LATER], false),
            Self::Zombie => {
                let mut scripts = points(&[Moment::Before, Moment::Effect, Moment::Answered], true);
                // The first worker knows that it was declined, and the second finds that it is not.
                let call = Call { op: Op::Capture, undo: false };
                scripts.extend([Moment::Effect, Moment::Answered].map(|moment| Script {
                    point: Some(Point { call, moment }),
                    zombie: true,
                    fault: Some(Fault::DeclinedOnce),
                }));
                scripts
            }
            Self::Unknown => {
                let faults = Op::ALL.into_iter().flat_map(|op| [Fault::AnswersLost { op }, Fault::Late { op }]);
                faults.map(|fault| Script { fault: Some(fault), ..Script::default() }).collect()
            }
            Self::Undo => {
                let undone = [Op::Authorize, Op::CreateOrder];
                let refused = |op| [Some(2), None].map(|times| Fault::UndoRefused { op, times });
                let faults = undone.into_iter().flat_map(refused);
                faults.map(|fault| Script { fault: Some(fault), ..Script::default() }).collect()
            }
        }
    }
}

/// In the midst of the engine's own work.
const LATER: Moment = Moment::Later(Duration::from_millis(3));

/// Every call of a checkout that completes, and of one that is declined, at each of these moments.
fn points(moments: &[Moment], zombie: bool) -> Vec<Script> {
    let forward = Op::ALL.map(|op| (Call { op, undo: false }, None));
    let undone = [Op::CreateOrder, Op::Authorize].map(|op| (Call { op, undo: true }, Some(Fault::Declined)));
    let declined = forward.map(|(call, _)| (call, Some(Fault::Declined)));
    let calls = forward.into_iter().chain(declined).chain(undone);
    let at = |(call, fault)| {
        let script = move |moment: &Moment| Script { point: Some(Point { call, moment: *moment }), zombie, fault };
        moments.iter().map(script)
    };
    calls.flat_map(at).collect()
}

impl Script {
    /// In short.
    pub fn told(&self) -> String {
        let point = self.point.map(|Point { call, moment }| {
            let name = if call.undo { call.op.undo_name() } else { call.op.name() };
            let done = if self.zombie { "frozen" } else { "killed" };
            format!("{done} at {name}, {moment:?}; ")
        });
        format!("{}{:?}", point.unwrap_or_default(), self.fault)
    }
}
