//! Faults on request: by the payment token, and at random.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// What is to go wrong with one call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Planned {
    /// Refuse it, for good.
    pub decline: bool,
    /// Answer 503 and do nothing.
    pub unavailable: bool,
    /// Do it, and close the connection without an answer.
    pub lose_answer: bool,
    /// Take a while.
    pub slow: bool,
}

/// Plans faults. A token is `tok` and then instructions, each after a `+`:
///
/// * `authorize_declined`, `capture_declined`: the operation is refused.
/// * `authorize_lost`, `capture_lost`, `void_lost`: its first call has its effect and no answer.
/// * `authorize_unavailable_2` (any operation, any number): its first calls get 503.
/// * `void_fails`: every void gets 503, for ever.
/// * `slow`: every call takes 50 ms more.
///
/// On top of that, `rate` of all calls lose their answer and as many are refused with 503.
#[derive(Debug)]
pub struct Faults {
    rate: f64,
    random: Mutex<fastrand::Rng>,
    calls: Mutex<HashMap<String, u32>>,
}

impl Faults {
    /// Faults at this rate (0 to 1), drawn from this seed.
    #[must_use]
    pub fn new(rate: f64, seed: u64) -> Self {
        Self { rate, random: Mutex::new(fastrand::Rng::with_seed(seed)), calls: Mutex::default() }
    }

    /// What goes wrong with this call of `operation` under `key`, for this payment token.
    pub fn plan(&self, operation: &str, key: &str, token: &str) -> Planned {
        let nth = {
            let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
            let nth = calls.entry(key.to_owned()).or_default();
            *nth += 1;
            *nth
        };
        let mut planned = Planned::default();
        for instruction in token.split('+').skip(1) {
            let Some(fault) = instruction.strip_prefix(operation).and_then(|rest| rest.strip_prefix('_')) else {
                planned.slow |= instruction == "slow";
                continue;
            };
            match fault {
                "declined" => planned.decline = true,
                "lost" => planned.lose_answer |= nth == 1,
                "fails" => planned.unavailable = true,
                _ => {
                    let first = fault.strip_prefix("unavailable_").and_then(|n| n.parse::<u32>().ok());
                    planned.unavailable |= first.is_some_and(|first| nth <= first);
                }
            }
        }
        let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
        planned.unavailable |= random.f64() < self.rate;
        planned.lose_answer |= random.f64() < self.rate;
        planned
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_say_what_goes_wrong() {
        let faults = Faults::new(0.0, 1);
        assert_eq!(faults.plan("authorize", "a", "tok"), Planned::default());
        assert!(faults.plan("capture", "b", "tok+capture_declined").decline);
        assert!(!faults.plan("authorize", "c", "tok+capture_declined").decline);
        assert!(faults.plan("capture", "d", "tok+capture_lost").lose_answer);
        assert!(!faults.plan("capture", "d", "tok+capture_lost").lose_answer, "only the first time");
        let token = "tok+slow+void_unavailable_2";
        let unavailable: Vec<bool> = (0..3).map(|_| faults.plan("void", "e", token).unavailable).collect();
        assert_eq!(unavailable, [true, true, false]);
    }
}
