//! Listens to one of the engine's own metrics: how long after its commit each event was with the broker.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use metrics::{
    Counter, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SetRecorderError, SharedString, Unit,
};

const LAG: &str = "saga_publish_lag_seconds";

/// All lags since they were last asked for.
#[derive(Clone, Debug, Default)]
pub(super) struct PublishLag(Arc<Heard>);

#[derive(Debug, Default)]
struct Heard(Mutex<Vec<Duration>>);

impl PublishLag {
    /// Listens from here on, in this process.
    ///
    /// # Errors
    /// When somebody listens already.
    pub(super) fn listen() -> Result<Self, SetRecorderError<Self>> {
        let lag = Self::default();
        metrics::set_global_recorder(lag.clone()).map(|()| lag)
    }

    /// What was heard.
    pub(super) fn take(&self) -> Vec<Duration> {
        std::mem::take(&mut *self.0.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// How many events were published since then.
    pub(super) fn count(&self) -> usize {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

impl HistogramFn for Heard {
    fn record(&self, seconds: f64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Duration::from_secs_f64(seconds.max(0.0)));
    }
}

impl Recorder for PublishLag {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
        Counter::noop()
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        if key.name() == LAG { Histogram::from_arc(self.0.clone()) } else { Histogram::noop() }
    }
}
