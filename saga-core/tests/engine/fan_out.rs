//! Fan-out over lists: a checkpoint an item, and exactly the items that may be done are undone.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use saga_core::journal::MemoryJournal;
use saga_core::{
    Compensation, Definition, IdempotencyKey, Limits, Outcome, Soft, Source as _, Step, StepContext, StepError,
    async_trait, step_fn,
};

use super::support::{World, completed, dead_letters, engine, quick, rolled_back, until};

/// Reserves an item: negative ones are refused, those from 100 on get no answer.
#[derive(Clone, Default)]
struct Reserve {
    world: World,
    keys: Arc<Mutex<Vec<IdempotencyKey>>>,
    running: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

#[async_trait]
impl Step for Reserve {
    type Input = i64;
    type Output = String;

    async fn run(&self, cx: &StepContext, item: i64) -> Result<String, StepError> {
        self.keys.lock().unwrap().push(cx.key());
        let running = self.running.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(running, Ordering::SeqCst);
        // Later items are quicker: what they leave comes in the order of the list all the same.
        tokio::time::sleep(Duration::from_millis(50 - 10 * u64::from(cx.item().unwrap()).min(4))).await;
        self.running.fetch_sub(1, Ordering::SeqCst);
        if item < 0 {
            return Err(StepError::rejected("out of stock"));
        }
        self.world.apply(cx);
        if item >= 100 { Err(StepError::retry("no answer")) } else { Ok(format!("{item}@{}", cx.item().unwrap())) }
    }
}

#[async_trait]
impl Compensation for Reserve {
    async fn compensate(&self, cx: &StepContext, _: i64, outcome: Outcome<String>) -> Result<(), StepError> {
        self.world.undo(cx, &format!("{outcome:?}"));
        Ok(())
    }
}

fn definition(step: &Reserve) -> Definition<Vec<i64>, Vec<String>> {
    Definition::build("reserve", 1, |saga, items| {
        let held = saga.for_each("reserve").at_once(2).compensatable(step.clone(), items).retry(quick());
        let sum = step_fn(async |_, held: Vec<String>| Ok(held));
        let sum = saga.query("sum", sum, held);
        saga.returns(sum)
    })
    .unwrap()
}

#[tokio::test(start_paused = true)]
async fn every_item_has_a_key_and_what_they_leave_keeps_the_order() {
    let step = Reserve::default();
    let definition = definition(&step);
    let engine = engine(&MemoryJournal::new()).register(&definition).open().await.unwrap();
    let saga = engine.start(&definition, "k", vec![7, 8, 9, 10, 11]).await.unwrap();
    assert_eq!(completed(&saga).await, ["7@0", "8@1", "9@2", "10@3", "11@4"]);
    let mut keys = step.keys.lock().unwrap().clone();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), 5);
    assert_eq!(step.most.load(Ordering::SeqCst), 2, "two at a time");
}

