//! What the engine tells the outside.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};
use saga_core::journal::MemoryJournal;
use saga_core::{
    Compensation, Definition, LateSignal, Outcome, Probe, RetryPolicy, Source as _, Step, StepContext, StepError,
    async_trait, step_fn,
};

use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

use saga_testkit::faults::FaultJournal;

use super::support::{completed, dead_letters, engine, engine_on, quick, rolled_back, unhurried};

#[tokio::test(start_paused = true)]
async fn the_metrics_say_what_happened() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let _installed = metrics::set_default_local_recorder(&recorder);
    let definition = Definition::build("observed", 1, |saga, n| {
        let retried = step_fn(
            async |cx: StepContext, n: i64| {
                if cx.attempt() == 1 { Err(StepError::retry("again")) } else { Ok(n) }
            },
        );
        let n = saga.query("retried", retried, n).retry(quick());
        let refusing = step_fn(async |_, n: i64| if n == 1 { Err(StepError::rejected("no")) } else { Ok(n) });
        let n = saga.query("refusing", refusing, n);
        let failing = step_fn(async |_, n: i64| if n == 2 { Err(StepError::fatal("broken")) } else { Ok(n) });
        let n = saga.retryable("failing", failing, n);
        saga.returns(n)
    })
    .unwrap();
    let engine = engine(&MemoryJournal::new()).register(&definition).open().await.unwrap();
    completed(&engine.start(&definition, "done", 0).await.unwrap()).await;
    rolled_back(&engine.start(&definition, "back", 1).await.unwrap()).await;
    dead_letters(&engine.start(&definition, "dead", 2).await.unwrap()).await;
    let names: std::collections::BTreeSet<String> =
        snapshotter.snapshot().into_vec().into_iter().map(|(key, ..)| key.key().name().to_owned()).collect();
    for name in [
        "saga_started_total",
        "saga_completed_total",
        "saga_compensated_total",
        "saga_dead_lettered_total",
        "saga_step_duration_seconds",
        "saga_step_retries_total",
        "saga_commit_batch_size",
        "saga_commit_seconds",
    ] {
        assert!(names.contains(name), "{name} is missing from {names:?}");
    }
    assert!(!names.iter().any(|name| name.contains("_late_")), "nothing came late: {names:?}");
}

#[tokio::test(start_paused = true)]
async fn sagas_that_are_taken_over_from_a_dead_worker_are_counted_and_no_others() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let _installed = metrics::set_default_local_recorder(&recorder);
    let definition = Definition::build("taken-over", 1, |saga, n| {
        let done = saga.query(
            "long",
            step_fn(async |_, n: i64| {
                tokio::time::sleep(Duration::from_secs(5)).await;
                Ok(n)
            }),
            n,
        );
        saga.returns(done)
    })
    .unwrap();
    let shared = MemoryJournal::new();
    let dead = FaultJournal::new(shared.clone());
    let dying = engine_on(dead.clone()).register(&definition).open().await.unwrap();
    let client = engine(&shared).register(&definition).client_only().open().await.unwrap();
    // One is claimed as everybody's, and ends.
    completed(&client.start(&definition, "claimed", 1).await.unwrap()).await;
    assert_eq!(counted(&snapshotter, "saga_taken_over_total"), None);
    let sagas = [dying.start(&definition, "a", 2).await.unwrap(), dying.start(&definition, "b", 3).await.unwrap()];
    dead.outage(true);
    drop(dying);
    let heir = engine(&shared).register(&definition).open().await.unwrap();
    for saga in sagas {
        completed(&heir.handle(&definition, saga.id())).await;
    }
    assert_eq!(counted(&snapshotter, "saga_taken_over_total"), Some(DebugValue::Counter(2)));
}

#[tokio::test(start_paused = true)]
async fn signals_that_no_step_took_are_counted() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let _installed = metrics::set_default_local_recorder(&recorder);
    let refund = Definition::build("refund", 1, |saga, late| {
        let refunded = saga.retryable("refund", step_fn(async |_, _: LateSignal| Ok(())), late);
        saga.returns(refunded)
    })
    .unwrap();
    let definition = Definition::build("paying", 1, |saga, start| {
        saga.on_late_signal(&refund);
        let paid = saga.wait_for::<i64, _>("payment", "paid", start.map(|(): ()| None));
        saga.returns(paid)
    })
    .unwrap();
    let engine = engine(&MemoryJournal::new()).register(&definition).open().await.unwrap();
    // All are there before the saga is: its one step takes the first.
    for nth in 0..3 {
        engine.signal("paying", "k", "paid", &nth, &format!("evt-{nth}")).await.unwrap();
    }
    assert_eq!(completed(&engine.start(&definition, "k", ()).await.unwrap()).await, Some(0));
    assert_eq!(counted(&snapshotter, "saga_late_signals_total"), Some(DebugValue::Counter(2)));
}

/// Carried out after its compensation, as a request that was long on its way.
struct Late(Arc<Mutex<u32>>);

#[async_trait]
impl Step for Late {
    type Input = i64;
    type Output = i64;

    async fn run(&self, _: &StepContext, _: i64) -> Result<i64, StepError> {
        Err(StepError::retry("no answer"))
    }

    async fn probe(&self, _: &StepContext, n: i64) -> Result<Probe<i64>, StepError> {
        let mut asked = self.0.lock().unwrap();
        *asked += 1;
        Ok(if *asked == 2 { Probe::Applied(n) } else { Probe::Unknown })
    }
}

