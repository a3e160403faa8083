//! Entity locks: all or nothing, in turn, kept over crashes, and given up at the end.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use saga_core::journal::{MemoryJournal, SagaStatus};
use saga_core::machine::Record;
use saga_core::{
    BuildError, Compensation, Definition, Locks, Outcome, Probe, RetryPolicy, Source as _, Step, StepContext,
    StepError, async_trait, step_fn,
};

use saga_testkit::faults::{Fault, FaultJournal, Planned};

use super::support::{completed, dead_letters, engine, engine_on, rolled_back, unhurried, until};

const MINUTE: Duration = Duration::from_secs(60);

/// Who is inside, by entity, and the tokens that were seen.
#[derive(Clone, Default)]
struct Room(Arc<Mutex<BTreeMap<String, Entity>>>);

/// Whether somebody is inside, and the tokens that were seen.
type Entity = (bool, Vec<u64>);

impl Room {
    fn enter(&self, locks: &Locks) {
        let mut room = self.0.lock().unwrap();
        for (key, token) in locks.iter() {
            let (taken, tokens) = room.entry(key.to_owned()).or_default();
            assert!(!*taken, "two sagas are at {key} at a time");
            assert!(tokens.last().is_none_or(|last| *last < token), "the tokens of {key} do not grow");
            *taken = true;
            tokens.push(token);
        }
    }

    fn leave(&self, locks: &Locks) {
        let mut room = self.0.lock().unwrap();
        locks.iter().for_each(|(key, _)| room.get_mut(key).unwrap().0 = false);
    }
}

/// Works on the entities for so many seconds; fails for good at 13.
fn working(room: &Room, at_most: Duration) -> Definition<(Vec<String>, u64), u64> {
    Definition::build("working", 1, |saga, input| {
        let locks = saga.lock("entities", input.map(|(keys, _): (Vec<String>, u64)| keys), at_most);
        let room = room.clone();
        let work = step_fn(move |_, (locks, (_, seconds)): (Locks, (Vec<String>, u64))| {
            let room = room.clone();
            async move {
                room.enter(&locks);
                tokio::time::sleep(Duration::from_secs(seconds)).await;
                room.leave(&locks);
                if seconds == 13 { Err(StepError::rejected("unlucky")) } else { Ok(seconds) }
            }
        });
        let worked = saga.retryable("work", work, (locks, input));
        saga.returns(worked)
    })
    .unwrap()
}

fn keys(keys: &[&str]) -> Vec<String> {
    keys.iter().map(|key| (*key).to_owned()).collect()
}

#[tokio::test(start_paused = true)]
async fn sagas_have_an_entity_one_after_the_other_and_wait_parked() {
    let definition = working(&Room::default(), MINUTE);
    let engine = unhurried(&MemoryJournal::new()).register(&definition).open().await.unwrap();
    let first = engine.start(&definition, "1", (keys(&["b", "a"]), 10)).await.unwrap();
    let second = engine.start(&definition, "2", (keys(&["b", "c"]), 10)).await.unwrap();
    let third = engine.start(&definition, "3", (keys(&["d"]), 1)).await.unwrap();
    assert_eq!(completed(&third).await, 1);
    let standing = engine.status(second.id()).await.unwrap().unwrap().status;
    assert_eq!(standing, SagaStatus::Waiting);
    let locks = engine.operator().locks(10).await.unwrap();
    let held: Vec<(&str, bool)> = locks.iter().map(|lock| (lock.key.as_str(), lock.token.is_some())).collect();
    assert_eq!(held, [("a", true), ("b", true), ("b", false), ("c", false)]);
    completed(&first).await;
    completed(&second).await;
    assert_eq!(engine.operator().locks(10).await.unwrap(), []);
}

