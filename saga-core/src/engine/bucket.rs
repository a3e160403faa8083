//! A token bucket.

use std::time::Duration;

use crate::time::Timestamp;

#[derive(Debug)]
pub(crate) struct Bucket {
    per_second: f64,
    burst: f64,
    /// Below zero: promised to those who wait.
    tokens: f64,
    at: Timestamp,
}

impl Bucket {
    /// A full bucket.
    pub(crate) fn new(per_second: f64, burst: f64, now: Timestamp) -> Self {
        Self { per_second: per_second.max(f64::MIN_POSITIVE), burst, tokens: burst, at: now }
    }

    pub(crate) fn refill(&mut self, now: Timestamp) {
        let passed = now.since(self.at).as_secs_f64();
        self.at = self.at.max(now);
        self.tokens = (self.tokens + passed * self.per_second).min(self.burst);
    }

    pub(crate) fn deposit(&mut self, tokens: f64, now: Timestamp) {
        self.refill(now);
        self.tokens = (self.tokens + tokens).min(self.burst);
    }

    /// Takes one token, or the promise of one; how long it is until it is there.
    pub(crate) fn withdraw(&mut self) -> Duration {
        self.tokens -= 1.0;
        self.missing(0.0).unwrap_or_default()
    }

    /// How long it is until a token is there; none when one is.
    pub(crate) fn wait(&mut self, now: Timestamp) -> Option<Duration> {
        self.refill(now);
        // A hair's breadth, for what floating point loses.
        self.missing(1.0 - 1e-9)
    }

    /// Whether nobody has taken anything for a while.
    pub(crate) fn is_full(&self) -> bool {
        self.tokens >= self.burst
    }

    /// How long so many tokens take.
    pub(crate) fn time_for(&self, tokens: u32) -> Duration {
        Duration::try_from_secs_f64(f64::from(tokens) / self.per_second).unwrap_or(Duration::MAX)
    }

    fn missing(&self, wanted: f64) -> Option<Duration> {
        let seconds = (wanted - self.tokens) / self.per_second;
        (seconds > 0.0).then(|| Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
    }
}
