//! The journal's time, reckoned from its last answer and this process's monotonic clock.

use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;

use crate::time::Timestamp;

/// Wall clocks of workers are never asked: they jump and disagree.
#[derive(Debug)]
pub(crate) struct JournalClock(Mutex<(Instant, Timestamp)>);

impl JournalClock {
    pub(crate) fn new(now: Timestamp) -> Self {
        Self(Mutex::new((Instant::now(), now)))
    }

    /// Takes over what the journal has just said.
    pub(crate) fn set(&self, now: Timestamp) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = (Instant::now(), now);
    }

    pub(crate) fn now(&self) -> Timestamp {
        let (at, then) = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        then.after(at.elapsed())
    }

    /// The monotonic instant at which the journal's clock will show `at`.
    pub(crate) fn instant(&self, at: Timestamp) -> Instant {
        Instant::now() + at.since(self.now())
    }
}