#[tokio::test(start_paused = true)]
async fn locks_that_do_not_come_in_time_turn_the_saga_back() {
    let definition = working(&Room::default(), Duration::from_secs(5));
    let engine = engine(&MemoryJournal::new()).register(&definition).open().await.unwrap();
    let first = engine.start(&definition, "1", (keys(&["a"]), 20)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let second = engine.start(&definition, "2", (keys(&["a"]), 1)).await.unwrap();
    assert!(rolled_back(&second).await.contains("not locked in time"));
    completed(&first).await;
    assert_eq!(engine.operator().locks(10).await.unwrap(), []);
}

/// Waits for both entities for at most five seconds, and takes twenty to turn back.
fn impatient() -> Definition<Vec<String>, ()> {
    Definition::build("impatient", 1, |saga, entities| {
        let hold = step_fn(async |_, _: Vec<String>| Ok(())).compensate(async |_, _, _: Outcome<()>| {
            tokio::time::sleep(Duration::from_secs(20)).await;
            Ok(())
        });
        saga.compensatable("hold", hold, entities);
        let locks = saga.lock("entities", entities, Duration::from_secs(5));
        let done = saga.query("work", step_fn(async |_, _: Locks| Ok(())), locks);
        saga.returns(done)
    })
    .unwrap()
}

#[tokio::test(start_paused = true)]
async fn who_has_waited_in_vain_leaves_the_line_before_it_has_turned_back() {
    let (others, impatient) = (working(&Room::default(), MINUTE), impatient());
    let engine = engine(&MemoryJournal::new()).register(&others).register(&impatient).open().await.unwrap();
    let first = engine.start(&others, "first", (keys(&["a"]), 10)).await.unwrap();
    until("the first is inside", async || engine.operator().locks(10).await.unwrap().len() == 1).await;
    let gives_up = engine.start(&impatient, "gives up", keys(&["a", "b"])).await.unwrap();
    until("the second waits for it", async || engine.operator().locks(10).await.unwrap().len() == 3).await;
    let third = engine.start(&others, "third", (keys(&["b"]), 1)).await.unwrap();
    let began = tokio::time::Instant::now();
    completed(&third).await;
    assert!(began.elapsed() < Duration::from_secs(10), "the third waited for {:?}", began.elapsed());
    completed(&first).await;
    assert_eq!(engine.status(gives_up.id()).await.unwrap().unwrap().status, SagaStatus::Running);
    assert!(rolled_back(&gives_up).await.contains("not locked in time"));
}

/// Nobody can tell whether it has happened.
struct Vague;

#[async_trait]
impl Step for Vague {
    type Input = Locks;
    type Output = ();

    async fn run(&self, _: &StepContext, _: Locks) -> Result<(), StepError> {
        Err(StepError::retry("no answer"))
    }

    async fn probe(&self, _: &StepContext, _: Locks) -> Result<Probe<()>, StepError> {
        Ok(Probe::Unknown)
    }
}

#[async_trait]
impl Compensation for Vague {
    async fn compensate(&self, _: &StepContext, _: Locks, _: Outcome<()>) -> Result<(), StepError> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_saga_that_is_rolled_back_and_only_watched_has_given_up_its_locks() {
    let definition = Definition::build("watched", 1, |saga, entities| {
        let locks = saga.lock("entities", entities, MINUTE);
        let held = saga.compensatable("hold", Vague, locks).retry(RetryPolicy::never());
        let held = held.watch_for_late_effects(48 * 60 * MINUTE);
        saga.returns(held)
    })
    .unwrap();
    let engine = unhurried(&MemoryJournal::new()).register(&definition).open().await.unwrap();
    let saga = engine.start(&definition, "k", keys(&["a"])).await.unwrap();
    rolled_back(&saga).await;
    assert_eq!(engine.status(saga.id()).await.unwrap().unwrap().status, SagaStatus::Watching);
    assert_eq!(engine.operator().locks(10).await.unwrap(), []);
}

#[tokio::test(start_paused = true)]
async fn locks_survive_the_worker_and_are_kept_while_a_human_is_awaited() {
    let (definition, journal) = (working(&Room::default(), MINUTE * 60), MemoryJournal::new());
    let first = engine(&journal).register(&definition).open().await.unwrap();
    let waits = first.start(&definition, "1", (keys(&["a"]), 13)).await.unwrap();
    dead_letters(&waits).await;
    let second = first.start(&definition, "2", (keys(&["a"]), 1)).await.unwrap().id();
    drop(first);
    let again = engine(&journal).register(&definition).open().await.unwrap();
    tokio::time::sleep(MINUTE).await;
    assert_eq!(again.status(second).await.unwrap().unwrap().status, SagaStatus::Waiting);
    let skipped = saga_core::engine::Resolution::Supply(saga_core::Payload::from_json("0".to_owned()).unwrap());
    again.operator().resolve(waits.id(), "work", skipped, "ann", "done by hand").await.unwrap();
    assert_eq!(completed(&again.handle(&definition, second)).await, 1);
    assert_eq!(again.operator().locks(10).await.unwrap(), []);
}

#[tokio::test(start_paused = true)]
async fn overlapping_sets_of_many_sagas_on_eight_workers_all_get_their_turn() {
    let (room, journal) = (Room::default(), MemoryJournal::new());
    let definition = working(&room, MINUTE * 600);
    let mut rng =
        fastrand::Rng::with_seed(std::env::var("SAGA_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(7));
    let mut workers = Vec::new();
    for _ in 0..8 {
        workers.push(engine(&journal).register(&definition).open().await.unwrap());
    }
    let mut sagas = Vec::new();
    for nth in 0..200 {
        let some: Vec<String> = (0..8).filter(|_| rng.u8(0..3) == 0).map(|key| format!("k{key}")).collect();
        let worker = &workers[rng.usize(..8)];
        sagas.push(worker.start(&definition, &nth.to_string(), (some, rng.u64(0..3))).await.unwrap());
    }
    for saga in &sagas {
        completed(saga).await;
    }
    until("no lock is left", async || workers[0].operator().locks(10).await.unwrap().is_empty()).await;
}

#[test]
fn two_steps_that_lock_are_refused() {
    let built = Definition::build("two", 1, |saga, order: saga_core::InputHandle<'_, String>| {
        saga.lock("one", order.map(|order: String| vec![order]), MINUTE);
        saga.lock("other", order.map(|order: String| vec![order]), MINUTE);
        saga.returns(())
    });
    assert_eq!(built.unwrap_err(), BuildError::TwoLocks { first: "one".into(), second: "other".into() });
}

#[tokio::test(start_paused = true)]
async fn a_saga_whose_locks_come_before_it_has_let_go_is_taken_up_once_it_has() {
    for call in 0..3 {
        let journal = FaultJournal::new(MemoryJournal::new());
        // The turn is durable, the saga parked and due; its driver hears of that a good while later.
        journal.plan(Planned { method: "append", call, fault: Fault::AnsweredLate(Duration::from_secs(2)) });
        let definition = working(&Room::default(), MINUTE);
        let engine = engine_on(journal.clone()).register(&definition).open().await.unwrap();
        let saga = engine.start(&definition, "1", (keys(&["a"]), 1)).await.unwrap();
        let outcome = tokio::time::timeout(Duration::from_secs(20), saga.outcome()).await;
        assert!(outcome.is_ok(), "nobody takes up the saga after append {call}");
        assert!(journal.reached());
    }
}

#[tokio::test(start_paused = true)]
async fn who_asks_for_no_entity_waits_for_none() {
    let definition = working(&Room::default(), MINUTE);
    let engine = unhurried(&MemoryJournal::new()).register(&definition).open().await.unwrap();
    let began = tokio::time::Instant::now();
    assert_eq!(completed(&engine.start(&definition, "k", (vec![], 1)).await.unwrap()).await, 1);
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    let turns = engine.history(engine.start(&definition, "k", (vec![], 1)).await.unwrap().id()).await.unwrap().unwrap();
    let asks = turns.iter().flat_map(|turn| &turn.records).any(|record| matches!(record, Record::Locking { .. }));
    assert!(!asks, "{turns:?}");
}
