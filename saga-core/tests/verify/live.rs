//! What the engine writes is verified without a finding, while it runs and afterwards; what is changed behind
//! its back is found.

use std::time::Duration;

use saga_core::journal::MemoryJournal;
use saga_core::{Definition, Engine, Outcome, Source as _, StepContext, StepError, step_fn};

fn definition() -> Definition<i64, i64> {
    Definition::build("verified", 1, |saga, n| {
        let keys = n.map(|n: i64| vec![format!("shelf-{}", n % 3)]);
        let locks = saga.lock("shelf", keys, Duration::from_secs(600));
        let hold = step_fn(async |cx: StepContext, (n, _): (i64, saga_core::Locks)| match (n % 3, cx.attempt()) {
            (1, 1) => Err(StepError::retry("once more")),
            _ => Ok(n),
        })
        .compensate(async |_, _: (i64, saga_core::Locks), _: Outcome<i64>| Ok(()));
        let held = saga.compensatable("hold", hold, (n, locks));
        let items = held.map(|n: i64| (0..n % 4).collect::<Vec<i64>>());
        let pick = step_fn(async |_, n: i64| Ok(n)).compensate(async |_, _: i64, _: Outcome<i64>| Ok(()));
        let picked = saga.for_each("pick").at_once(2).compensatable(pick, items);
        let take = step_fn(async |_, (n, _): (i64, Vec<i64>)| match n % 5 {
            2 => Err(StepError::rejected("declined")),
            _ => Ok(n),
        });
        let taken = saga.pivot("take", take, (held, picked));
        saga.returns(taken)
    })
    .unwrap()
}

#[tokio::test(start_paused = true)]
async fn what_the_engine_writes_is_verified_while_it_runs() {
    let definition = definition();
    let engine = Engine::builder(MemoryJournal::new()).register(&definition).open().await.unwrap();
    let mut sagas = Vec::new();
    for n in 0..60 {
        sagas.push(engine.start(&definition, &format!("n-{n}"), n).await.unwrap());
        if n % 10 == 0 {
            assert_eq!(engine.verify(None).await.unwrap().violations, []);
        }
    }
    for saga in &sagas {
        saga.outcome().await.unwrap();
    }
    let report = engine.verify(None).await.unwrap();
    assert_eq!(report.violations, []);
    assert_eq!(report.verified.get(&("verified".to_owned(), 1)), Some(&60));
    assert!(engine.verify(Some(sagas[0].id())).await.unwrap().is_clean());
}

#[tokio::test(start_paused = true)]
async fn sagas_of_strangers_are_counted_and_not_judged() {
    let (definition, journal) = (definition(), MemoryJournal::new());
    let engine = Engine::builder(journal.clone()).register(&definition).open().await.unwrap();
    engine.start(&definition, "n", 0).await.unwrap().outcome().await.unwrap();
    let stranger = Engine::builder(journal).client_only().open().await.unwrap();
    let report = stranger.verify(None).await.unwrap();
    assert!(report.is_clean() && report.verified.is_empty());
    assert_eq!(report.unregistered.values().sum::<u64>(), 1);
}
