//! When to try again: pure arithmetic over the number of attempts.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How long to wait between attempts, and how many attempts there are.
///
/// The engine asks for the delay, journals the time of the next attempt with the failure, and
/// parks the saga until then: a waiting saga holds no task and no slot.
///
/// ```
/// use std::time::Duration;
/// use saga_core::RetryPolicy;
///
/// let gateway = RetryPolicy::exponential(Duration::from_millis(200))
///     .cap(Duration::from_secs(30))
///     .attempts(6);
/// # assert_eq!(gateway.attempts_max(), Some(6));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetryPolicy {
    backoff: Backoff,
    base_ms: u64,
    cap_ms: u64,
    jitter: Jitter,
    attempts_max: Option<u32>,
    #[serde(default)]
    within_ms: Option<u64>,
}

/// How the delay grows with the attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Backoff {
    /// Always the base delay.
    Fixed,
    /// Base, twice the base, three times the base …
    Linear,
    /// Base, 2 × base, 4 × base …
    Exponential,
}

/// How much of the delay is left to chance, so that sagas which failed together do not come back
/// together. See "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Jitter {
    /// The computed delay as it is.
    None,
    /// Between half of the computed delay and the whole of it.
    Equal,
    /// Between nothing and the whole of the computed delay.
    Full,
}

impl RetryPolicy {
    /// No second attempt: the first failure decides.
    #[must_use]
    pub const fn never() -> Self {
        Self::new(Backoff::Fixed, Duration::ZERO).attempts(1)
    }

    /// The same delay between all attempts. Five attempts, equal jitter: each wait is between half the delay and all
    /// of it.
    #[must_use]
    pub const fn fixed(delay: Duration) -> Self {
        Self::new(Backoff::Fixed, delay)
    }

    /// A delay that grows by `base` each time, at most 30 s. Five attempts, equal jitter.
    #[must_use]
    pub const fn linear(base: Duration) -> Self {
        Self::new(Backoff::Linear, base)
    }

    /// A delay that doubles each time, at most 30 s. Five attempts, equal jitter.
    #[must_use]
    pub const fn exponential(base: Duration) -> Self {
        Self::new(Backoff::Exponential, base)
    }

    /// What steps before and at the pivot get: exponential from 200 ms to 30 s, five attempts.
    #[must_use]
    pub const fn standard() -> Self {
        Self::exponential(Duration::from_millis(200))
    }

    /// What compensations and steps after the pivot get, because giving up on them is for people
    /// to decide: exponential from 1 s to 15 min, 300 attempts, which is about three days.
    #[must_use]
    pub const fn patient() -> Self {
        Self::exponential(Duration::from_secs(1)).cap(Duration::from_secs(15 * 60)).attempts(300).jitter(Jitter::Full)
    }

    const fn new(backoff: Backoff, base: Duration) -> Self {
        Self {
            backoff,
            base_ms: millis(base),
            cap_ms: 30_000,
            jitter: Jitter::Equal,
            attempts_max: Some(5),
            within_ms: None,
        }
    }

    /// The longest delay.
    #[must_use]
    pub const fn cap(mut self, cap: Duration) -> Self {
        self.cap_ms = millis(cap);
        self
    }

    /// The number of attempts, the first one included; zero counts as one.
    #[must_use]
    pub const fn attempts(mut self, max: u32) -> Self {
        self.attempts_max = Some(if max == 0 { 1 } else { max });
        self
    }

    /// No limit on the number of attempts (the limit on the saga's history still holds).
    #[must_use]
    pub const fn unbounded(mut self) -> Self {
        self.attempts_max = None;
        self
    }

    /// How long all attempts together may take, from the beginning of the first: no attempt begins
    /// after that, and one that is under way is dropped then. Default: no limit but the number of
    /// attempts.
    #[must_use]
    pub const fn within(mut self, limit: Duration) -> Self {
        self.within_ms = Some(millis(limit));
        self
    }

    /// How long all attempts together may take, if there is a limit.
    #[must_use]
    pub const fn within_max(&self) -> Option<Duration> {
        match self.within_ms {
            Some(within) => Some(Duration::from_millis(within)),
            None => None,
        }
    }

    /// How much of the delay is left to chance.
    #[must_use]
    pub const fn jitter(mut self, jitter: Jitter) -> Self {
        self.jitter = jitter;
        self
    }

    /// The longest delay.
    #[must_use]
    pub const fn cap_max(&self) -> Duration {
        Duration::from_millis(self.cap_ms)
    }

    /// The number of attempts, if there is a limit.
    #[must_use]
    pub const fn attempts_max(&self) -> Option<u32> {
        self.attempts_max
    }

    /// Whether another attempt is allowed after `attempts` of them.
    #[must_use]
    pub fn allows_another(&self, attempts: u32) -> bool {
        self.attempts_max.is_none_or(|max| attempts < max)
    }

    /// The wait after the `attempts`-th attempt failed (counted from one). `chance` is a number from
    /// 0 to 1 that the caller draws.
    #[must_use]
    pub fn delay(&self, attempts: u32, chance: f64) -> Duration {
        let nth = u64::from(attempts.max(1));
        let grown = match self.backoff {
            Backoff::Fixed => self.base_ms,
            Backoff::Linear => self.base_ms.saturating_mul(nth),
            Backoff::Exponential => self.base_ms.saturating_mul(1 << (nth - 1).min(62)),
        };
        let whole = Duration::from_millis(grown.min(self.cap_ms));
        let chance = chance.clamp(0.0, 1.0);
        match self.jitter {
            Jitter::None => whole,
            Jitter::Equal => whole.mul_f64(0.5 + chance / 2.0),
            Jitter::Full => whole.mul_f64(chance),
        }
    }
}

const fn millis(duration: Duration) -> u64 {
    duration.as_secs().saturating_mul(1_000).saturating_add(duration.subsec_millis() as u64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn delays_grow_as_named() {
        let ms = |policy: RetryPolicy| {
            (1..=4).map(|n| policy.clone().jitter(Jitter::None).delay(n, 0.0).as_millis()).collect::<Vec<_>>()
        };
        assert_eq!(ms(RetryPolicy::fixed(Duration::from_millis(10))), [10, 10, 10, 10]);
        assert_eq!(ms(RetryPolicy::linear(Duration::from_millis(10))), [10, 20, 30, 40]);
        assert_eq!(ms(RetryPolicy::exponential(Duration::from_millis(10))), [10, 20, 40, 80]);
    }

    proptest! {
        #[test]
        fn no_delay_passes_the_cap_and_jitter_stays_in_bounds(
            base in 0u64..100_000, cap in 0u64..100_000, n in 0u32.., chance in 0.0f64..=1.0,
        ) {
            let policy = RetryPolicy::exponential(Duration::from_millis(base)).cap(Duration::from_millis(cap));
            let whole = policy.clone().jitter(Jitter::None).delay(n, chance);
            prop_assert!(whole <= Duration::from_millis(cap));
            let equal = policy.clone().jitter(Jitter::Equal).delay(n, chance);
            prop_assert!(equal <= whole && equal >= whole.mul_f64(0.499));
            prop_assert!(policy.jitter(Jitter::Full).delay(n, chance) <= whole);
        }
    }
}
