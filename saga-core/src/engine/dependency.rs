//! What sagas call, by name: one place where a worker keeps from overloading it, and waits while it is
//! down. Waiting costs no attempt: the step has not begun.
//!
//! Compensations and probes have budgets, breakers and limits of their own beside those of forward steps:
//! a storm, or an outage, going forward must not keep the undoing waiting.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::breaker::{Breaker, BreakerPolicy};
use super::bucket::Bucket;
use crate::id::Op;
use crate::time::Timestamp;

/// When to look again for a place among those who call at the same time.
const CROWDED: Duration = Duration::from_millis(20);
const CROWDED_MAX: Duration = Duration::from_secs(1);

/// How a worker treats one thing that its sagas call, see
/// [`EngineBuilder::dependency`](super::EngineBuilder::dependency). Each worker process keeps it for
/// itself. It can be read from configuration:
///
/// ```
/// use saga_core::engine::DependencyPolicy;
///
/// let json = r#"{ "breaker": { "failures": 5, "open_for_ms": 30000 }, "rate": { "per_second": 50, "burst": 10 } }"#;
/// let policy: DependencyPolicy = serde_json::from_str(json)?;
/// assert_eq!(policy.breaker.unwrap().failures, 5);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DependencyPolicy {
    /// How many retries it is asked to bear.
    pub retries: RetryBudget,
    /// Whether, and when, it is left alone after failures. Default: it is not.
    pub breaker: Option<BreakerPolicy>,
    /// How often it is called. Default: as often as there is reason to.
    pub rate: Option<RateLimit>,
    /// How many calls are under way at a time. Default: as many as there are sagas.
    pub at_once: Option<usize>,
}

/// How many retries a dependency is asked to bear. See "Retry budgets" in the Google SRE book (2016),
/// chapter 21.
///
/// A token bucket: every first attempt puts `ratio` of a token in, time puts `per_second` in, and every
/// retry takes one. A retry that finds none is not given up: it waits for its token, though never
/// longer than its policy's longest delay.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
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

/// How often a dependency is called.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateLimit {
    /// How many calls a second, in the long run.
    pub per_second: f64,
    /// How many at once after a pause.
    pub burst: f64,
}

/// All dependencies of a worker.
#[derive(Debug, Default)]
pub(crate) struct Dependencies {
    policies: HashMap<Arc<str>, DependencyPolicy>,
    lines: Mutex<Lines>,
}

/// By name, and whether it is for forward steps.
type Lines = HashMap<(Arc<str>, bool), Arc<Line>>;

/// What is known of one dependency, for forward steps or for compensations and probes.
#[derive(Debug)]
struct Line {
    at_once: Option<usize>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    retries: Bucket,
    ratio: f64,
    rate: Option<Bucket>,
    breaker: Option<Breaker>,
    under_way: usize,
    /// About how many were told to ask again later: they are told different times, so that they do not all
    /// come back together.
    queued: u32,
}

impl State {
    /// How long it is until there may be a place among `most`; none when there is one.
    fn place(&mut self, most: usize) -> Option<Duration> {
        if self.under_way < most {
            return None;
        }
        self.queued = self.queued.saturating_add(1);
        let ahead = u32::try_from(most).map_or(0, |most| self.queued / most);
        Some(CROWDED.saturating_mul(ahead.saturating_add(1)).min(CROWDED_MAX))
    }

    /// How long it is until the rate allows a call; none when it does.
    fn turn(&mut self, now: Timestamp) -> Option<Duration> {
        let rate = self.rate.as_mut()?;
        let wait = rate.wait(now);
        if rate.is_full() || wait.is_none() {
            // Nobody is waiting any more, or this one's turn has come.
            self.queued = if rate.is_full() { 0 } else { self.queued };
            return wait;
        }
        let ahead = rate.time_for(self.queued);
        self.queued = self.queued.saturating_add(1);
        Some(wait.unwrap_or_default().saturating_add(ahead))
    }
}

impl Dependencies {
    pub(crate) fn new(policies: HashMap<Arc<str>, DependencyPolicy>) -> Self {
        Self { policies, lines: Mutex::default() }
    }

    /// Whether a call may be made now; if not, when to ask again.
    pub(crate) fn admit(&self, dependency: &Arc<str>, op: Op, now: Timestamp) -> Result<Permit, Timestamp> {
        let line = self.line(dependency, op, now);
        let mut state = line.locked();
        if let Some(wait) = line.at_once.and_then(|most| state.place(most)).or_else(|| state.turn(now)) {
            return Err(now.after(wait));
        }
        let State { rate, breaker, queued, .. } = &mut *state;
        let probes = match breaker {
            Some(breaker) => breaker.admit(now)?,
            None => false,
        };
        if let Some(rate) = rate {
            rate.withdraw();
        }
        *queued = queued.saturating_sub(1);
        state.under_way += 1;
        drop(state);
        Ok(Permit { line, probes, reported: false })
    }

    /// A first attempt begins.
    pub(crate) fn deposit(&self, dependency: &Arc<str>, op: Op, now: Timestamp) {
        let line = self.line(dependency, op, now);
        let mut state = line.locked();
        let ratio = state.ratio;
        state.retries.deposit(ratio, now);
    }

