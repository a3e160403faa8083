//! S06: how long a key is good for, and when another one may be taken.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use saga_core::journal::MemoryJournal;
use saga_core::{
    Compensation, Definition, IdempotencyKey, Outcome, Probe, RetryPolicy, Step, StepContext, StepError, async_trait,
};

use super::support::{completed, dead_letters, engine, rolled_back, unhurried};

/// A participant that remembers keys only so long, or answers a key that failed with the same failure.
#[derive(Clone, Default)]
struct Participant(Arc<Mutex<Books>>);

#[derive(Default)]
struct Books {
    /// What is in the requests, in order: the key, and whether it had its effect.
    calls: Vec<(IdempotencyKey, bool)>,
    failures: BTreeMap<IdempotencyKey, &'static str>,
    effects: Vec<IdempotencyKey>,
    probes: u32,
    /// How the nth call ends: does it have its effect, and is it answered?
    script: Vec<(bool, bool)>,
    /// Whether the probe can tell.
    silent: bool,
}

#[async_trait]
impl Step for Participant {
    type Input = i64;
    type Output = u32;

    async fn run(&self, cx: &StepContext, _: i64) -> Result<u32, StepError> {
        let mut books = self.0.lock().unwrap();
        let nth = books.calls.len();
        let (applies, answers) = books.script.get(nth).copied().unwrap_or((true, true));
        books.calls.push((cx.key(), applies));
        if let Some(failure) = books.failures.get(&cx.key()) {
            return Err(StepError::retry(*failure));
        }
        if applies {
            books.effects.push(cx.key());
        }
        if answers {
            return Ok(cx.generation());
        }
        books.failures.insert(cx.key(), "500, and again under this key");
        Err(StepError::retry("500"))
    }

    async fn probe(&self, cx: &StepContext, _: i64) -> Result<Probe<u32>, StepError> {
        let mut books = self.0.lock().unwrap();
        books.probes += 1;
        Ok(match books.effects.contains(&cx.step_key()) {
            _ if books.silent => Probe::Unknown,
            true => Probe::Applied(cx.generation()),
            false => Probe::NotApplied,
        })
    }
}

#[async_trait]
impl Compensation for Participant {
    async fn compensate(&self, cx: &StepContext, _: i64, _: Outcome<u32>) -> Result<(), StepError> {
        self.0.lock().unwrap().effects.retain(|key| *key != cx.step_key());
        Ok(())
    }
}

impl Participant {
    fn scripted(script: &[(bool, bool)]) -> Self {
        let participant = Self::default();
        participant.0.lock().unwrap().script = script.to_vec();
        participant
    }

    fn keys(&self) -> Vec<IdempotencyKey> {
        self.0.lock().unwrap().calls.iter().map(|(key, _)| *key).collect()
    }
}

