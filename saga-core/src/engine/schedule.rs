//! Recurring sagas: one start for each tick, over all workers.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use chrono::SecondsFormat;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tracing::{error, warn};

use super::attempt::panic_message;
use super::error::StartError;
use super::incarnation::outage_delay;
use super::{Inner, start};
use crate::checkpoint::Checkpoint;
use crate::definition::Definition;
use crate::journal::ListFilter;
use crate::time::Timestamp;

/// The most missed ticks that are made up for at once; older ones are left out, and the log says so.
const MISSED_MAX: usize = 1_000;
/// Clocks are looked at again at least this often.
const SLEEP_MAX: Duration = Duration::from_secs(60);

/// When a schedule ticks, in UTC.
#[derive(Clone)]
pub struct Every(Ticks);

#[derive(Clone)]
enum Ticks {
    Interval(Duration),
    #[cfg(feature = "cron")]
    Cron(Box<croner::Cron>),
}

impl Every {
    /// At every multiple of the interval since 1970: every worker reckons the same ticks. At least a
    /// millisecond.
    #[must_use]
    pub fn interval(interval: Duration) -> Self {
        Self(Ticks::Interval(interval.max(Duration::from_millis(1))))
    }

    /// By a cron expression, in UTC: five fields, or six with the seconds first. Needs the feature `cron`.
    ///
    /// # Errors
    /// [`BadCron`] when the expression is none.
    #[cfg(feature = "cron")]
    pub fn cron(expression: &str) -> Result<Self, BadCron> {
        let parser = croner::parser::CronParser::builder().seconds(croner::parser::Seconds::Optional).build();
        let cron = parser
            .parse(expression)
            .map_err(|problem| BadCron { expression: expression.to_owned(), problem: problem.to_string() })?;
        Ok(Self(Ticks::Cron(Box::new(cron))))
    }

    /// The first tick after this time; none when there is none any more.
    fn after(&self, time: Timestamp) -> Option<Timestamp> {
        match &self.0 {
            Ticks::Interval(interval) => {
                let micros = i64::try_from(interval.as_micros()).unwrap_or(i64::MAX);
                let ticks = time.as_micros().div_euclid(micros).checked_add(1)?;
                ticks.checked_mul(micros).map(Timestamp::from_micros)
            }
            #[cfg(feature = "cron")]
            Ticks::Cron(cron) => cron.find_next_occurrence(&time.to_utc(), false).ok().map(Timestamp::from),
        }
    }
}

impl Every {
    /// A time before the last `ticks` ticks up to now.
    fn before(&self, now: Timestamp, ticks: usize) -> Timestamp {
        match &self.0 {
            Ticks::Interval(interval) => {
                let span = interval.saturating_mul(u32::try_from(ticks).unwrap_or(u32::MAX).saturating_add(1));
                let micros = i64::try_from(span.as_micros()).unwrap_or(i64::MAX);
                Timestamp::from_micros(now.as_micros().saturating_sub(micros))
            }
            // At most one tick a second: there is nothing to gain.
            #[cfg(feature = "cron")]
            Ticks::Cron(_) => Timestamp::from_micros(0),
        }
    }
}

impl fmt::Debug for Every {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Ticks::Interval(interval) => write!(f, "Every({interval:?})"),
            #[cfg(feature = "cron")]
            Ticks::Cron(cron) => write!(f, "Every({})", cron.as_str()),
        }
    }
}

/// The text is no cron expression.
#[cfg(feature = "cron")]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{expression:?} is no cron expression: {problem}")]
pub struct BadCron {
    /// The text.
    pub expression: String,
    /// What is wrong with it.
    pub problem: String,
}

/// What becomes of ticks that passed while no worker ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missed {
    /// Nothing: the next one is the next one.
    Skip,
    /// The latest of them is made up for.
    RunOnce,
    /// Each is made up for, oldest first, at most a thousand.
    RunAll,
}

type Begin = dyn Fn(Arc<Inner>, String, Timestamp) -> BoxFuture<'static, Result<(), StartError>> + Send + Sync;

/// A schedule, its definition's types erased.
#[derive(Clone)]
pub(crate) struct Schedule {
    name: String,
    definition: String,
    every: Every,
    missed: Missed,
    begin: Arc<Begin>,
}