    /// An attempt is to be repeated: how long that has to wait at least.
    pub(crate) fn withdraw(&self, dependency: &Arc<str>, op: Op, now: Timestamp) -> Duration {
        let line = self.line(dependency, op, now);
        let mut state = line.locked();
        state.retries.refill(now);
        state.retries.withdraw()
    }

    fn line(&self, dependency: &Arc<str>, op: Op, now: Timestamp) -> Arc<Line> {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let line = lines.entry((dependency.clone(), op == Op::Run)).or_insert_with(|| {
            let policy = self.policies.get(dependency).copied().unwrap_or_default();
            let RetryBudget { ratio, per_second, burst } = policy.retries;
            let rate = policy.rate.map(|rate| Bucket::new(rate.per_second, rate.burst.max(1.0), now));
            let state = State {
                retries: Bucket::new(per_second, burst, now),
                ratio,
                rate,
                breaker: policy.breaker.map(Breaker::new),
                under_way: 0,
                queued: 0,
            };
            Arc::new(Line { at_once: policy.at_once.map(|most| most.max(1)), state: Mutex::new(state) })
        });
        line.clone()
    }
}

impl Line {
    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to make one call; given back when dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    line: Arc<Line>,
    /// It is the one call that finds out whether an open breaker can close.
    probes: bool,
    reported: bool,
}

impl Permit {
    /// How the call ended: whether the dependency answered, be it with a refusal.
    pub(crate) fn report(mut self, answered: bool, now: Timestamp) {
        if let Some(breaker) = &mut self.line.locked().breaker {
            breaker.report(answered, self.probes, now);
        }
        self.reported = true;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = self.line.locked();
        state.under_way = state.under_way.saturating_sub(1);
        if state.under_way == 0 && state.rate.is_none() {
            state.queued = 0;
        }
        if self.probes
            && !self.reported
            && let Some(breaker) = &mut state.breaker
        {
            breaker.give_up_probe();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: f64) -> Timestamp {
        Timestamp::from_micros(0).after(Duration::from_secs_f64(seconds))
    }

    fn gateway(policy: DependencyPolicy) -> (Dependencies, Arc<str>) {
        let gateway: Arc<str> = Arc::from("gateway");
        (Dependencies::new(HashMap::from([(gateway.clone(), policy)])), gateway)
    }

    #[test]
    fn a_thousand_sagas_that_fail_together_come_back_at_the_rate_that_was_asked_for() {
        let (all, gateway) = gateway(DependencyPolicy::default());
        let mut waits: Vec<_> = (0..1_000).map(|_| all.withdraw(&gateway, Op::Run, at(0.0)).as_secs_f64()).collect();
        assert!(waits[..100].iter().all(|wait| *wait == 0.0), "what was saved up is spent at once");
        waits.drain(..100);
        for (nth, wait) in waits.iter().enumerate() {
            assert!((wait - (nth + 1) as f64 / 10.0).abs() < 1e-6, "ten a second, evenly: {nth} waits {wait}");
        }
    }

    #[test]
    fn calls_pay_for_a_tenth_of_their_retries_and_compensations_have_their_own_budget() {
        let retries = RetryBudget { ratio: 0.1, per_second: 1.0, burst: 1.0 };
        let (all, gateway) = gateway(DependencyPolicy { retries, ..DependencyPolicy::default() });
        assert_eq!(all.withdraw(&gateway, Op::Run, at(0.0)), Duration::ZERO);
        assert_eq!(all.withdraw(&gateway, Op::Run, at(0.0)), Duration::from_secs(1));
        assert_eq!(all.withdraw(&gateway, Op::Compensate, at(0.0)), Duration::ZERO);
        for _ in 0..10 {
            all.deposit(&gateway, Op::Run, at(0.0));
        }
        let wait = all.withdraw(&gateway, Op::Run, at(0.0)).as_secs_f64();
        assert!((wait - 1.0).abs() < 1e-6, "ten calls paid for one of the two: {wait}");
        assert_eq!(all.withdraw(&gateway, Op::Run, at(60.0)), Duration::ZERO, "time pays as well");
    }

    #[test]
    fn no_more_calls_are_under_way_and_none_comes_sooner_than_was_asked_for() {
        let rate = Some(RateLimit { per_second: 10.0, burst: 2.0 });
        let (all, gateway) = gateway(DependencyPolicy { rate, at_once: Some(3), ..DependencyPolicy::default() });
        let first = all.admit(&gateway, Op::Run, at(0.0)).unwrap();
        let second = all.admit(&gateway, Op::Run, at(0.0)).unwrap();
        assert_eq!(all.admit(&gateway, Op::Run, at(0.0)).unwrap_err(), at(0.1));
        let third = all.admit(&gateway, Op::Run, at(0.1)).unwrap();
        assert!(all.admit(&gateway, Op::Run, at(10.0)).is_err(), "three are under way");
        assert!(all.admit(&gateway, Op::Compensate, at(10.0)).is_ok(), "compensations have places of their own");
        drop((first, second));
        assert!(all.admit(&gateway, Op::Run, at(10.0)).is_ok());
        third.report(true, at(10.0));
    }
}
