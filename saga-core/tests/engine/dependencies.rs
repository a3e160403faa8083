//! Breakers, rates and places: waiting for what a step calls costs no attempt.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use saga_core::engine::{BreakerPolicy, DependencyPolicy, RateLimit, RetryBudget};
use saga_core::journal::MemoryJournal;
use saga_core::{Definition, Jitter, Outcome, RetryPolicy, StepContext, StepError, step_fn};

use super::support::{completed, engine, rolled_back};

#[derive(Clone, Default)]
struct Service {
    down: Arc<AtomicBool>,
    calls: Arc<AtomicUsize>,
    under_way: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
    undone: Arc<AtomicUsize>,
}

impl Service {
    async fn call(&self) -> Result<(), StepError> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        self.most.fetch_max(self.under_way.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(10)).await;
        self.under_way.fetch_sub(1, Ordering::SeqCst);
        if self.down.load(Ordering::SeqCst) { Err(StepError::retry("503")) } else { Ok(()) }
    }
}

/// Calls the service, and tells at which attempt that went well.
fn calling(service: &Service, refuse: bool) -> Definition<i64, u32> {
    Definition::build("calling", 1, |saga, n| {
        let (forward, back) = (service.clone(), service.clone());
        let call = step_fn(move |cx: StepContext, _: i64| {
            let service = forward.clone();
            async move { service.call().await.map(|()| cx.attempt()) }
        })
        .compensate(move |_, _: i64, _: Outcome<u32>| {
            back.undone.fetch_add(1, Ordering::SeqCst);
            async { Ok(()) }
        });
        let retry = RetryPolicy::fixed(Duration::from_millis(100)).jitter(Jitter::None).attempts(4);
        let called = saga.compensatable("call", call, n).retry(retry).calls("service");
        let end = step_fn(
            async move |_, (attempt, refuse): (u32, bool)| {
                if refuse { Err(StepError::rejected("no")) } else { Ok(attempt) }
            },
        );
        let end = saga.query("end", end, (called, saga_core::Source::map((), move |()| refuse)));
        saga.returns(end)
    })
    .unwrap()
}

#[tokio::test(start_paused = true)]
async fn an_open_breaker_makes_no_calls_and_costs_no_attempts() {
    let service = Service::default();
    service.down.store(true, Ordering::SeqCst);
    let definition = calling(&service, false);
    let breaker = Some(BreakerPolicy { failures: 3, open_for_ms: 10_000 });
    let policy = DependencyPolicy { breaker, ..DependencyPolicy::default() };
    let engine =
        engine(&MemoryJournal::new()).register(&definition).dependency("service", policy).open().await.unwrap();
    let first = engine.start(&definition, "first", 1).await.unwrap();
    // It opens with the third failure; from then on one call every ten seconds finds out.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(service.calls.load(Ordering::SeqCst), 3);
    let mut others = Vec::new();
    for nth in 0..20 {
        others.push(engine.start(&definition, &format!("k{nth}"), nth).await.unwrap());
    }
    tokio::time::sleep(Duration::from_secs(8)).await;
    assert_eq!(service.calls.load(Ordering::SeqCst), 3, "nothing is sent while it is open");
    assert_eq!(engine.in_flight(), 0, "those who wait for it are parked");
    service.down.store(false, Ordering::SeqCst);
    assert_eq!(completed(&first).await, 4, "its own attempts went on where they were");
    for saga in &others {
        assert_eq!(completed(saga).await, 1, "waiting was no attempt");
    }
    assert_eq!(service.calls.load(Ordering::SeqCst), 3 + 1 + 20);
}

#[tokio::test(start_paused = true)]
async fn one_call_at_a_time_finds_out_whether_it_is_back() {
    let service = Service::default();
    service.down.store(true, Ordering::SeqCst);
    let definition = calling(&service, false);
    let breaker = Some(BreakerPolicy { failures: 1, open_for_ms: 10_000 });
    let policy = DependencyPolicy { breaker, ..DependencyPolicy::default() };
    let engine =
        engine(&MemoryJournal::new()).register(&definition).dependency("service", policy).open().await.unwrap();
    let first = engine.start(&definition, "first", 0).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    for nth in 0..50 {
        engine.start(&definition, &format!("k{nth}"), nth).await.unwrap();
    }
    tokio::time::sleep(Duration::from_secs(34)).await;
    assert_eq!(service.calls.load(Ordering::SeqCst), 1 + 3, "one call each ten seconds, of all fifty-one");
    drop(first);
}