#[async_trait]
impl Compensation for Late {
    async fn compensate(&self, _: &StepContext, _: i64, _: Outcome<i64>) -> Result<(), StepError> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn effects_that_come_after_their_compensation_are_counted() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let _installed = metrics::set_default_local_recorder(&recorder);
    let asked = Arc::new(Mutex::new(0));
    let definition = Definition::build("late", 1, |saga, n| {
        let held = saga.compensatable("hold", Late(asked.clone()), n).retry(RetryPolicy::never());
        let held = held.watch_for_late_effects(Duration::from_secs(24 * 60 * 60));
        let taken = saga.pivot("take", step_fn(async |_, n: i64| Ok(n)), held);
        saga.returns(taken)
    })
    .unwrap();
    let engine = unhurried(&MemoryJournal::new()).register(&definition).open().await.unwrap();
    rolled_back(&engine.start(&definition, "k", 1).await.unwrap()).await;
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    assert!(*asked.lock().unwrap() >= 2, "it was looked for");
    assert_eq!(counted(&snapshotter, "saga_late_effects_total"), Some(DebugValue::Counter(1)));
}

/// Has no counter for sagas that have completed.
struct Faulty;

impl Recorder for Faulty {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        assert_ne!(key.name(), "saga_completed_total", "a defect of the host's");
        Counter::noop()
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_saga_hears_of_its_end_though_what_counts_it_panics() {
    let _installed = metrics::set_default_local_recorder(&Faulty);
    let definition = Definition::build("counted", 1, |saga, n| {
        let done = saga.query("step", step_fn(async |_, n: i64| Ok(n)), n);
        saga.returns(done)
    })
    .unwrap();
    let engine = engine(&MemoryJournal::new()).register(&definition).open().await.unwrap();
    let saga = engine.start(&definition, "k", 7).await.unwrap();
    let told = tokio::time::timeout(Duration::from_secs(60), completed(&saga)).await;
    assert_eq!(told.expect("it is over, and that is told"), 7);
}

fn counted(snapshotter: &Snapshotter, name: &str) -> Option<DebugValue> {
    let mut all = snapshotter.snapshot().into_vec().into_iter();
    all.find_map(|(key, _, _, value)| (key.key().name() == name).then_some(value))
}

type Fields = BTreeMap<String, String>;

/// Every span that was opened: its name and its fields.
#[derive(Clone, Default)]
struct Spans(Arc<Mutex<Vec<(String, Fields)>>>);

impl<S: tracing::Subscriber> Layer<S> for Spans {
    fn on_new_span(&self, attributes: &tracing::span::Attributes<'_>, _: &tracing::span::Id, _: Context<'_, S>) {
        struct Visitor(Fields);
        impl tracing::field::Visit for Visitor {
            fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
                self.0.insert(field.name().to_owned(), format!("{value:?}"));
            }
        }
        let mut fields = Visitor(Fields::new());
        attributes.record(&mut fields);
        self.0.lock().unwrap().push((attributes.metadata().name().to_owned(), fields.0));
    }
}

#[tokio::test(start_paused = true)]
async fn every_saga_and_every_attempt_has_a_span_that_says_which() {
    let spans = Spans::default();
    let _installed = tracing::subscriber::set_default(tracing_subscriber::registry().with(spans.clone()));
    let definition = Definition::build("spanned", 7, |saga, n| {
        let retried = step_fn(
            async |cx: StepContext, n: i64| {
                if cx.attempt() == 1 { Err(StepError::retry("again")) } else { Ok(n) }
            },
        );
        let n = saga.query("retried", retried, n).retry(quick());
        saga.returns(n)
    })
    .unwrap();
    let engine = engine(&MemoryJournal::new()).register(&definition).open().await.unwrap();
    let saga = engine.start(&definition, "k", 1).await.unwrap();
    completed(&saga).await;
    let spans = spans.0.lock().unwrap().clone();
    let named = |name: &str| spans.iter().filter(|(span, _)| span == name).map(|(_, f)| f.clone()).collect::<Vec<_>>();
    let id = saga.id().to_string();
    let runs = named("saga.run");
    assert!(!runs.is_empty());
    for run in runs {
        assert_eq!((&*run["saga.id"], &*run["saga.definition"], &*run["saga.version"]), (&*id, "spanned", "7"));
        assert_eq!(run["saga.key"], "\"k\"");
    }
    let attempts: Vec<_> = named("saga.step").into_iter().map(|f| (f["saga.attempt"].clone(), f)).collect();
    assert_eq!(attempts.iter().map(|(attempt, _)| &**attempt).collect::<Vec<_>>(), ["1", "2"]);
    for (_, step) in attempts {
        let said = (&*step["saga.id"], &*step["saga.definition"], &*step["saga.step"], &*step["saga.op"]);
        assert_eq!(said, (&*id, "spanned", "retried", "run"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_step_that_blocks_its_thread_is_reported() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let _installed = metrics::set_default_local_recorder(&recorder);
    let definition = Definition::build("blocking", 1, |saga, n| {
        let blocking = step_fn(async |_, n: i64| {
            std::thread::sleep(std::time::Duration::from_millis(600));
            Ok(n)
        });
        let n = saga.query("blocking", blocking, n);
        saga.returns(n)
    })
    .unwrap();
    let engine = engine(&MemoryJournal::new()).register(&definition).open().await.unwrap();
    completed(&engine.start(&definition, "k", 0).await.unwrap()).await;
    let reported =
        snapshotter.snapshot().into_vec().iter().any(|(key, ..)| key.key().name() == "saga_step_blocked_total");
    assert!(reported);
}
