//! A circuit breaker, after M. Nygard, "Release It!" (2007): closed, open, half-open.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// When a dependency is left alone, see [`DependencyPolicy`](super::DependencyPolicy). Only failures to
/// answer count (time-outs, lost connections, 5xx: what a step reports as to be tried again); a refusal is
/// an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BreakerPolicy {
    /// After how many failures in a row it opens. Default 5; zero counts as one.
    pub failures: u32,
    /// For how long nothing is sent then, in milliseconds. After that one call goes through: when it is
    /// answered the breaker closes, otherwise it stays open for as long again. Default 30,000.
    pub open_for_ms: u64,
}

impl Default for BreakerPolicy {
    fn default() -> Self {
        Self { failures: 5, open_for_ms: 30_000 }
    }
}

#[derive(Debug)]
pub(crate) struct Breaker {
    policy: BreakerPolicy,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed {
        failures: u32,
    },
    Open {
        until: Timestamp,
    },
    /// One call is on its way to find out.
    HalfOpen,
}

impl Breaker {
    pub(crate) fn new(policy: BreakerPolicy) -> Self {
        Self { policy, state: State::Closed { failures: 0 } }
    }

    /// Whether a call may be made, and whether it is the one that finds out; if not, when to ask again.
    pub(crate) fn admit(&mut self, now: Timestamp) -> Result<bool, Timestamp> {
        match self.state {
            State::Closed { .. } => Ok(false),
            State::Open { until } if until <= now => {
                self.state = State::HalfOpen;
                Ok(true)
            }
            State::Open { until } => Err(until),
            // Not long: the answer that decides is on its way.
            State::HalfOpen => Err(now.after((self.open_for() / 10).max(Duration::from_millis(10)))),
        }
    }

    /// Whether a call was answered.
    pub(crate) fn report(&mut self, answered: bool, probes: bool, now: Timestamp) {
        self.state = match self.state {
            State::Closed { .. } if answered => State::Closed { failures: 0 },
            State::Closed { failures } if failures + 1 < self.policy.failures => {
                State::Closed { failures: failures + 1 }
            }
            State::HalfOpen if probes && answered => State::Closed { failures: 0 },
            State::Closed { .. } => State::Open { until: now.after(self.open_for()) },
            State::HalfOpen if probes => State::Open { until: now.after(self.open_for()) },
            // A call from before it opened says nothing new.
            unmoved @ (State::Open { .. } | State::HalfOpen) => unmoved,
        };
    }

    /// The call that was to find out was never made, or nobody knows how it ended.
    pub(crate) fn give_up_probe(&mut self) {
        if self.state == State::HalfOpen {
            self.state = State::Open { until: Timestamp::from_micros(0) };
        }
    }

    fn open_for(&self) -> Duration {
        Duration::from_millis(self.policy.open_for_ms)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_micros(0).after(Duration::from_millis(millis))
    }

    #[test]
    fn it_opens_after_failures_in_a_row_and_one_call_decides_whether_it_closes() {
        let mut breaker = Breaker::new(BreakerPolicy { failures: 3, open_for_ms: 1_000 });
        for answered in [false, false, true, false, false] {
            assert_eq!(breaker.admit(at(0)), Ok(false));
            breaker.report(answered, false, at(0));
        }
        assert_eq!(breaker.admit(at(0)), Ok(false), "not three in a row");
        breaker.report(false, false, at(0));
        assert_eq!(breaker.admit(at(999)), Err(at(1_000)));
        assert_eq!(breaker.admit(at(1_000)), Ok(true), "one finds out");
        assert_eq!(breaker.admit(at(1_000)), Err(at(1_100)), "and one only");
        breaker.report(true, false, at(1_050));
        assert!(breaker.admit(at(1_060)).is_err(), "what was sent before it opened decides nothing");
        breaker.report(false, true, at(1_200));
        assert_eq!(breaker.admit(at(2_000)), Err(at(2_200)), "open for as long again");
        assert_eq!(breaker.admit(at(2_200)), Ok(true));
        breaker.report(true, true, at(2_300));
        assert_eq!(breaker.admit(at(2_300)), Ok(false));
    }

    #[test]
    fn a_call_that_was_never_made_leaves_the_place_to_another() {
        let mut breaker = Breaker::new(BreakerPolicy { failures: 1, open_for_ms: 1_000 });
        breaker.report(false, false, at(0));
        assert_eq!(breaker.admit(at(1_000)), Ok(true));
        breaker.give_up_probe();
        assert_eq!(breaker.admit(at(1_000)), Ok(true));
    }

    proptest! {
        /// Whatever happens, no call is admitted while it is open, and one at most while it is half-open.
        #[test]
        fn an_open_breaker_lets_nothing_through_and_a_half_open_one_a_single_call(
            events in prop::collection::vec((0_u64..400, any::<bool>(), 0_u8..3), 1..200),
        ) {
            let mut breaker = Breaker::new(BreakerPolicy { failures: 2, open_for_ms: 1_000 });
            let (mut now, mut probing, mut open_until) = (0, false, None);
            for (passed, answered, what) in events {
                now += passed;
                match breaker.admit(at(now)) {
                    Ok(true) => {
                        prop_assert!(!probing, "two calls find out at the same time");
                        prop_assert!(open_until.is_some_and(|until| until <= now), "too early");
                        probing = true;
                    }
                    Ok(false) => prop_assert!(open_until.is_none(), "a call went through an open breaker"),
                    Err(_) => prop_assert!(open_until.is_some()),
                }
                if what == 0 && probing {
                    breaker.report(answered, true, at(now));
                    (probing, open_until) = (false, (!answered).then_some(now + 1_000));
                } else if what == 1 && !probing {
                    breaker.report(answered, false, at(now));
                    if open_until.is_none() && matches!(breaker.state, State::Open { .. }) {
                        open_until = Some(now + 1_000);
                    }
                }
            }
        }
    }
}
