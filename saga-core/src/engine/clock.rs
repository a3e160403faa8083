//! The journal's time, reckoned from its last answer and this process's monotonic clock.

use std::sync::atomic::{AtomicI64, Ordering};

use tokio::time::Instant;

use crate::time::Timestamp;

/// Wall clocks of workers are never asked: they jump and disagree.
#[derive(Debug)]
pub(crate) struct JournalClock {
    opened: Instant,
    /// What the journal's clock showed at that instant, in microseconds, by its last answer.
    zero: AtomicI64,
}

impl JournalClock {
    pub(crate) fn new(now: Timestamp) -> Self {
        Self { opened: Instant::now(), zero: AtomicI64::new(now.as_micros()) }
    }

    /// Takes over what the journal has just said.
    pub(crate) fn set(&self, now: Timestamp) {
        let since = i64::try_from(self.opened.elapsed().as_micros()).unwrap_or(i64::MAX);
        self.zero.store(now.as_micros().saturating_sub(since), Ordering::Relaxed);
    }

    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.zero.load(Ordering::Relaxed)).after(self.opened.elapsed())
    }

    /// The monotonic instant at which the journal's clock will show `at`.
    pub(crate) fn instant(&self, at: Timestamp) -> Instant {
        Instant::now() + at.since(self.now())
    }
}
