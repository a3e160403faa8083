//! With a codec, the journal, the dead letters and the log hold nothing of a payload; and nothing else changes.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use saga_core::codec::AesGcmCodec;
use saga_core::engine::{OperatorError, OutcomeError, Resolution};
use saga_core::journal::{Journal, ListFilter, MemoryJournal, Message, NewSaga, SagaStatus};
use saga_core::machine::{AttentionReason, Record};
use saga_core::{
    Definition, Engine, Event, InputHandle, Outcome, Payload, Probe, SagaId, Source as _, Step, StepContext, StepError,
    async_trait, step_fn,
};

use saga_testkit::publisher::{PublishFault, RecordingPublisher};

use super::support::{completed, dead_letters, engine, quick, unhurried, until};

/// What must be found nowhere.
const MARKER: &str = "personal4711";
const HOUR: Duration = Duration::from_secs(3600);

fn ring(kid: &str, key: u8) -> AesGcmCodec {
    AesGcmCodec::new(kid, [key; 32]).unwrap()
}

fn sealed<I: saga_core::Checkpoint, O: Send + 'static>(
    definition: &Definition<I, O>,
    codec: AesGcmCodec,
) -> Definition<I, O> {
    definition.clone().with_codec(Arc::new(codec))
}

/// Everything that the journal has, as one text.
fn dump(journal: &MemoryJournal) -> String {
    format!("{journal:?}")
}

/// All causes of an error, in every form that can reach a log.
fn shown(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = format!("{error} {error:?}");
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text} {error} {error:?}");
        cause = error.source();
    }
    text
}

/// The log, as one text.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    fn capture(&self) -> tracing::subscriber::DefaultGuard {
        let log = self.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false)
            .with_writer(move || log.clone())
            .finish();
        tracing::subscriber::set_default(subscriber)
    }
}

impl io::Write for Log {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(text)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Its answer is lost, and its probe finds what it left.
struct Lossy;

#[async_trait]
impl Step for Lossy {
    type Input = String;
    type Output = String;

    async fn run(&self, _cx: &StepContext, _: String) -> Result<String, StepError> {
        Err(StepError::retry("no answer"))
    }