impl Schedule {
    pub(crate) fn new<I: Checkpoint, O: Send + 'static>(
        name: &str,
        definition: &Definition<I, O>,
        every: Every,
        missed: Missed,
        input: impl Fn(Timestamp) -> I + Send + Sync + 'static,
    ) -> Self {
        let (blueprint, input) = (definition.clone(), Arc::new(input));
        let begin: Arc<Begin> = Arc::new(move |inner, key, tick| {
            let (definition, input) = (blueprint.clone(), input.clone());
            Box::pin(async move { start::start(&inner, &definition, &key, input(tick)).await.map(drop) })
        });
        Self { name: name.to_owned(), definition: definition.name().to_owned(), every, missed, begin }
    }

    /// The start key of a tick: the same on every worker, so that one saga is started.
    fn key(&self, tick: Timestamp) -> String {
        format!("{}{}", self.prefix(), tick.to_utc().to_rfc3339_opts(SecondsFormat::Micros, true))
    }

    fn prefix(&self) -> String {
        format!("{}@", self.name)
    }

    /// The last tick that a saga was started for; none when there is no saga of this schedule.
    async fn last(&self, inner: &Inner) -> Option<Timestamp> {
        let filter = ListFilter {
            definition: Some(self.definition.clone()),
            key_prefix: Some(self.prefix()),
            ..ListFilter::default()
        };
        for tries in 0.. {
            match inner.journal.list(&filter, 1).await {
                Ok(found) => {
                    let key = &found.first()?.header.key;
                    let at = chrono::DateTime::parse_from_rfc3339(key.strip_prefix(&self.prefix())?).ok()?;
                    return Some(Timestamp::from(at.to_utc()));
                }
                Err(problem) => warn!(schedule = self.name, %problem, "the last tick cannot be read; trying again"),
            }
            tokio::time::sleep(outage_delay(tries)).await;
        }
        None
    }

    /// The ticks after `last`, up to now, that are to be started.
    fn due(&self, last: Timestamp, now: Timestamp) -> Vec<Timestamp> {
        let mut due: std::collections::VecDeque<Timestamp> = std::collections::VecDeque::new();
        let most = if self.missed == Missed::RunAll { MISSED_MAX } else { 1 };
        // A long time is not gone through tick by tick.
        let mut at = last.max(self.every.before(now, most));
        while let Some(tick) = self.every.after(at).filter(|tick| *tick <= now) {
            if due.len() == most {
                due.pop_front();
            }
            due.push_back(tick);
            at = tick;
        }
        due.into()
    }

    /// Starts a saga for each tick until the worker stops.
    pub(crate) async fn run(self, inner: Arc<Inner>) {
        let stopped = inner.draining.clone();
        tokio::select! {
            biased;
            () = stopped.cancelled() => {}
            () = self.tick_for_ever(&inner) => {}
        }
    }

    async fn tick_for_ever(&self, inner: &Arc<Inner>) {
        let mut last = match self.missed {
            Missed::Skip => inner.clock.now(),
            Missed::RunOnce | Missed::RunAll => self.last(inner).await.unwrap_or_else(|| inner.clock.now()),
        };
        loop {
            for tick in self.due(last, inner.clock.now()) {
                self.start(inner, tick).await;
                last = tick;
            }
            let Some(next) = self.every.after(last) else { return };
            let wait = next.since(inner.clock.now()).min(SLEEP_MAX);
            tokio::time::sleep(wait).await;
        }
    }

    async fn start(&self, inner: &Arc<Inner>, tick: Timestamp) {
        let key = self.key(tick);
        for tries in 0.. {
            // The input is the user's code, and may panic: that costs this tick, and no other.
            let begin = async { (self.begin)(inner.clone(), key.clone(), tick).await };
            let begun = match AssertUnwindSafe(begin).catch_unwind().await {
                Ok(begun) => begun,
                Err(panic) => {
                    error!(
                        schedule = self.name,
                        key,
                        panic = panic_message(&*panic),
                        "making the tick's input panicked"
                    );
                    return;
                }
            };
            match begun {
                Ok(()) | Err(StartError::Closed) => return,
                Err(problem @ StartError::Unavailable { .. }) => {
                    warn!(schedule = self.name, key, %problem, "the tick was not started; trying again");
                }
                Err(problem) => {
                    error!(schedule = self.name, key, %problem, "the tick cannot be started");
                    return;
                }
            }
            tokio::time::sleep(outage_delay(tries)).await;
        }
    }
}

impl fmt::Debug for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Schedule({} of {}, {:?}, {:?})", self.name, self.definition, self.every, self.missed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_the_same_whoever_reckons_them() {
        let every = Every::interval(Duration::from_secs(60));
        let at = |seconds: i64| Timestamp::from_micros(seconds * 1_000_000);
        assert_eq!(every.after(at(0)), Some(at(60)));
        assert_eq!(every.after(at(59)), Some(at(60)));
        assert_eq!(every.after(at(60)), Some(at(120)));
    }

    #[cfg(feature = "cron")]
    #[test]
    fn cron_expressions_are_read_in_utc() {
        let every = Every::cron("30 4 * * MON").unwrap();
        let at = |text: &str| Timestamp::from(text.parse::<chrono::DateTime<chrono::Utc>>().unwrap());
        assert_eq!(every.after(at("2026-11-20T12:00:00Z")), Some(at("2026-11-23T04:30:00Z")));
        assert_eq!(every.after(at("2026-11-23T04:30:00Z")), Some(at("2026-11-30T04:30:00Z")));
        assert_eq!(
            Every::cron("*/10 * * * * *").unwrap().after(at("2026-11-20T12:00:01Z")),
            Some(at("2026-11-20T12:00:10Z"))
        );
        let error = Every::cron("61 * * * *").unwrap_err().to_string();
        assert!(error.contains("61 * * * *"), "{error}");
    }
}
