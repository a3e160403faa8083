//! What the engine tells the outside.

use metrics_util::debugging::DebuggingRecorder;
use saga_core::journal::MemoryJournal;
use saga_core::{Definition, StepContext, StepError, step_fn};

use super::support::{completed, dead_letters, engine, quick, rolled_back};

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
}
