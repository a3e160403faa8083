//! Bad input gets a clear error before anything is written, and loses nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use saga_core::engine::{OpenError, StartError};
use saga_core::journal::{Journal, MemoryJournal};
use saga_core::machine::{AttentionReason, Resolution};
use saga_core::{
    Compensation, Definition, Event, Limits, Locks, Op, Outcome, Probe, RetryPolicy, Source as _, Step, StepContext,
    StepError, async_trait, step_fn,
};
use saga_testkit::publisher::RecordingPublisher;

use super::support::{completed, dead_letters, engine, quick, rolled_back};

fn echo(name: &str) -> Definition<String, String> {
    Definition::build(name, 1, |saga, input| {
        let step = saga.query("step", step_fn(async |_, text: String| Ok(text)), input);
        saga.returns(step)
    })
    .unwrap()
}

#[tokio::test(start_paused = true)]
async fn an_unknown_definition_is_refused() {
    let engine = engine(&MemoryJournal::new()).register(&echo("a")).open().await.unwrap();
    let refused = engine.start(&echo("b"), "k", String::new()).await;
    assert!(matches!(refused, Err(StartError::UnknownDefinition { definition, version: 1 }) if definition == "b"));
}

#[tokio::test(start_paused = true)]
async fn a_changed_definition_under_an_old_version_is_refused_with_a_diff() {
    let journal = MemoryJournal::new();
    engine(&journal).register(&echo("a")).open().await.unwrap();
    let changed = Definition::build("a", 1, |saga, input| {
        let step = saga.query("other-step", step_fn(async |_, text: String| Ok(text)), input);
        saga.returns(step)
    })
    .unwrap();
    let error = engine(&journal).register(&changed).open().await.unwrap_err();
    assert!(matches!(&error, OpenError::ChangedDefinition { version: 1, .. }));
    assert!(error.to_string().ends_with("- query step\n+ query other-step"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn the_same_key_with_another_input_is_a_conflict() {
    let definition = echo("a");
    let engine = engine(&MemoryJournal::new()).register(&definition).open().await.unwrap();
    let first = engine.start(&definition, "k", "one".to_owned()).await.unwrap();
    let second = engine.start(&definition, "k", "two".to_owned()).await;
    assert!(matches!(second, Err(StartError::KeyConflict { existing, .. }) if existing == first.id()));
    assert_eq!(completed(&first).await, "one");
}

#[tokio::test(start_paused = true)]
async fn keys_and_inputs_past_their_limits_are_refused() {
    let definition = echo("a");
    let journal = MemoryJournal::new();
    let mut limits = Limits::default();
    limits.payload_max_bytes = 10;
    let engine = engine(&journal).register(&definition).limits(limits).open().await.unwrap();
    let large = engine.start(&definition, "k", "123456789".to_owned()).await;
    assert!(matches!(large, Err(StartError::PayloadTooLarge { bytes: 11, max: 10 })));
    assert!(engine.find(&definition, "k").await.unwrap().is_none(), "nothing was written");
    assert_eq!(completed(&engine.start(&definition, "k", "12345678".to_owned()).await.unwrap()).await, "12345678");
    for key in ["", "a\0b", &"k".repeat(256)] {
        assert!(matches!(engine.start(&definition, key, String::new()).await, Err(StartError::BadKey { .. })));
    }
}

#[tokio::test(start_paused = true)]
async fn an_output_past_the_limit_is_an_effect_of_unknown_fate_and_is_undone() {
    let undone = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = undone.clone();
    let definition = Definition::build("large", 1, |saga, input| {
        let step = step_fn(async |_, n: usize| Ok("x".repeat(n))).compensate(move |_, _, outcome| {
            assert_eq!(outcome, Outcome::Unknown);
            count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            async { Ok(()) }
        });
        let step = saga.compensatable("step", step, input);
        saga.returns(step)
    })
    .unwrap();
    let mut limits = Limits::default();
    limits.payload_max_bytes = 100;
    let engine = engine(&MemoryJournal::new()).register(&definition).limits(limits).open().await.unwrap();
    let saga = engine.start(&definition, "k", 99).await.unwrap();
    assert_eq!(rolled_back(&saga).await, "step failed: the output has 101 bytes encoded, and payload_max_bytes is 100");
    assert_eq!(undone.load(std::sync::atomic::Ordering::SeqCst), 1);
    assert_eq!(completed(&engine.start(&definition, "k2", 98).await.unwrap()).await.len(), 98);
}

struct Count;

#[async_trait]
impl Step for Count {
    type Input = u32;
    type Output = u32;

    async fn run(&self, _: &StepContext, n: u32) -> Result<u32, StepError> {
        Ok(n)
    }
}

#[async_trait]
impl Compensation for Count {
    async fn compensate(&self, _: &StepContext, _: u32, _: Outcome<u32>) -> Result<(), StepError> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_payload_that_no_longer_decodes_stops_its_own_saga_alone() {
    let journal = MemoryJournal::new();
    // The old binary's input is a text, the new one's a number; names, kinds and order are the same.
    let old = Definition::build("decode", 1, |saga, input: saga_core::InputHandle<'_, String>| {
        let step = step_fn(async |_, text: String| Ok(text)).compensate(async |_, _, _: Outcome<String>| Ok(()));
        let step = saga.compensatable("step", step, input);
        saga.returns(step)
    })
    .unwrap();
    let new = Definition::build("decode", 1, |saga, input| {
        let step = saga.compensatable("step", Count, input);
        saga.returns(step)
    })
    .unwrap();
    let client = saga_core::Engine::builder(journal.clone()).register(&old).client_only().open().await.unwrap();
    let saga = client.start(&old, "k", "not a number".to_owned()).await.unwrap();
    let worker = engine(&journal).register(&new).open().await.unwrap();
    let letters = dead_letters(&saga).await;
    assert_eq!(letters[0].reason, AttentionReason::Undecodable);
    assert!(letters[0].error.contains("does not decode as u32"), "{}", letters[0].error);
    assert_eq!(completed(&worker.start(&new, "other", 3).await.unwrap()).await, 3);
    worker.shutdown(std::time::Duration::ZERO).await;
    // The binary that can read it goes on, once a human says so.
    let worker = engine(&journal).register(&old).open().await.unwrap();
    worker.operator().resolve(saga.id(), "step", Resolution::Retry, "ann", "old binary back").await.unwrap();
    assert_eq!(completed(&saga).await, "not a number");
}

#[tokio::test(start_paused = true)]
async fn a_history_that_cannot_be_read_is_set_aside_and_stops_nobody_else() {
    let journal = MemoryJournal::new();
    let definition = echo("a");
    let new = saga_core::journal::NewSaga {
        body: r#"[{"started":{"input":"x"}},{"from_the_future":{}}]"#.to_owned(),
        ..saga_core::engine::prepare_start(&definition, "k", &"x".to_owned()).unwrap()
    };
    journal.register(&[definition.outline().clone()]).await.unwrap();
    journal.start(None, std::slice::from_ref(&new)).await.unwrap();
    let engine = engine(&journal).register(&definition).open().await.unwrap();
    let letters = dead_letters(&engine.handle(&definition, new.id)).await;
    assert_eq!((letters[0].reason, letters[0].step.clone()), (AttentionReason::Unreadable, None));
    assert_eq!(completed(&engine.start(&definition, "k2", "y".to_owned()).await.unwrap()).await, "y");
    let resumed = engine.operator().resume(new.id, "ann", "try").await;
    assert!(matches!(resumed, Err(saga_core::engine::OperatorError::Unreadable { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_view_that_panics_stops_its_own_saga_alone() {
    use saga_core::Source as _;
    let definition = Definition::build("panics", 1, |saga, n| {
        let view = n.map(|n: i64| if n == 13 { panic!("unlucky") } else { n });
        let step = saga.query("step", step_fn(async |_, n: i64| Ok(n)), view);
        saga.returns(step)
    })
    .unwrap();
    let engine = engine(&MemoryJournal::new()).register(&definition).open().await.unwrap();
    let letters = dead_letters(&engine.start(&definition, "a", 13).await.unwrap()).await;
    assert_eq!(letters[0].reason, AttentionReason::Undecodable);
    assert!(letters[0].error.contains("unlucky"), "{}", letters[0].error);
    assert_eq!(completed(&engine.start(&definition, "b", 14).await.unwrap()).await, 14);
}

#[tokio::test(start_paused = true)]
async fn an_input_that_is_another_one_the_second_time_is_sent_to_nobody() {
    let (asked, sent) = (Arc::new(AtomicI64::new(0)), Arc::new(AtomicI64::new(0)));
    let noted = sent.clone();
    let definition = Definition::build("fickle", 1, |saga, n| {
        let pay = step_fn(move |_, _: i64| {
            noted.fetch_add(1, Ordering::SeqCst);
            async { Err::<i64, _>(StepError::retry("no answer")) }
        });
        let hold = step_fn(async |_, n: i64| Ok(n)).compensate(async |_, _: i64, _: Outcome<i64>| {
            tokio::time::sleep(Duration::from_secs(20)).await;
            Ok(())
        });
        let held = saga.compensatable("hold", hold, n);
        let price = held.map(move |n: i64| n + asked.fetch_add(1, Ordering::SeqCst));
        let paid = saga.query("pay", pay, price).retry(quick());
        saga.returns(paid)
    })
    .unwrap();
    let engine = engine(&MemoryJournal::new()).register(&definition).open().await.unwrap();
    let saga = engine.start(&definition, "k", 100).await.unwrap();
    assert_eq!(dead_letters(&saga).await[0].reason, AttentionReason::InputChanged);
    assert_eq!(sent.load(Ordering::SeqCst), 1, "under a key that is known with another price");
    // Who turns the saga back has decided about it.
    engine.operator().cancel(saga.id(), "ann", "not at that price").await.unwrap();
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(engine.dead_letters(10).await.unwrap().is_empty(), "while it still turns back");
    rolled_back(&saga).await;
}

/// A topic, a header, how long the payload is, and entities.
type Worked = (String, String, usize, Vec<String>);

#[tokio::test(start_paused = true)]
async fn what_a_step_works_out_has_limits_and_may_be_as_large_as_they_say() {
    let definition = Definition::build("worked", 1, |saga, input| {
        let event = |(topic, header, size, _): Worked| Event::new(topic, "x".repeat(size)).header("h", header);
        saga.publish("tell", input.map(event));
        let locks = saga.lock("lock", input.map(|(.., keys): Worked| keys), Duration::from_secs(60));
        let done = saga.query("done", step_fn(async |_, locks: Locks| Ok(locks.iter().count())), locks);
        saga.returns(done)
    })
    .unwrap();
    let mut limits = Limits::default();
    (limits.payload_max_bytes, limits.key_max_bytes, limits.items_max) = (200, 8, 3);
    let engine = engine(&MemoryJournal::new())
        .register(&definition)
        .publisher(RecordingPublisher::new())
        .limits(limits)
        .open()
        .await
        .unwrap();
    let keys = |long: usize, many: usize| (0..many).map(|nth| format!("{nth}{}", "k".repeat(long - 1))).collect();
    let text = |long: usize| "t".repeat(long);
    // Two of the bytes are its quotes.
    let largest: Worked = (text(8), text(8), 198, keys(8, 3));
    assert_eq!(completed(&engine.start(&definition, "largest", largest.clone()).await.unwrap()).await, 3);
    let cases: [(Worked, &str); 8] = [
        ((text(9), text(1), 1, vec![]), "the topic"),
        (("t\u{7}".to_owned(), text(1), 1, vec![]), "the topic"),
        ((text(1), text(9), 1, vec![]), "the header"),
        ((text(1), "\n".to_owned(), 1, vec![]), "the header"),
        ((text(1), text(1), 199, vec![]), "it has 201 bytes encoded, and payload_max_bytes is 200"),
        ((text(1), text(1), 1, keys(1, 4)), "it locks 4 entities, and items_max is 3"),
        ((text(1), text(1), 1, keys(9, 1)), "the entity"),
        ((text(1), text(1), 1, vec!["\t".to_owned()]), "the entity"),
    ];
    for (nth, (worked, says)) in cases.into_iter().enumerate() {
        let letters = dead_letters(&engine.start(&definition, &nth.to_string(), worked).await.unwrap()).await;
        assert!(letters[0].error.starts_with(says), "{says}: {}", letters[0].error);
    }
}

/// Does not answer, and could be asked about.
struct Silent;

#[async_trait]
impl Step for Silent {
    type Input = i64;
    type Output = i64;

    async fn run(&self, _: &StepContext, _: i64) -> Result<i64, StepError> {
        Err(StepError::retry("no answer"))
    }

    async fn probe(&self, _: &StepContext, n: i64) -> Result<Probe<i64>, StepError> {
        Ok(Probe::Applied(n))
    }
}

#[async_trait]
impl Compensation for Silent {
    async fn compensate(&self, _: &StepContext, _: i64, _: Outcome<i64>) -> Result<(), StepError> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_step_that_cannot_be_asked_about_keeps_the_saga_from_going_the_way_that_it_goes() {
    let fickle = || {
        let asked = AtomicI64::new(0);
        move |n: i64| n + asked.fetch_add(1, Ordering::SeqCst)
    };
    let forward = Definition::build("forward", 1, |saga, n| {
        let taken = saga.pivot("take", Silent, n.map(fickle())).retry(RetryPolicy::never());
        saga.returns(taken)
    })
    .unwrap();
    let back = Definition::build("back", 1, |saga, n| {
        let held = saga.compensatable("hold", Silent, n.map(fickle())).retry(RetryPolicy::never());
        saga.returns(held)
    })
    .unwrap();
    let engine = engine(&MemoryJournal::new()).register(&forward).register(&back).open().await.unwrap();
    for (definition, waits) in [(forward, Op::Run), (back, Op::Compensate)] {
        let letters = dead_letters(&engine.start(&definition, "k", 1).await.unwrap()).await;
        assert_eq!((letters[0].reason, letters[0].op), (AttentionReason::InputChanged, waits), "{}", definition.name());
    }
}
