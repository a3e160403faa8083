//! S05: a request that was lost on its way may be carried out after its compensation.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use saga_core::journal::{MemoryJournal, SagaStatus};
use saga_core::{
    Compensation, Definition, IdempotencyKey, Outcome, Probe, RetryPolicy, SagaId, Step, StepContext, StepError,
    async_trait, step_fn,
};

use super::support::{World, completed, dead_letters, rolled_back, unhurried, until};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A participant without tombstones: the request that it gets is carried out after a while.
#[derive(Clone, Default)]
struct Slow {
    world: World,
    lands_after: Duration,
    gone: Arc<Mutex<bool>>,
    holds: Arc<Mutex<Vec<IdempotencyKey>>>,
}

impl Slow {
    fn holds(&self) -> usize {
        self.holds.lock().unwrap().len()
    }
}

#[async_trait]
impl Step for Slow {
    type Input = i64;
    type Output = String;

    async fn run(&self, cx: &StepContext, _: i64) -> Result<String, StepError> {
        let (holds, key, after) = (self.holds.clone(), cx.key(), self.lands_after);
        tokio::spawn(async move {
            tokio::time::sleep(after).await;
            holds.lock().unwrap().push(key);
        });
        Err(StepError::retry("no answer"))
    }

    async fn probe(&self, cx: &StepContext, _: i64) -> Result<Probe<String>, StepError> {
        if *self.gone.lock().unwrap() {
            return Err(StepError::retry("the participant is gone"));
        }
        self.world.note("asked");
        let found = self.holds.lock().unwrap().contains(&cx.step_key());
        Ok(if found { Probe::Applied("hold".to_owned()) } else { Probe::Unknown })
    }
}

#[async_trait]
impl Compensation for Slow {
    async fn compensate(&self, cx: &StepContext, _: i64, outcome: Outcome<String>) -> Result<(), StepError> {
        self.world.note(format!("undo {outcome:?}"));
        self.holds.lock().unwrap().retain(|key| *key != cx.step_key());
        Ok(())
    }
}

fn definition(step: &Slow) -> Definition<i64, String> {
    Definition::build("late", 1, |saga, input| {
        let held = saga.compensatable("hold", step.clone(), input).retry(RetryPolicy::never());
        let held = held.watch_for_late_effects(2 * DAY);
        let taken = saga.pivot("take", step_fn(async |_, hold: String| Ok(hold)), held);
        saga.returns(taken)
    })
    .unwrap()
}

async fn status(engine: &saga_core::Engine, saga: SagaId) -> SagaStatus {
    engine.status(saga).await.unwrap().unwrap().status
}

#[tokio::test(start_paused = true)]
async fn what_comes_seconds_to_a_day_late_is_undone_as_well() {
    for late in [5, 59, 61, 599, 3_000, 80_000, 170_000].map(Duration::from_secs) {
        let step = Slow { lands_after: late, ..Slow::default() };
        let definition = definition(&step);
        let engine = unhurried(&MemoryJournal::new()).register(&definition).open().await.unwrap();
        let began = tokio::time::Instant::now();
        let saga = engine.start(&definition, "k", 1).await.unwrap();
        assert_eq!(rolled_back(&saga).await, "hold failed: no answer");
        assert!(began.elapsed() < Duration::from_secs(1), "whoever waits for the saga does not wait for the watch");
        assert_eq!(status(&engine, saga.id()).await, SagaStatus::Watching);
        assert_eq!(step.holds(), 0);
        until("the watch is over", async || {
            tokio::time::sleep(Duration::from_secs(60)).await;
            matches!(status(&engine, saga.id()).await, SagaStatus::Ended(_))
        })
        .await;
        assert!(began.elapsed() >= late, "nobody stopped looking before");
        assert_eq!(step.holds(), 0, "the hold that came {late:?} late was given back");
        assert_eq!(step.world.count("undo Done"), 1);
        assert_eq!(rolled_back(&saga).await, "hold failed: no answer", "and the outcome is what it was");
    }
}