fn replaying(participant: &Participant) -> Definition<i64, u32> {
    Definition::build("replaying", 1, |saga, input| {
        let step = saga.compensatable("step", participant.clone(), input).replays_errors();
        let step = step.retry(RetryPolicy::fixed(Duration::from_millis(10)).attempts(4));
        saga.returns(step)
    })
    .unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_replayed_error_is_left_behind_with_a_new_key_once_nothing_is_proven_to_have_happened() {
    let participant = Participant::scripted(&[(false, false), (false, false)]);
    let definition = replaying(&participant);
    let engine = engine(&MemoryJournal::new()).register(&definition).open().await.unwrap();
    assert_eq!(completed(&engine.start(&definition, "k", 1).await.unwrap()).await, 2);
    let keys = participant.keys();
    assert_eq!(keys.len(), 3);
    assert!(keys[0] != keys[1] && keys[1] != keys[2] && keys[0] != keys[2], "one key for each generation");
    assert_eq!(participant.0.lock().unwrap().effects, [keys[2]], "and one effect");
}

#[tokio::test(start_paused = true)]
async fn an_error_whose_effect_had_happened_is_found_and_not_done_twice() {
    let participant = Participant::scripted(&[(true, false)]);
    let definition = replaying(&participant);
    let engine = engine(&MemoryJournal::new()).register(&definition).open().await.unwrap();
    assert_eq!(completed(&engine.start(&definition, "k", 1).await.unwrap()).await, 0);
    assert_eq!(participant.keys().len(), 1);
    assert_eq!(participant.0.lock().unwrap().effects.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn no_new_key_is_taken_without_proof() {
    let participant = Participant::scripted(&[(true, false)]);
    participant.0.lock().unwrap().silent = true;
    let definition = replaying(&participant);
    let engine = engine(&MemoryJournal::new()).register(&definition).open().await.unwrap();
    rolled_back(&engine.start(&definition, "k", 1).await.unwrap()).await;
    assert_eq!(participant.keys().len(), 1);
    assert!(participant.0.lock().unwrap().effects.is_empty(), "undone, under the key that it ran under");
}

#[tokio::test(start_paused = true)]
async fn a_key_that_may_be_forgotten_is_asked_about_and_never_sent_again() {
    let participant = Participant::scripted(&[(false, false), (true, false)]);
    let definition = Definition::build("forgetful", 1, |saga, input| {
        let step = saga.compensatable("step", participant.clone(), input).key_horizon(Duration::from_secs(24 * 3600));
        let retry = RetryPolicy::fixed(Duration::from_secs(25 * 3600)).cap(Duration::from_secs(25 * 3600)).attempts(4);
        let step = step.retry(retry.jitter(saga_core::Jitter::None));
        saga.returns(step)
    })
    .unwrap();
    let engine = unhurried(&MemoryJournal::new()).register(&definition).open().await.unwrap();
    // The first key is forgotten by the next attempt: asked about, proven dead, replaced. The second had
    // its effect, which is found out by asking.
    assert_eq!(completed(&engine.start(&definition, "k", 1).await.unwrap()).await, 1);
    let keys = participant.keys();
    assert_eq!(keys.len(), 2);
    assert_ne!(keys[0], keys[1]);
    let books = participant.0.lock().unwrap();
    assert_eq!((books.effects.len(), books.probes), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn within_its_horizon_a_key_is_sent_again_and_nobody_is_asked() {
    let participant = Participant::default();
    participant.0.lock().unwrap().script = vec![(false, false)];
    let definition = Definition::build("remembering", 1, |saga, input| {
        let step = saga.compensatable("step", participant.clone(), input).key_horizon(Duration::from_secs(60));
        saga.returns(step.retry(RetryPolicy::fixed(Duration::from_secs(1)).attempts(3)))
    })
    .unwrap();
    let engine = engine(&MemoryJournal::new()).register(&definition).open().await.unwrap();
    rolled_back(&engine.start(&definition, "k", 1).await.unwrap()).await;
    let keys = participant.keys();
    assert_eq!(keys.len(), 3);
    assert!(keys.iter().all(|key| *key == keys[0]), "one operation, one key");
}

#[tokio::test(start_paused = true)]
async fn a_compensation_whose_key_may_be_forgotten_calls_a_human() {
    #[derive(Clone)]
    struct Refund;
    #[async_trait]
    impl Step for Refund {
        type Input = i64;
        type Output = i64;
        async fn run(&self, _: &StepContext, n: i64) -> Result<i64, StepError> {
            Ok(n)
        }
    }
    #[async_trait]
    impl Compensation for Refund {
        async fn compensate(&self, cx: &StepContext, _: i64, _: Outcome<i64>) -> Result<(), StepError> {
            if cx.attempt() < 3 { Err(StepError::retry("no answer")) } else { Ok(()) }
        }
    }
    let definition = Definition::build("refund", 1, |saga, input| {
        let hour = Duration::from_secs(3600);
        let patience = RetryPolicy::fixed(hour).cap(hour).attempts(100).jitter(saga_core::Jitter::None);
        let paid = saga.compensatable("pay", Refund, input).compensation_retry(patience);
        let paid = paid.compensation_key_horizon(hour * 2);
        let no = saga_core::step_fn(async |_, _: i64| Err::<(), _>(StepError::rejected("no")));
        let no = saga.pivot("no", no, paid);
        saga.returns(no)
    })
    .unwrap();
    let engine = unhurried(&MemoryJournal::new()).register(&definition).open().await.unwrap();
    let saga = engine.start(&definition, "k", 1).await.unwrap();
    let letters = dead_letters(&saga).await;
    assert_eq!((letters[0].reason.as_str(), letters[0].attempts), ("key-expired", 2));
    let retry = saga_core::machine::Resolution::Retry;
    engine.operator().resolve(saga.id(), "pay", retry, "ann", "no refund in the gateway's books").await.unwrap();
    super::support::until("over", async || {
        matches!(saga.outcome_now().await.unwrap(), Some(saga_core::SagaOutcome::RolledBack(_)))
    })
    .await;
}
