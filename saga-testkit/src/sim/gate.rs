//! Where a run can be stopped, so that a test looks around.

use std::sync::{Mutex, PoisonError};

use saga_core::Op;
use saga_core::machine::Record;
use tokio::sync::{Notify, watch};

/// Where a run stops, see [`TestEngine::run_until`](crate::TestEngine::run_until).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stop {
    what: What,
    side: Side,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum What {
    Done(String),
    Begun(String, Op),
    Undone(String),
    TurnedBack,
    Attention,
    Any,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// Not written yet.
    Before,
    /// Written, and the engine does not know.
    After,
}

impl Stop {
    /// The step's checkpoint is durable, and nothing that comes after it has begun.
    #[must_use]
    pub fn done(step: &str) -> Self {
        Self { what: What::Done(step.to_owned()), side: Side::After }
    }

    /// The step has had its effect, and its checkpoint is not written: a crash now loses its answer.
    #[must_use]
    pub fn before_checkpoint(step: &str) -> Self {
        Self { what: What::Done(step.to_owned()), side: Side::Before }
    }

    /// The intent of the step is durable, and the step has not begun.
    #[must_use]
    pub fn begun(step: &str) -> Self {
        Self { what: What::Begun(step.to_owned(), Op::Run), side: Side::After }
    }

    /// The intent of the step's compensation is durable, and the compensation has not begun.
    #[must_use]
    pub fn undo_begun(step: &str) -> Self {
        Self { what: What::Begun(step.to_owned(), Op::Compensate), side: Side::After }
    }

    /// The step is compensated, durably.
    #[must_use]
    pub fn undone(step: &str) -> Self {
        Self { what: What::Undone(step.to_owned()), side: Side::After }
    }

    /// The saga has turned back, durably.
    #[must_use]
    pub fn turned_back() -> Self {
        Self { what: What::TurnedBack, side: Side::After }
    }

    /// Something waits for a human, durably.
    #[must_use]
    pub fn needs_attention() -> Self {
        Self { what: What::Attention, side: Side::After }
    }

    /// The next turn is durable, whatever it holds.
    #[must_use]
    pub fn next_write() -> Self {
        Self { what: What::Any, side: Side::After }
    }

    fn is_at(&self, side: Side, records: &[Record]) -> bool {
        let is = |record: &Record| match (&self.what, record) {
            (What::Any, _)
            | (What::TurnedBack, Record::TurnedBack { .. })
            | (What::Attention, Record::NeedsAttention { .. }) => true,
            (What::Done(name), Record::Done { step, .. }) | (What::Undone(name), Record::Compensated { step, .. }) => {
                step.as_str() == name
            }
            (What::Begun(name, wanted), Record::Begun { step, op, .. }) => step.as_str() == name && op == wanted,
            _ => false,
        };
        self.side == side && records.iter().any(is)
    }
}

/// Holds writes back, until it is told to let them pass.
#[derive(Debug)]
pub(crate) struct Gate {
    stop: Mutex<Option<Stop>>,
    reached: Notify,
    open: watch::Sender<bool>,
}

impl Default for Gate {
    fn default() -> Self {
        Self { stop: Mutex::default(), reached: Notify::new(), open: watch::Sender::new(true) }
    }
}

impl Gate {
    /// Lets all go on, as far as this place, if there is one.
    pub(crate) fn open(&self, until: Option<Stop>) {
        *self.stop.lock().unwrap_or_else(PoisonError::into_inner) = until;
        self.open.send_replace(true);
    }

    /// Holds all writes back.
    pub(crate) fn close(&self) {
        self.open.send_replace(false);
    }

    /// Returns once the place is reached.
    pub(crate) async fn reached(&self) {
        self.reached.notified().await;
    }

    /// A turn is on this side of being written: waits when a stop was asked for here, or all is held back.
    pub(crate) async fn pass(&self, side: Side, records: &[Record]) {
        if self.is_stop(side, records) {
            self.open.send_replace(false);
            self.reached.notify_one();
        }
        // The gate lives as long as the simulation: its sender is never gone.
        self.open.subscribe().wait_for(|open| *open).await.ok();
    }

    fn is_stop(&self, side: Side, records: &[Record]) -> bool {
        let mut stop = self.stop.lock().unwrap_or_else(PoisonError::into_inner);
        stop.take_if(|stop| stop.is_at(side, records)).is_some()
    }
}
