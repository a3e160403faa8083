//! A schedule: what goes wrong in a run, and where.

use std::fmt;

use super::fate::Fate;
use super::point::Point;
use super::seed::BadSeed;

/// What goes wrong in a run, and where; at every other point all goes well. Its text is a *seed*: one line
/// that can be pasted into [`Explore::replay`](crate::Explore::replay).
///
/// ```
/// use saga_testkit::Schedule;
///
/// let schedule: Schedule = "v1:run:capture#1=refused,compensate:authorize#1=answer-lost".parse()?;
/// assert_eq!(schedule.len(), 2);
/// # Ok::<(), saga_testkit::BadSeed>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Schedule(Vec<(Point, Fate)>);

impl Schedule {
    /// A schedule on which nothing goes wrong.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The same schedule, with this as well.
    #[must_use]
    pub fn with(&self, point: Point, fate: Fate) -> Self {
        let mut all = self.0.clone();
        all.push((point, fate));
        Self(all)
    }

    /// The same schedule without its `nth` entry.
    #[must_use]
    pub(crate) fn without(&self, nth: usize) -> Self {
        Self(self.0.iter().enumerate().filter(|(at, _)| *at != nth).map(|(_, entry)| entry.clone()).collect())
    }

    /// What goes wrong, and where.
    pub fn iter(&self) -> impl Iterator<Item = (&Point, Fate)> {
        self.0.iter().map(|(point, fate)| (point, *fate))
    }

    /// How many things go wrong.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing goes wrong.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What becomes of this point; none when all goes well.
    pub(crate) fn fate(&self, point: &Point) -> Option<Fate> {
        self.0.iter().find(|(at, _)| at == point).map(|(_, fate)| *fate)
    }
}

impl FromIterator<(Point, Fate)> for Schedule {
    fn from_iter<T: IntoIterator<Item = (Point, Fate)>>(entries: T) -> Self {
        Self(entries.into_iter().collect())
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("v1:")?;
        for (nth, (point, fate)) in self.0.iter().enumerate() {
            if nth > 0 {
                f.write_str(",")?;
            }
            write!(f, "{point}={fate}")?;
        }
        Ok(())
    }
}

impl std::str::FromStr for Schedule {
    type Err = BadSeed;

    fn from_str(text: &str) -> Result<Self, BadSeed> {
        let entries = text.trim().strip_prefix("v1:").ok_or_else(|| BadSeed::new(text))?;
        let entry = |entry: &str| {
            let (point, fate) = entry.rsplit_once('=').ok_or_else(|| BadSeed::new(entry))?;
            Ok((point.parse()?, fate.parse()?))
        };
        entries.split(',').filter(|entry| !entry.is_empty()).map(entry).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use proptest::prelude::*;
    use saga_core::Op;

    use super::*;

    proptest! {
        #[test]
        fn every_schedule_is_what_its_seed_says(
            name in "\\PC{1,12}", nth in 0u32.., op in prop::sample::select(vec![Op::Run, Op::Probe, Op::Compensate]),
        ) {
            let schedule = Schedule::new()
                .with(Point::Attempt { step: name.clone(), op, nth }, Fate::UnknownWith)
                .with(Point::Call { name: name.clone(), nth }, Fate::Late)
                .with(Point::Signal { name: name.clone(), nth }, Fate::Twice)
                .with(Point::Publish { topic: name, nth }, Fate::Unsent)
                .with(Point::Write { nth }, Fate::CrashAfter);
            let seed = schedule.to_string();
            prop_assert_eq!(seed.lines().count(), 1);
            prop_assert_eq!(seed.parse::<Schedule>(), Ok(schedule));
        }
    }

    #[test]
    fn what_is_no_schedule_is_refused() {
        for text in
            ["", "v2:", "v1:x", "v1:run:a=refused", "v1:write#1=burnt", "v1:undo:a#1=late", "v1:run:%zz;#1=late"]
        {
            assert!(text.parse::<Schedule>().is_err(), "{text}");
        }
        assert!("v1:".parse::<Schedule>().unwrap().is_empty());
    }
}