    async fn probe(&self, _cx: &StepContext, text: String) -> Result<Probe<String>, StepError> {
        Ok(Probe::Applied(text))
    }
}

/// Has a payload of every kind: an input, outputs, a decision, an answer of a probe, a signal, a supplied result.
fn all_kinds() -> Definition<String, String> {
    Definition::build("all-kinds", 1, |saga, text| {
        let hold =
            step_fn(async |_, text: String| Ok(text)).compensate(async |_, _: String, _: Outcome<String>| Ok(()));
        let held = saga.compensatable("hold", hold, text);
        let signal = saga.wait_for::<String, _>("wait", "said", held.map(|_: String| Some(HOUR)));
        let taken = saga.pivot("take", Lossy, held).retry(saga_core::RetryPolicy::never());
        let panicking = step_fn(async |_, text: String| if text.is_empty() { Ok(text) } else { panic!("{text}") });
        let told = saga.retryable("tell", panicking, taken).retry(quick());
        let join = step_fn(async |_, (told, signal): (String, Option<String>)| Ok(told + &signal.unwrap_or_default()));
        let joined = saga.retryable("join", join, (told, signal));
        saga.returns(joined)
    })
    .unwrap()
}

#[tokio::test(start_paused = true)]
async fn no_payload_stands_in_the_journal_the_dead_letters_or_the_log() {
    let (log, journal) = (Log::default(), MemoryJournal::new());
    let _captured = log.capture();
    let definition = sealed(&all_kinds(), ring("k1", 1).with_digest_key([9; 32]));
    let engine = engine(&journal).register(&definition).open().await.unwrap();
    // One signal before the saga, one after.
    engine.signal("all-kinds", "k", "said", &format!("{MARKER} early"), "m-1").await.unwrap();
    assert!(!dump(&journal).contains(MARKER));
    let saga = engine.start(&definition, "k", MARKER.to_owned()).await.unwrap();
    engine.signal("all-kinds", "k", "said", &format!("{MARKER} late"), "m-2").await.unwrap();
    let letters = dead_letters(&saga).await;
    assert!(letters[0].error.contains("panicked"), "{letters:?}");
    assert!(!format!("{letters:?}").contains(MARKER), "{letters:?}");
    let supply = |text: &str| Resolution::Supply(Payload::from_json(text.to_owned()).unwrap());
    let wrong = supply(&format!("{{\"a\":\"{MARKER}\"}}"));
    let refused = engine.operator().resolve(saga.id(), "tell", wrong, "ann", "seen").await.unwrap_err();
    assert!(matches!(refused, OperatorError::BadResult { .. }) && !shown(&refused).contains(MARKER), "{refused:?}");
    let right = supply(&format!("\"{MARKER} supplied \""));
    engine.operator().resolve(saga.id(), "tell", right, "ann", "seen").await.unwrap();
    assert_eq!(completed(&saga).await, format!("{MARKER} supplied {MARKER} early"));
    let (dump, log) = (dump(&journal), log.text());
    assert!(dump.contains("A256GCM-HS256") && !dump.contains(MARKER), "{dump}");
    assert!(log.contains("saga needs attention") && !log.contains(MARKER), "{log}");
    // Whoever holds the key reads all of it.
    let history = engine.history(saga.id()).await.unwrap().unwrap();
    let readable =
        format!("{:?}", history.iter().flat_map(|turn| &turn.records).map(serde_json::to_string).collect::<Vec<_>>());
    for part in ["early", "late", "supplied"] {
        assert!(readable.contains(&format!("{MARKER} {part}")), "{readable}");
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_codec_the_same_search_finds_all_of_it() {
    let (log, journal) = (Log::default(), MemoryJournal::new());
    let _captured = log.capture();
    let definition = all_kinds();
    let engine = engine(&journal).register(&definition).open().await.unwrap();
    engine.signal("all-kinds", "k", "said", &MARKER.to_owned(), "m-1").await.unwrap();
    assert!(dump(&journal).contains(MARKER));
    let saga = engine.start(&definition, "k", MARKER.to_owned()).await.unwrap();
    let letters = dead_letters(&saga).await;
    assert!(letters[0].error.contains(MARKER));
    until("in the log", async || log.text().contains(MARKER)).await;
    let plain = Payload::from_json(format!("\"{MARKER}\"")).unwrap().digest();
    assert!(dump(&journal).contains(&plain.to_string()));
}

/// The same definition under the same name, for a number: what a wrong deploy looks like.
fn of_number() -> Definition<i64, i64> {
    Definition::build("echo", 1, |saga, n| {
        let waited = saga.wait_for::<i64, _>("wait", "go", n.map(|_: i64| Some(HOUR)));
        let said = saga.query("say", step_fn(async |_, (n, _): (i64, Option<i64>)| Ok(n)), (n, waited));
        saga.returns(said)
    })
    .unwrap()
}

fn echo() -> Definition<String, String> {
    Definition::build("echo", 1, |saga, text| {
        let waited = saga.wait_for::<String, _>("wait", "go", text.map(|_: String| Some(HOUR)));
        let say = async |_, (text, went): (String, Option<String>)| Ok(format!("{text} {}", went.unwrap_or_default()));
        let said = saga.query("say", step_fn(say), (text, waited));
        saga.returns(said)
    })
    .unwrap()
}

/// Starts it, and stops the worker once it waits for its signal.
async fn waiting(journal: &MemoryJournal, definition: &Definition<String, String>, key: &str) -> SagaId {
    let engine = engine(journal).register(definition).open().await.unwrap();
    let saga = engine.start(definition, key, MARKER.to_owned()).await.unwrap().id();
    standing(&engine, saga, SagaStatus::Waiting).await;
    engine.shutdown(Duration::from_secs(1)).await;
    saga
}

async fn standing(engine: &Engine, saga: SagaId, status: SagaStatus) {
    until("standing", async || engine.status(saga).await.unwrap().unwrap().status == status).await;
}

async fn finish(engine: &Engine, definition: &Definition<String, String>, saga: SagaId) {
    engine.signal("echo", "k", "go", &"went".to_owned(), "go").await.unwrap();
    assert_eq!(completed(&engine.handle(definition, saga)).await, format!("{MARKER} went"));
}

#[tokio::test(start_paused = true)]
async fn what_does_not_decode_is_not_quoted() {
    let (log, journal) = (Log::default(), MemoryJournal::new());
    let _captured = log.capture();
    let (text, number) = (sealed(&echo(), ring("k1", 1)), sealed_number(ring("k1", 1)));
    let saga = waiting(&journal, &text, "k").await;
    let engine = unhurried(&journal).register(&number).open().await.unwrap();
    // A message that is no message.
    let body = format!("{{\"signal\":\"{MARKER}\"}}");
    let message = Message { definition: "echo".to_owned(), key: "k".to_owned(), id: "bad".to_owned(), body };
    journal.send(&[message]).await.unwrap();
    engine.signal("echo", "k", "go", &MARKER.to_owned(), "go").await.unwrap();
    let letters = dead_letters(&engine.handle(&number, saga)).await;
    assert_eq!(letters[0].reason, AttentionReason::Undecodable);
    assert!(letters[0].error.contains("i64") && !letters[0].error.contains(MARKER), "{letters:?}");
    let history = engine.history(saga).await.unwrap().unwrap();
    let unread = history.iter().flat_map(|turn| &turn.records).find_map(|record| match record {
        Record::Unread { error, .. } => Some(error.clone()),
        _ => None,
    });
    assert!(unread.is_some_and(|error| !error.contains(MARKER)));
    let report = engine.check().await.unwrap();
    assert!(!report.undecodable.is_empty() && !format!("{report:?}").contains(MARKER), "{report:?}");
    assert!(!log.text().contains(MARKER), "{}", log.text());
}

fn sealed_number(codec: AesGcmCodec) -> Definition<i64, i64> {
    sealed(&of_number(), codec)
}

#[tokio::test(start_paused = true)]
async fn an_output_that_does_not_decode_is_not_quoted() {
    let journal = MemoryJournal::new();
    let (text, number) = (sealed(&echo(), ring("k1", 1)), sealed_number(ring("k1", 1)));
    let saga = waiting(&journal, &text, "k").await;
    let engine = engine(&journal).register(&text).open().await.unwrap();
    finish(&engine, &text, saga).await;
    let error = engine.handle(&number, saga).outcome().await.unwrap_err();
    assert!(matches!(error, OutcomeError::Undecodable { .. }) && !shown(&error).contains(MARKER), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn what_was_written_before_the_codec_stays_readable() {
    let (plain, journal) = (echo(), MemoryJournal::new());
    let saga = waiting(&journal, &plain, "k").await;
    let definition = sealed(&plain, ring("k1", 1).with_digest_key([9; 32]));
    let engine = engine(&journal).register(&definition).open().await.unwrap();
    // Found again though fingerprints are keyed by now.
    assert_eq!(engine.start(&definition, "k", MARKER.to_owned()).await.unwrap().id(), saga);
    assert!(engine.start(&definition, "k", "another".to_owned()).await.is_err());
    finish(&engine, &definition, saga).await;
}

#[tokio::test(start_paused = true)]
async fn keys_rotate_under_running_sagas() {
    let journal = MemoryJournal::new();
    let saga = waiting(&journal, &sealed(&echo(), ring("k1", 1)), "k").await;
    let definition = sealed(&echo(), ring("k2", 2).with_key("k1", [1; 32]).unwrap());
    let engine = engine(&journal).register(&definition).open().await.unwrap();
    finish(&engine, &definition, saga).await;
    let dump = dump(&journal);
    assert!(dump.contains("k1\\\"") && dump.contains("k2\\\""), "{dump}");
}

/// The saga is set aside with an error that says this, and goes on once it can be read.
async fn set_aside_until_the_key_is_there(wrong: &Definition<String, String>, says: &str) {
    let (right, journal) = (sealed(&echo(), ring("k1", 1)), MemoryJournal::new());
    let saga = waiting(&journal, &right, "k").await;
    {
        let engine = unhurried(&journal).register(wrong).open().await.unwrap();
        let report = engine.check().await.unwrap();
        assert!(report.unreadable.iter().any(|(id, why)| *id == saga && why.contains(says)), "{report:?}");
        // Its time is up, or an operator asks: somebody reads it.
        tokio::time::sleep(HOUR).await;
        let letters = dead_letters(&engine.handle(wrong, saga)).await;
        assert_eq!((letters.len(), letters[0].reason), (1, AttentionReason::Unreadable));
        assert!(letters[0].error.contains(says) && letters[0].error.contains("k1"), "{}", letters[0].error);
        let refused = engine.operator().resume(saga, "ann", "the key is there").await.unwrap_err();
        assert!(matches!(&refused, OperatorError::Unreadable { .. }) && shown(&refused).contains("k1"), "{refused:?}");
        // One that this worker can read is none the worse for it.
        let other = engine.start(wrong, "other", "o".to_owned()).await.unwrap();
        engine.signal("echo", "other", "go", &"went".to_owned(), "go").await.unwrap();
        assert_eq!(completed(&other).await, "o went");
        engine.shutdown(Duration::from_secs(1)).await;
    }
    let engine = engine(&journal).register(&right).open().await.unwrap();
    engine.operator().resume(saga, "ann", "the key is there").await.unwrap();
    assert_eq!(completed(&engine.handle(&right, saga)).await, format!("{MARKER} "));
}

#[tokio::test(start_paused = true)]
async fn a_saga_whose_key_is_missing_is_set_aside_and_goes_on_once_it_is_there() {
    set_aside_until_the_key_is_there(&sealed(&echo(), ring("k2", 2)), "not on the key ring").await;
}

#[tokio::test(start_paused = true)]
async fn a_saga_whose_definition_has_lost_its_codec_is_set_aside() {
    set_aside_until_the_key_is_there(&echo(), "has no codec").await;
}

#[tokio::test(start_paused = true)]
async fn a_saga_whose_key_is_another_of_the_same_id_is_set_aside() {
    set_aside_until_the_key_is_there(&sealed(&echo(), ring("k1", 7)), "does not open").await;
}

#[tokio::test(start_paused = true)]
async fn payloads_cannot_be_swapped_between_sagas() {
    let (definition, journal) = (sealed(&echo(), ring("k1", 1)), MemoryJournal::new());
    let (ours, theirs) = (waiting(&journal, &definition, "k").await, SagaId::new());
    let history = journal.load(&[ours]).await.unwrap().remove(0);
    let (header, body) = (history.header, history.turns[0].body.clone());
    let forged = MemoryJournal::new();
    let (key, nonce) = ("k".to_owned(), 1);
    let new = NewSaga { id: theirs, definition: header.definition, version: 1, key, input: header.input, body, nonce };
    forged.start(None, &[new]).await.unwrap();
    let engine = engine(&forged).register(&definition).open().await.unwrap();
    let letters = dead_letters(&engine.handle(&definition, theirs)).await;
    assert_eq!(letters[0].reason, AttentionReason::Unreadable);
    assert!(letters[0].error.contains("k1"), "{}", letters[0].error);
}

#[tokio::test(start_paused = true)]
async fn a_signal_that_does_not_open_is_kept_until_its_key_is_there() {
    let journal = MemoryJournal::new();
    let old = sealed(&echo(), ring("k1", 1));
    let new = sealed(&echo(), ring("k2", 2).with_key("k1", [1; 32]).unwrap());
    let saga = waiting(&journal, &old, "k").await;
    {
        // The sender was deployed before the worker.
        let sender = engine(&journal).register(&new).client_only().open().await.unwrap();
        sender.signal("echo", "k", "go", &"went".to_owned(), "go").await.unwrap();
        let worker = engine(&journal).register(&old).open().await.unwrap();
        let letters = dead_letters(&worker.handle(&old, saga)).await;
        assert_eq!((letters.len(), letters[0].reason), (1, AttentionReason::Unreadable));
        assert!(letters[0].error.contains("k2") && letters[0].error.contains("go"), "{}", letters[0].error);
        worker.shutdown(Duration::from_secs(1)).await;
    }
    let turns = journal.load(&[saga]).await.unwrap()[0].turns.len();
    let worker = engine(&journal).register(&new).open().await.unwrap();
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(journal.load(&[saga]).await.unwrap()[0].turns.len(), turns, "it waits for the operator");
    worker.operator().resume(saga, "ann", "the key is there").await.unwrap();
    assert_eq!(completed(&worker.handle(&new, saga)).await, format!("{MARKER} went"));
}

#[tokio::test(start_paused = true)]
async fn a_signal_cannot_be_sent_on_to_another_saga() {
    let journal = MemoryJournal::new();
    let definition = sealed(&echo(), ring("k1", 1));
    let saga = waiting(&journal, &definition, "k").await;
    // Sealed for another start key.
    let lure = MemoryJournal::new();
    let sender = engine(&lure).register(&definition).client_only().open().await.unwrap();
    sender.signal("echo", "other", "go", &"went".to_owned(), "go").await.unwrap();
    let text = dump(&lure).replace("\\\"", "\"");
    let begin = text.find("{\"signal\"").unwrap();
    let body = &text[begin..begin + text[begin..].find("}}}").unwrap() + 3];
    let message =
        Message { definition: "echo".to_owned(), key: "k".to_owned(), id: "m".to_owned(), body: body.to_owned() };
    journal.send(&[message]).await.unwrap();
    let engine = engine(&journal).register(&definition).open().await.unwrap();
    let letters = dead_letters(&engine.handle(&definition, saga)).await;
    assert!(letters[0].error.contains("does not open"), "{}", letters[0].error);
}

#[tokio::test(start_paused = true)]
async fn fingerprints_are_keyed_and_starts_stay_idempotent() {
    let journal = MemoryJournal::new();
    let definition = sealed(&echo(), ring("k1", 1).with_digest_key([9; 32]));
    let saga = waiting(&journal, &definition, "k").await;
    let plain = Payload::from_json(format!("\"{MARKER}\"")).unwrap().digest();
    assert!(!dump(&journal).contains(&plain.to_string()));
    let engine = engine(&journal).register(&definition).open().await.unwrap();
    assert_eq!(engine.start(&definition, "k", MARKER.to_owned()).await.unwrap().id(), saga);
    finish(&engine, &definition, saga).await;
    assert!(!dump(&journal).contains(&plain.to_string()));
}

#[tokio::test(start_paused = true)]
async fn a_history_is_readable_without_the_key_but_for_its_payloads() {
    let (definition, journal) = (sealed(&echo(), ring("k1", 1)), MemoryJournal::new());
    let saga = waiting(&journal, &definition, "k").await;
    let stranger = engine(&journal).client_only().open().await.unwrap();
    let history = stranger.history(saga).await.unwrap().unwrap();
    let Record::Started { input, .. } = &history[0].records[0] else { panic!("{history:?}") };
    assert!(input.as_json().contains("\"kid\":\"k1\"") && !input.as_json().contains(MARKER));
    assert_eq!(stranger.list(&ListFilter::default(), 10).await.unwrap().len(), 1);
}

/// A signal comes while nobody can read the saga: once, and it is there when somebody can.
async fn signal_while_unreadable(wrong: &Definition<String, String>) {
    let (right, journal) = (sealed(&echo(), ring("k1", 1)), MemoryJournal::new());
    let saga = waiting(&journal, &right, "k").await;
    let turns = async || journal.load(&[saga]).await.unwrap()[0].turns.len();
    {
        let sender = engine(&journal).register(&right).client_only().open().await.unwrap();
        sender.signal("echo", "k", "go", &"went".to_owned(), "go").await.unwrap();
        let worker = engine(&journal).register(wrong).open().await.unwrap();
        let letters = dead_letters(&worker.handle(wrong, saga)).await;
        assert_eq!((letters.len(), letters[0].reason), (1, AttentionReason::Unreadable));
        let before = turns().await;
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(turns().await, before, "it is not set aside again and again");
        worker.shutdown(Duration::from_secs(1)).await;
    }
    assert!(!dump(&journal).contains("went"));
    let worker = engine(&journal).register(&right).open().await.unwrap();
    worker.operator().resume(saga, "ann", "the key is there").await.unwrap();
    assert_eq!(completed(&worker.handle(&right, saga)).await, format!("{MARKER} went"));
}

#[tokio::test(start_paused = true)]
async fn a_signal_to_a_saga_that_cannot_be_read_is_taken_in_once_and_kept() {
    signal_while_unreadable(&sealed(&echo(), ring("k2", 2))).await;
    signal_while_unreadable(&echo()).await;
}

#[tokio::test(start_paused = true)]
async fn events_lie_sealed_in_the_outbox_and_are_published_opened() {
    let (journal, publisher) = (MemoryJournal::new(), RecordingPublisher::new());
    let telling = Definition::build("telling", 1, |saga, text: InputHandle<'_, String>| {
        saga.publish("tell", text.map(|text: String| Event::new("told", text)));
        saga.returns(text)
    })
    .unwrap();
    let definition = sealed(&telling, ring("k1", 1));
    publisher.fail_topic("told", Some(PublishFault::Transient));
    let engine = engine(&journal).register(&definition).publisher(publisher.clone()).open().await.unwrap();
    completed(&engine.start(&definition, "k", MARKER.to_owned()).await.unwrap()).await;
    until("tried", async || publisher.calls() > 0).await;
    assert!(!dump(&journal).contains(MARKER));
    publisher.fail_topic("told", None);
    until("published", async || !publisher.published().is_empty()).await;
    assert_eq!(publisher.published()[0].payload, format!("\"{MARKER}\""));
}

#[tokio::test(start_paused = true)]
async fn children_and_their_outputs_are_sealed_each_with_its_own_codec() {
    let journal = MemoryJournal::new();
    let child = Definition::build("child", 1, |saga, text: InputHandle<'_, String>| {
        let said = saga.query("say", step_fn(async |_, text: String| Ok(text + " below")), text);
        saga.returns(said)
    })
    .unwrap();
    let child = sealed(&child, ring("child", 2));
    let parent = Definition::build("parent", 1, |saga, text: InputHandle<'_, String>| {
        let below = saga.child("below", &child, text);
        saga.returns(below)
    })
    .unwrap();
    let parent = sealed(&parent, ring("parent", 3));
    let engine = engine(&journal).register(&parent).open().await.unwrap();
    let saga = engine.start(&parent, "k", MARKER.to_owned()).await.unwrap();
    assert_eq!(completed(&saga).await, format!("{MARKER} below"));
    let dump = dump(&journal);
    assert!(!dump.contains(MARKER), "{dump}");
    assert!(dump.contains("child\\\",\\\"n") && dump.contains("parent\\\",\\\"n"), "{dump}");
}

#[tokio::test(start_paused = true)]
async fn a_signal_that_comes_too_late_stays_sealed_before_the_human_who_looks_at_it() {
    let journal = MemoryJournal::new();
    let definition = sealed(&echo(), ring("k1", 1));
    let engine = engine(&journal).register(&definition).open().await.unwrap();
    let saga = engine.start(&definition, "k", "o".to_owned()).await.unwrap();
    // One that no step takes, and one that comes when all is over.
    engine.signal("echo", "k", "go", &"went".to_owned(), "m-1").await.unwrap();
    engine.signal("echo", "k", "go", &MARKER.to_owned(), "m-2").await.unwrap();
    completed(&saga).await;
    engine.signal("echo", "k", "go", &MARKER.to_owned(), "m-3").await.unwrap();
    until("two dead letters", async || engine.dead_letters(10).await.unwrap().len() == 2).await;
    assert!(!dump(&journal).contains(MARKER), "{}", dump(&journal));
}

#[tokio::test(start_paused = true)]
async fn each_child_is_sealed_by_its_own_codec() {
    let child = |name: &str| {
        Definition::build(name, 1, |saga, text: InputHandle<'_, String>| {
            let done = saga.query("read", step_fn(async |_, text: String| Ok(text.len())), text);
            saga.returns(done)
        })
        .unwrap()
    };
    let (open, secret) = (child("open"), sealed(&child("secret"), ring("k1", 1)));
    let parent = Definition::build("parent", 1, |saga, text: InputHandle<'_, String>| {
        let length = saga.child("first", &open, text.map(|_: String| "nothing".to_owned()));
        let both = saga.child("second", &secret, (length, text).map(|(_, text): (usize, String)| text));
        saga.returns(both)
    })
    .unwrap();
    let journal = MemoryJournal::new();
    let engine = engine(&journal).register(&sealed(&parent, ring("k1", 1))).open().await.unwrap();
    assert_eq!(
        completed(&engine.start(&sealed(&parent, ring("k1", 1)), "k", MARKER.to_owned()).await.unwrap()).await,
        12
    );
    assert!(!dump(&journal).contains(MARKER), "{}", dump(&journal));
    assert!(dump(&journal).contains("nothing"), "what the first child has is not sealed");
}
