//! How an attempt ends badly: what the step's author says, and what is journalled of it.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::seeded::seeded;

/// Whether a failed attempt can have had its effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Effect {
    /// It certainly had none.
    NotApplied,
    /// Nobody knows: the answer was lost, late, or never came. The default for all that is not proven.
    Unknown,
}

/// Whether another attempt makes sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// Try again, as the retry policy allows.
    Transient,
    /// Trying again cannot help: turn back, or call a human.
    Terminal,
}

/// A failed attempt of a step, a probe or a compensation. One word says what comes next:
///
/// | constructor | try again? | can the effect have happened? | typical cause |
/// |---|---|---|---|
/// | [`StepError::retry`] | yes | perhaps | time-out, connection lost after sending, 5xx |
/// | [`StepError::unsent`] | yes | no | connection refused, DNS, breaker open |
/// | [`StepError::rejected`] | no | no | card declined, out of stock |
/// | [`StepError::fatal`] | no | perhaps | an answer that makes no sense |
///
/// What then happens depends on the step. Up to the pivot the saga turns back. A pivot whose effect is
/// unknown is probed first, and waits for a human when that does not settle it. A retryable step after the
/// pivot, and a compensation, wait for a human at once. A best-effort step is recorded as failed, and the
/// saga goes on.
///
/// Any other `std::error::Error` that meets `?` becomes [`StepError::retry`] (a boxed one does not: write
/// `.map_err(StepError::retry)`): what is not proven is unknown, and
/// asking again under the same idempotency key is safe.
///
/// ```
/// use saga_core::StepError;
///
/// fn charge(status: u16) -> Result<(), StepError> {
///     match status {
///         200 => Ok(()),
///         402 => Err(StepError::rejected("card declined")),
///         _ => Err(StepError::retry(format!("gateway answered {status}"))),
///     }
/// }
///
/// fn parse(body: &str) -> Result<i64, StepError> {
///     Ok(body.parse::<i64>()?) // unknown, to be tried again
/// }
/// # assert!(charge(402).is_err() && parse("x").is_err());
/// ```
pub struct StepError {
    fault: Fault,
    retry_after: Option<Duration>,
}

impl StepError {
    /// Try again; the effect may have happened.
    #[must_use]
    pub fn retry(message: impl fmt::Display) -> Self {
        Self::new(Class::Transient, Effect::Unknown, message)
    }

    /// Try again; this attempt certainly had no effect, because nothing was sent.
    #[must_use]
    pub fn unsent(message: impl fmt::Display) -> Self {
        Self::new(Class::Transient, Effect::NotApplied, message)
    }

    /// Do not try again; the participant refused, and this attempt certainly had no effect.
    ///
    /// It speaks for its own attempt: when an earlier one ended unknown, the step is still probed
    /// or compensated.
    #[must_use]
    pub fn rejected(message: impl fmt::Display) -> Self {
        Self::new(Class::Terminal, Effect::NotApplied, message)
    }

    /// Do not try again; the effect may have happened.
    #[must_use]
    pub fn fatal(message: impl fmt::Display) -> Self {
        Self::new(Class::Terminal, Effect::Unknown, message)
    }

    /// Wait at least this long before the next attempt, as a participant asked (`Retry-After`). Granted up
    /// to the longest delay of the step's retry policy.
    #[must_use]
    pub fn after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// The same error of an attempt that certainly had no effect, for example because it was rolled back.
    #[must_use]
    pub fn without_effect(mut self) -> Self {
        self.fault.effect = Effect::NotApplied;
        self
    }

    /// The same error of an attempt that may have had an effect, for example because a part of it was done before
    /// the participant refused: what was done is undone.
    #[must_use]
    pub fn with_possible_effect(mut self) -> Self {
        self.fault.effect = Effect::Unknown;
        self
    }

    /// What will be journalled of this error.
    #[must_use]
    pub fn fault(&self) -> &Fault {
        &self.fault
    }

    pub(crate) fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    fn new(class: Class, effect: Effect, message: impl fmt::Display) -> Self {
        Self { fault: Fault { class, effect, message: message.to_string() }, retry_after: None }
    }
}

/// The whole chain of causes in one line, because the error itself does not outlive the attempt.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

// `StepError` is deliberately no `std::error::Error`: like `anyhow::Error`, it takes in all that are.
impl<E: std::error::Error> From<E> for StepError {
    fn from(error: E) -> Self {
        Self::retry(chain(&error))
    }
}

impl fmt::Debug for StepError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StepError").field("fault", &self.fault).field("retry_after", &self.retry_after).finish()
    }
}

impl fmt::Display for StepError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fault.fmt(f)
    }
}

/// What the journal keeps of a failed attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// Whether another attempt makes sense.
    pub class: Class,
    /// Whether the effect can have happened.
    pub effect: Effect,
    /// What went wrong, for people.
    pub message: String,
}

impl Fault {
    /// The attempt passed its time limit: its effect is unknown.
    #[must_use]
    pub fn timed_out(limit: Duration) -> Self {
        let unknown = Self::unknown(format!("no answer within {} ms", limit.as_millis()));
        if seeded("M15") { Self { effect: Effect::NotApplied, ..unknown } } else { unknown }
    }

    /// The step panicked: its effect is unknown.
    #[must_use]
    pub fn panicked(message: &str) -> Self {
        Self::unknown(format!("the step panicked: {message}"))
    }

    /// The worker died, or stopped, while the attempt was under way: its effect is unknown.
    #[must_use]
    pub fn interrupted() -> Self {
        Self::unknown("the worker stopped while the attempt was under way".to_owned())
    }

    /// A transient fault with unknown effect.
    #[must_use]
    pub fn unknown(message: String) -> Self {
        Self { class: Class::Transient, effect: Effect::Unknown, message }
    }

    /// Cuts the message to at most `max` bytes, at a character's edge.
    #[must_use]
    pub fn cut(mut self, max: usize) -> Self {
        if self.message.len() > max {
            let end = (0..=max).rev().find(|&at| self.message.is_char_boundary(at)).unwrap_or(0);
            self.message.truncate(end);
        }
        // No database takes NUL in a text.
        if self.message.contains('\0') {
            self.message = self.message.replace('\0', "\u{fffd}");
        }
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_proven_is_unknown_and_tried_again() {
        let error: StepError = "x".parse::<u8>().unwrap_err().into();
        assert_eq!((error.fault.class, error.fault.effect), (Class::Transient, Effect::Unknown));
    }

    #[test]
    fn a_cut_message_stays_valid_text() {
        assert_eq!(Fault::unknown("aé".to_owned()).cut(2).message, "a");
    }
}