#[tokio::test(start_paused = true)]
async fn the_watch_goes_on_in_another_worker() {
    let step = Slow { lands_after: Duration::from_secs(5_000), ..Slow::default() };
    let (definition, journal) = (definition(&step), MemoryJournal::new());
    let first = unhurried(&journal).register(&definition).open().await.unwrap();
    let saga = first.start(&definition, "k", 1).await.unwrap().id();
    until("watching", async || status(&first, saga).await == SagaStatus::Watching).await;
    drop(first);
    let second = unhurried(&journal).register(&definition).open().await.unwrap();
    until("undone", async || {
        tokio::time::sleep(Duration::from_secs(60)).await;
        matches!(status(&second, saga).await, SagaStatus::Ended(_))
    })
    .await;
    assert_eq!((step.holds(), step.world.count("undo Done")), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn what_is_known_to_be_undone_is_not_watched() {
    let world = World::default();
    let definition = Definition::build("known", 1, |saga, input| {
        let noted = world.clone();
        let undo = step_fn(async |_, n: i64| Ok(n)).compensate(move |_, _: i64, _: Outcome<i64>| {
            noted.note("undo");
            async { Ok(()) }
        });
        let done = saga.compensatable("done", undo, input).watch_for_late_effects(DAY);
        let no = saga.pivot("no", step_fn(async |_, _: i64| Err::<i64, _>(StepError::rejected("no"))), done);
        saga.returns(no)
    })
    .unwrap();
    let engine = unhurried(&MemoryJournal::new()).register(&definition).open().await.unwrap();
    let saga = engine.start(&definition, "k", 1).await.unwrap();
    rolled_back(&saga).await;
    assert!(matches!(status(&engine, saga.id()).await, SagaStatus::Ended(_)));
    assert_eq!(world.count("undo"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_nobody_answers_to_the_end_calls_a_human() {
    let step = Slow { lands_after: 30 * DAY, ..Slow::default() };
    let definition = definition(&step);
    let engine = unhurried(&MemoryJournal::new()).register(&definition).open().await.unwrap();
    let saga = engine.start(&definition, "k", 1).await.unwrap();
    rolled_back(&saga).await;
    *step.gone.lock().unwrap() = true;
    until("a human is called", async || {
        tokio::time::sleep(Duration::from_secs(60)).await;
        status(&engine, saga.id()).await == SagaStatus::NeedsAttention
    })
    .await;
    let letters = dead_letters(&saga).await;
    assert_eq!(letters[0].step.as_ref().unwrap().as_str(), "hold");
    assert!(letters[0].error.contains("the participant is gone"), "{}", letters[0].error);
    let skip = saga_core::machine::Resolution::Skip;
    engine.operator().resolve(saga.id(), "hold", skip, "ann", "looked at the participant's books").await.unwrap();
    until("over", async || matches!(status(&engine, saga.id()).await, SagaStatus::Ended(_))).await;
}

#[tokio::test(start_paused = true)]
async fn a_saga_that_is_watched_can_be_found_and_not_started_again() {
    let step = Slow { lands_after: DAY, ..Slow::default() };
    let definition = definition(&step);
    let engine = unhurried(&MemoryJournal::new()).register(&definition).open().await.unwrap();
    let first = engine.start(&definition, "k", 1).await.unwrap();
    rolled_back(&first).await;
    let again = engine.start(&definition, "k", 1).await.unwrap();
    assert_eq!(again.id(), first.id());
    rolled_back(&again).await;
    let other = Definition::build("other", 1, |saga, n| {
        let n = saga.query("n", step_fn(async |_, n: i64| Ok(n)), n);
        saga.returns(n)
    });
    let other = other.unwrap();
    let second = unhurried(&MemoryJournal::new()).register(&other).open().await.unwrap();
    assert_eq!(completed(&second.start(&other, "k", 1).await.unwrap()).await, 1);
}
