//! What the host hands in may panic: that costs the saga that it was for a delay or a human, and no other saga anything.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use saga_core::codec::{Codec, CodecError};
use saga_core::engine::Resolution;
use saga_core::journal::{MemoryJournal, SagaStatus};
use saga_core::machine::AttentionReason;
use saga_core::{Definition, Digest, Engine, RetryPolicy, SagaHandle, Source as _, step_fn};

use super::support::{completed, dead_letters, engine, until};

const HOUR: Duration = Duration::from_secs(3600);

/// Payloads as they are; panics at some of them.
#[derive(Debug, Default)]
struct Brittle {
    no_digest: AtomicBool,
}

impl Codec for Brittle {
    fn seal(&self, payload: &str, _: &[u8]) -> Result<String, CodecError> {
        assert!(!payload.contains("unsealable"), "{payload}");
        Ok(payload.to_owned())
    }

    fn open<'a>(&self, stored: &'a str, _: &[u8]) -> Result<Cow<'a, str>, CodecError> {
        assert!(!stored.contains("unreadable"), "{stored}");
        Ok(Cow::Borrowed(stored))
    }

    fn digest(&self, plain: Digest) -> Digest {
        assert!(!self.no_digest.load(Ordering::Relaxed), "as asked for");
        plain
    }
}

/// Waits for a signal, and says what it was told.
fn echo() -> Definition<String, String> {
    Definition::build("echo", 1, |saga, text| {
        let waited = saga.wait_for::<String, _>("wait", "go", text.map(|_: String| Some(HOUR)));
        let say = async |_, (text, went): (String, Option<String>)| Ok(format!("{text}{}", went.unwrap_or_default()));
        let patient = RetryPolicy::fixed(Duration::from_millis(10)).attempts(999);
        let said = saga.query("say", step_fn(say), (text, waited)).retry(patient);
        saga.returns(said)
    })
    .unwrap()
}

async fn waiting(engine: &Engine, definition: &Definition<String, String>, key: &str) -> SagaHandle<String> {
    let saga = engine.start(definition, key, key.to_owned()).await.unwrap();
    until("waiting", async || engine.status(saga.id()).await.unwrap().unwrap().status == SagaStatus::Waiting).await;
    saga
}

async fn go(engine: &Engine, key: &str, with: &str) {
    engine.signal("echo", key, "go", &with.to_owned(), "go").await.unwrap();
}

async fn is_set_aside(saga: &SagaHandle<String>) {
    let letters = dead_letters(saga).await;
    assert_eq!((letters.len(), letters[0].reason), (1, AttentionReason::Unreadable));
    assert!(letters[0].error.contains("the codec panicked"), "{}", letters[0].error);
}

#[tokio::test(start_paused = true)]
async fn a_payload_at_which_the_codec_panics_sets_its_saga_aside_and_no_other() {
    let (journal, plain) = (MemoryJournal::new(), echo());
    let before = engine(&journal).register(&plain).open().await.unwrap();
    let unreadable = waiting(&before, &plain, "unreadable").await.id();
    before.shutdown(Duration::from_secs(1)).await;
    let brittle = plain.with_codec(Arc::new(Brittle::default()));
    let engine = engine(&journal).register(&brittle).open().await.unwrap();
    let (sealing, other) = (waiting(&engine, &brittle, "un").await, waiting(&engine, &brittle, "other").await);
    go(&engine, "unreadable", "").await;
    is_set_aside(&engine.handle(&brittle, unreadable)).await;
    // What the step returns cannot be sealed.
    go(&engine, "un", "sealable").await;
    is_set_aside(&sealing).await;
    go(&engine, "other", " went").await;
    assert_eq!(completed(&other).await, "other went");
}

#[tokio::test(start_paused = true)]
async fn a_step_whose_input_has_no_fingerprint_calls_a_human() {
    let (journal, codec) = (MemoryJournal::new(), Arc::new(Brittle::default()));
    let definition = echo().with_codec(codec.clone());
    let engine = engine(&journal).register(&definition).open().await.unwrap();
    let saga = waiting(&engine, &definition, "k").await;
    codec.no_digest.store(true, Ordering::Relaxed);
    go(&engine, "k", "").await;
    let letters = dead_letters(&saga).await;
    assert_eq!((letters.len(), letters[0].reason), (1, AttentionReason::Undecodable));
    assert!(letters[0].error.contains("panicked") && !letters[0].error.contains("asked"), "{}", letters[0].error);
    codec.no_digest.store(false, Ordering::Relaxed);
    engine.operator().resolve(saga.id(), "say", Resolution::Retry, "ann", "mended").await.unwrap();
    assert_eq!(completed(&saga).await, "k");
}

#[tokio::test(start_paused = true)]
async fn a_child_whose_answer_cannot_be_worked_out_is_set_aside() {
    let child = Definition::build("child", 1, |saga, n| {
        let done = saga.query("do", step_fn(async |_, n: i64| Ok(n)), n);
        saga.returns(done.map(|n: i64| -> i64 { panic!("no answer to {n}") }))
    })
    .unwrap();
    let parent = Definition::build("parent", 1, |saga, n| {
        let answer = saga.child("ask", &child, n);
        saga.returns(answer)
    })
    .unwrap();
    let engine = engine(&MemoryJournal::new()).register(&parent).open().await.unwrap();
    let saga = engine.start(&parent, "k", 1).await.unwrap();
    let letters = async || engine.dead_letters(9).await.unwrap();
    until("set aside", async || !letters().await.is_empty()).await;
    let letters = letters().await;
    assert_eq!((letters.len(), &*letters[0].definition, letters[0].reason), (1, "child", AttentionReason::Unreadable));
    assert!(letters[0].error.contains("no answer to 1"), "{}", letters[0].error);
    assert_eq!(engine.status(saga.id()).await.unwrap().unwrap().status, SagaStatus::Waiting);
}

/// A recorder of metrics that panics for a while.
#[derive(Debug, Default)]
struct BrittleRecorder {
    broken: AtomicBool,
    refused: AtomicU32,
}

impl Recorder for BrittleRecorder {
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
        if key.name() == "saga_step_duration_seconds" && self.broken.load(Ordering::Relaxed) {
            self.refused.fetch_add(1, Ordering::Relaxed);
            panic!("as asked for");
        }
        Histogram::noop()
    }
}

#[tokio::test(start_paused = true)]
async fn a_saga_whose_driver_panics_is_taken_up_anew_in_peace_and_goes_on_when_it_can() {
    let recorder = BrittleRecorder::default();
    let _installed = metrics::set_default_local_recorder(&recorder);
    let (journal, definition) = (MemoryJournal::new(), echo());
    let engine = engine(&journal).register(&definition).open().await.unwrap();
    let saga = waiting(&engine, &definition, "k").await;
    recorder.broken.store(true, Ordering::Relaxed);
    go(&engine, "k", "").await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    let tries = recorder.refused.load(Ordering::Relaxed);
    assert!((5..=120).contains(&tries), "{tries} in a minute");
    recorder.broken.store(false, Ordering::Relaxed);
    assert_eq!(completed(&saga).await, "k");
}
