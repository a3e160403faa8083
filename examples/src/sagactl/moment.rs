//! A point in time as an operator writes it: a date with a time, or how long ago it was.

use std::str::FromStr;

use chrono::{DateTime, TimeDelta, Utc};
use saga_core::Timestamp;

/// What follows the number in an age.
const UNITS: [(&str, i64); 5] = [("s", 1), ("m", 60), ("h", 60 * 60), ("d", 24 * 60 * 60), ("w", 7 * 24 * 60 * 60)];

/// A point in time: `2026-11-21T08:00:00Z`, or an age such as `90s`, `30m`, `2h`, `7d` or `1w`. Ages are
/// counted from the clock of the operator's machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// A point in time.
    At(DateTime<Utc>),
    /// So long ago.
    Ago(TimeDelta),
}

/// The text is no point in time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is neither a time like 2026-11-21T08:00:00Z nor an age like 90s, 30m, 2h, 7d or 1w")]
pub struct NoMoment {
    text: String,
}

impl Moment {
    /// The point in time, seen from `now`.
    #[must_use]
    pub fn seen_from(self, now: DateTime<Utc>) -> Timestamp {
        match self {
            Self::At(at) => at.into(),
            Self::Ago(age) => now.checked_sub_signed(age).unwrap_or(DateTime::<Utc>::MIN_UTC).into(),
        }
    }
}

impl FromStr for Moment {
    type Err = NoMoment;

    fn from_str(text: &str) -> Result<Self, NoMoment> {
        let age = || {
            let (unit, seconds) = UNITS.into_iter().find(|(unit, _)| text.ends_with(unit))?;
            let number: u32 = text.strip_suffix(unit)?.parse().ok()?;
            TimeDelta::try_seconds(i64::from(number) * seconds).map(Self::Ago)
        };
        match DateTime::parse_from_rfc3339(text) {
            Ok(at) => Ok(Self::At(at.to_utc())),
            Err(_) => age().ok_or_else(|| NoMoment { text: text.to_owned() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_ages_are_understood_and_nothing_else() {
        let now: DateTime<Utc> = "2026-11-21T08:00:00Z".parse().expect("a time");
        let seen = |text: &str| text.parse::<Moment>().map(|moment| moment.seen_from(now).to_utc().to_rfc3339());
        assert_eq!(seen("2026-11-20T10:00:00+02:00").as_deref(), Ok("2026-11-20T08:00:00+00:00"));
        assert_eq!(seen("90s").as_deref(), Ok("2026-11-21T07:58:30+00:00"));
        assert_eq!(seen("2h").as_deref(), Ok("2026-11-21T06:00:00+00:00"));
        assert_eq!(seen("1w").as_deref(), Ok("2026-11-14T08:00:00+00:00"));
        assert!(seen("4294967295w").is_ok(), "longer ago than there are dates");
        for wrong in ["", "h", "2", "-2h", "2 h", "2.5h", "2hours", "yesterday", "2026-11-20", "4294967296s"] {
            let refused = seen(wrong).expect_err(wrong).to_string();
            assert!(refused.contains("2h") && refused.contains("2026-11-21T08:00:00Z"), "{refused}");
        }
    }
}