#[tokio::test(start_paused = true)]
async fn an_empty_list_is_done_at_once() {
    let step = Reserve::default();
    let definition = definition(&step);
    let engine = engine(&MemoryJournal::new()).register(&definition).open().await.unwrap();
    assert_eq!(completed(&engine.start(&definition, "k", vec![]).await.unwrap()).await, [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn exactly_the_items_that_are_done_or_may_be_are_undone() {
    let step = Reserve::default();
    let definition = definition(&step);
    let engine = engine(&MemoryJournal::new()).register(&definition).open().await.unwrap();
    // Done, unknown, refused, and two that never begin.
    let saga = engine.start(&definition, "k", vec![7, 100, -1, 8, 9]).await.unwrap();
    let failure = rolled_back(&saga).await;
    assert!(failure.starts_with("reserve[2] failed: out of stock"), "{failure}");
    let undone: Vec<String> = step.world.log().into_iter().filter(|entry| entry.starts_with("undo")).collect();
    assert_eq!(step.world.standing(), [""; 0]);
    assert!(undone.contains(&"undo reserve[0] (Done(\"7@0\")) #1".to_owned()), "{undone:?}");
    assert!(undone.contains(&"undo reserve[1] (Unknown) #1".to_owned()), "{undone:?}");
    assert!(!undone.iter().any(|entry| entry.contains("[2]") || entry.contains("[4]")), "{undone:?}");
}

#[tokio::test(start_paused = true)]
async fn a_crash_in_the_middle_does_no_item_twice() {
    let step = Reserve::default();
    let (definition, journal) = (definition(&step), MemoryJournal::new());
    let first = engine(&journal).register(&definition).open().await.unwrap();
    let id = first.start(&definition, "k", vec![1, 2, 3, 4, 5, 6]).await.unwrap().id();
    until("half done", async || step.world.standing().len() >= 3).await;
    drop(first);
    let second = engine(&journal).register(&definition).open().await.unwrap();
    let saga = second.handle(&definition, id);
    assert_eq!(completed(&saga).await.len(), 6);
    assert_eq!(step.world.standing().len(), 6, "one effect an item");
    let done_before = step.world.log()[..1].to_vec();
    for entry in done_before {
        assert_eq!(step.world.count(entry.split(' ').next().unwrap()), 1, "{entry} was checkpointed, and not repeated");
    }
}

#[tokio::test(start_paused = true)]
async fn best_effort_items_are_read_with_their_failures_and_nested_in_conditions_and_inclusions() {
    let notify =
        Definition::build("notify", 1, |saga, people| {
            let send = step_fn(async |_, who: String| {
                if who.is_empty() { Err(StepError::rejected("no address")) } else { Ok(format!("told {who}")) }
            });
            let some = people.map(|people: Vec<String>| !people.is_empty());
            let sent = saga.when("anybody", some, |saga| saga.for_each("send").best_effort(send, people));
            let count = step_fn(async |_, sent: Option<Vec<Soft<String>>>| {
                let sent = sent.unwrap_or_default();
                Ok(sent.into_iter().map(|sent| matches!(sent, Soft::Done(_))).collect::<Vec<bool>>())
            });
            let count = saga.query("count", count, sent);
            saga.returns(count)
        })
        .unwrap();
    let outer = Definition::build("outer", 1, |saga, people: saga_core::InputHandle<'_, Vec<String>>| {
        let first = saga.include("a", &notify, people);
        let second = saga.include("b", &notify, people.map(|_: Vec<String>| vec!["eve".to_owned()]));
        saga.returns((first, second))
    })
    .unwrap();
    let engine = engine(&MemoryJournal::new()).register(&outer).open().await.unwrap();
    let people = ["ann", "", "bob"].map(str::to_owned).to_vec();
    let told = completed(&engine.start(&outer, "some", people).await.unwrap()).await;
    assert_eq!(told, (vec![true, false, true], vec![true]));
    assert_eq!(completed(&engine.start(&outer, "none", vec![]).await.unwrap()).await, (vec![], vec![true]));
}

#[tokio::test(start_paused = true)]
async fn a_list_that_is_too_long_is_refused_by_the_name_of_its_limit() {
    let step = Reserve::default();
    let definition = definition(&step);
    let mut limits = Limits::default();
    limits.items_max = 3;
    let engine = engine(&MemoryJournal::new()).register(&definition).limits(limits).open().await.unwrap();
    let letters = dead_letters(&engine.start(&definition, "k", vec![1; 4]).await.unwrap()).await;
    assert_eq!(letters[0].error, "the list has 4 items, and items_max is 3");
    assert_eq!(step.world.log(), [""; 0]);
    completed(&engine.start(&definition, "as many as may be", vec![1; 3]).await.unwrap()).await;
}

#[tokio::test(start_paused = true)]
async fn a_thousand_items_take_no_time_worth_speaking_of() {
    let definition = Definition::build("many", 1, |saga, items| {
        let done = saga.for_each("item").at_once(100).query(step_fn(async |_, n: i64| Ok(n + 1)), items);
        saga.returns(done)
    })
    .unwrap();
    let engine = engine(&MemoryJournal::new()).register(&definition).open().await.unwrap();
    let saga = engine.start(&definition, "k", (0..1_000).collect()).await.unwrap();
    assert_eq!(completed(&saga).await, (1..=1_000).collect::<Vec<i64>>());
}
