//! Retry budgets: what keeps many sagas that fail together from hammering the service that they fail
//! at. See "Retry budgets" in the Google SRE book (2016), chapter 21.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::id::Op;
use crate::time::Timestamp;

/// How many retries a dependency is asked to bear, see
/// [`EngineBuilder::retry_budget`](super::EngineBuilder::retry_budget).
///
/// A token bucket: every first attempt puts `ratio` of a token in, time puts `per_second` in, and every
/// retry takes one. A retry that finds none is not given up: it waits for its token, though never
/// longer than its policy's longest delay.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RetryBudget {
    /// How many retries each call pays for. Default 0.1: retries add a tenth to the load.
    pub ratio: f64,
    /// How many retries each second pays for, so that a dependency which is hardly called is retried
    /// as well. Default 10.
    pub per_second: f64,
    /// How many unused retries are saved up. Default 100.
    pub burst: f64,
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self { ratio: 0.1, per_second: 10.0, burst: 100.0 }
    }
}

/// The budgets of a worker, by dependency. Compensations have budgets of their own: a storm of forward
/// retries must not keep the undoing waiting.
#[derive(Debug, Default)]
pub(crate) struct Budgets {
    configured: HashMap<Arc<str>, RetryBudget>,
    buckets: Mutex<HashMap<(Arc<str>, bool), Bucket>>,
}

impl Budgets {
    pub(crate) fn new(configured: HashMap<Arc<str>, RetryBudget>) -> Self {
        Self { configured, buckets: Mutex::default() }
    }

    /// A first attempt begins.
    pub(crate) fn deposit(&self, dependency: &Arc<str>, op: Op, now: Timestamp) {
        self.with(dependency, op, now, |bucket| bucket.deposit());
    }

    /// An attempt is to be repeated: how long that has to wait at least.
    pub(crate) fn withdraw(&self, dependency: &Arc<str>, op: Op, now: Timestamp) -> Duration {
        self.with(dependency, op, now, Bucket::withdraw)
    }

    fn with<T>(&self, dependency: &Arc<str>, op: Op, now: Timestamp, act: impl FnOnce(&mut Bucket) -> T) -> T {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let bucket = buckets.entry((dependency.clone(), op == Op::Compensate)).or_insert_with(|| {
            let budget = self.configured.get(dependency).copied().unwrap_or_default();
            Bucket { budget, tokens: budget.burst, at: now }
        });
        bucket.refill(now);
        act(bucket)
    }
}

#[derive(Debug)]
struct Bucket {
    budget: RetryBudget,
    /// Below zero: promised to retries that wait.
    tokens: f64,
    at: Timestamp,
}

impl Bucket {
    fn refill(&mut self, now: Timestamp) {
        let passed = now.since(self.at).as_secs_f64();
        self.at = self.at.max(now);
        self.tokens = (self.tokens + passed * self.budget.per_second).min(self.budget.burst);
    }

    fn deposit(&mut self) {
        self.tokens = (self.tokens + self.budget.ratio).min(self.budget.burst);
    }

    fn withdraw(&mut self) -> Duration {
        self.tokens -= 1.0;
        let seconds = -self.tokens / self.budget.per_second.max(f64::MIN_POSITIVE);
        Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: f64) -> Timestamp {
        Timestamp::from_micros(0).after(Duration::from_secs_f64(seconds))
    }

    #[test]
    fn a_thousand_sagas_that_fail_together_come_back_at_the_rate_that_was_asked_for() {
        let (budgets, gateway) = (Budgets::default(), Arc::from("gateway"));
        let mut waits: Vec<_> =
            (0..1_000).map(|_| budgets.withdraw(&gateway, Op::Run, at(0.0)).as_secs_f64()).collect();
        assert!(waits[..100].iter().all(|wait| *wait == 0.0), "what was saved up is spent at once");
        waits.drain(..100);
        for (nth, wait) in waits.iter().enumerate() {
            assert!((wait - (nth + 1) as f64 / 10.0).abs() < 1e-6, "ten a second, evenly: {nth} waits {wait}");
        }
    }

    #[test]
    fn calls_pay_for_a_tenth_of_their_retries_and_compensations_have_their_own_budget() {
        let budget = RetryBudget { ratio: 0.1, per_second: 1.0, burst: 1.0 };
        let budgets = Budgets::new(HashMap::from([(Arc::from("gateway"), budget)]));
        let gateway = Arc::from("gateway");
        assert_eq!(budgets.withdraw(&gateway, Op::Run, at(0.0)), Duration::ZERO);
        assert_eq!(budgets.withdraw(&gateway, Op::Run, at(0.0)), Duration::from_secs(1));
        assert_eq!(budgets.withdraw(&gateway, Op::Compensate, at(0.0)), Duration::ZERO);
        for _ in 0..10 {
            budgets.deposit(&gateway, Op::Run, at(0.0));
        }
        let wait = budgets.withdraw(&gateway, Op::Run, at(0.0)).as_secs_f64();
        assert!((wait - 1.0).abs() < 1e-6, "ten calls paid for one of the two: {wait}");
        assert_eq!(budgets.withdraw(&gateway, Op::Run, at(60.0)), Duration::ZERO, "time pays as well");
    }
}