#[tokio::test(start_paused = true)]
async fn an_outage_going_forward_does_not_keep_the_undoing_waiting() {
    let service = Service::default();
    let definition = calling(&service, true);
    let breaker = Some(BreakerPolicy { failures: 1, open_for_ms: 3_600_000 });
    let policy = DependencyPolicy { breaker, ..DependencyPolicy::default() };
    let engine =
        engine(&MemoryJournal::new()).register(&definition).dependency("service", policy).open().await.unwrap();
    let done = engine.start(&definition, "done", 1).await.unwrap();
    service.down.store(true, Ordering::SeqCst);
    let _opens = engine.start(&definition, "opens", 1).await.unwrap();
    rolled_back(&done).await;
    assert_eq!(service.undone.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn no_more_calls_at_a_time_and_a_second_than_asked_for() {
    let service = Service::default();
    let definition = calling(&service, false);
    let rate = Some(RateLimit { per_second: 20.0, burst: 1.0 });
    let policy = DependencyPolicy { rate, at_once: Some(2), ..DependencyPolicy::default() };
    let engine =
        engine(&MemoryJournal::new()).register(&definition).dependency("service", policy).open().await.unwrap();
    let began = tokio::time::Instant::now();
    let mut sagas = Vec::new();
    for nth in 0..61 {
        sagas.push(engine.start(&definition, &format!("k{nth}"), nth).await.unwrap());
    }
    for saga in &sagas {
        assert_eq!(completed(saga).await, 1);
    }
    let took = began.elapsed();
    assert!(took >= Duration::from_secs(3) && took < Duration::from_secs(10), "{took:?}");
    assert!(service.most.load(Ordering::SeqCst) <= 2);
}

/// Asks the service, which refuses 0, answers 2 at once, and all others when they ask again.
fn asking() -> Definition<i64, i64> {
    Definition::build("asking", 1, |saga, n| {
        let ask = step_fn(async |cx: StepContext, n: i64| match (n, cx.attempt()) {
            (0, _) => Err(StepError::rejected("no")),
            (1, 1) => Err(StepError::retry("503")),
            _ => Ok(n),
        });
        let retry = RetryPolicy::fixed(Duration::from_millis(100)).jitter(Jitter::None).attempts(2);
        let asked = saga.query("ask", ask, n).retry(retry).calls("service");
        saga.returns(asked)
    })
    .unwrap()
}

#[tokio::test(start_paused = true)]
async fn first_calls_save_up_retries() {
    let definition = asking();
    // By itself a retry comes after a thousand seconds; two first calls make one.
    let retries = RetryBudget { ratio: 0.5, per_second: 0.001, burst: 1.0 };
    let policy = DependencyPolicy { retries, ..DependencyPolicy::default() };
    let engine =
        engine(&MemoryJournal::new()).register(&definition).dependency("service", policy).open().await.unwrap();
    let began = tokio::time::Instant::now();
    for (nth, n) in [1, 2, 2, 1, 2, 2, 1].into_iter().enumerate() {
        assert_eq!(completed(&engine.start(&definition, &nth.to_string(), n).await.unwrap()).await, n);
    }
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_refusal_takes_nothing_from_the_retry_budget() {
    let definition = asking();
    // One retry is saved up, and the next one comes in ten seconds.
    let retries = RetryBudget { ratio: 0.0, per_second: 0.1, burst: 1.0 };
    let policy = DependencyPolicy { retries, ..DependencyPolicy::default() };
    let engine =
        engine(&MemoryJournal::new()).register(&definition).dependency("service", policy).open().await.unwrap();
    for nth in 0..3 {
        rolled_back(&engine.start(&definition, &format!("refused-{nth}"), 0).await.unwrap()).await;
    }
    let began = tokio::time::Instant::now();
    assert_eq!(completed(&engine.start(&definition, "first", 1).await.unwrap()).await, 1);
    assert!(began.elapsed() < Duration::from_secs(5), "the retry that was saved up is there");
    assert_eq!(completed(&engine.start(&definition, "second", 1).await.unwrap()).await, 1);
    assert!(began.elapsed() > Duration::from_secs(8), "the second one waited for its retry");
}
