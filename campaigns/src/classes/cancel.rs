//! F9: every call of the engine and of the journal is cancelled wherever it waits, on a real server: dropped after one
//! poll, after two, and so on until it is done. Nothing may be left behind: no transaction, no lock, no saga.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use saga_core::engine::{Engine, Resolution};
use saga_core::journal::{Journal, Lease, ListFilter};
use saga_core::{Limits, SagaId};
use saga_postgres::{PostgresBuilder, PostgresJournal};

use crate::arena::Arena;
use crate::error::CampaignError;
use crate::ledger::{Ledger, Script};
use crate::notes::Started;
use crate::sagas::{Holds, Order, SIGNAL, Sagas};
use crate::worker::LEASE_TTL;

/// No call is polled more often than this; one that is belongs to no sweep.
const POLLS_MAX: u32 = 60;

/// Polls the future so often, and drops it when it is not done then.
async fn dropped_after<F: Future>(polls: u32, future: F) -> Option<F::Output> {
    let (mut future, mut left) = (pin!(future), polls);
    std::future::poll_fn(move |cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending if left <= 1 => Poll::Ready(None),
        Poll::Pending => {
            left -= 1;
            Poll::Pending
        }
    })
    .await
}

/// Cancels the calls that `make` makes, later each time, until one is done. How many were cancelled.
async fn swept<F: Future>(mut make: impl FnMut(u32) -> F) -> u64 {
    for polls in 1..POLLS_MAX {
        if dropped_after(polls, make(polls)).await.is_some() {
            return u64::from(polls) - 1;
        }
    }
    u64::from(POLLS_MAX) - 1
}

/// One sweep over all calls, by a worker of this process, with more connections each time.
pub(super) async fn sweep(arena: &mut Arena) -> Result<(), CampaignError> {
    let nth = arena.count("sweeps");
    let connections = 2 + usize::try_from(nth % 3).unwrap_or(0);
    let journal = PostgresBuilder::from_url(&arena.road.through)?.migrate(false).connections(connections);
    let journal = journal.call_timeout(Duration::from_secs(2)).open().await?;
    let journal = Arc::new(journal);
    let sagas = Sagas::new(arena.ledger)?;
    let engine = worker(&journal, &sagas, arena.ledger, nth).await?;
    let mut cancelled = calls_of_engine(arena, &engine, &sagas, nth).await;
    cancelled += calls_of_journal(&journal, nth).await;
    // An engine that is dropped while it opens leaves nothing but a lease that lapses.
    cancelled += swept(|_| worker(&journal, &sagas, arena.ledger, nth)).await;
    *arena.fired.entry("cancelled_calls").or_default() += cancelled;
    // Also the stop is cancelled once; then it is done.
    dropped_after(2, engine.shutdown(Duration::from_secs(5))).await;
    engine.shutdown(Duration::from_secs(5)).await;
    drop(engine);
    journal.close().await;
    arena.fire("sweeps");
    Ok(())
}

async fn worker(
    journal: &Arc<PostgresJournal>,
    sagas: &Sagas,
    ledger: Ledger,
    nth: u64,
) -> Result<Engine, saga_core::engine::OpenError> {
    let mut limits = Limits::default();
    limits.crashes_max = 100_000;
    let engine = Engine::builder_shared(journal.clone()).limits(limits).worker_name(format!("cancel-all-{nth}"));
    let engine = engine.publisher(ledger).lease_ttl(LEASE_TTL).poll_interval(Duration::from_millis(25));
    sagas.register(engine, Holds::All).open().await
}

/// The public calls of an engine.
async fn calls_of_engine(arena: &mut Arena, engine: &Engine, sagas: &Sagas, nth: u64) -> u64 {
    let order = Order { number: nth, cents: 100, goods: 1, script: Script::Fine, ..Order::default() };
    let key = |what: &str, polls: u32| format!("cut-{nth}-{what}-{polls}");
    // A start that was cancelled may have been made: such a saga is one that was tried.
    let mut tried = Vec::new();
    let mut cancelled = swept(|polls| {
        let key = key("start", polls);
        tried.push(("checkout", key.clone()));
        let (engine, order) = (engine.clone(), order.clone());
        let definition = sagas.checkout.clone();
        async move { engine.start(&definition, &key, order).await.map(drop) }
    })
    .await;
    for (_, key) in &tried {
        // It is the same saga, or the first of its key.
        if let Ok(handle) = engine.start(&sagas.checkout, key, order.clone()).await {
            let (key, saga, order) = (key.clone(), handle.id(), order.clone());
            arena.notes.started.push(Started { definition: "checkout", key, saga, order });
        }
    }
    let payment = key("payment", 0);
    tried.push(("payment", payment.clone()));
    let started = engine.start(&sagas.payment, &payment, order.clone()).await;
    arena.notes.tried.extend(tried.into_iter().map(|tried| (tried, Script::Fine)));
    let Ok(handle) = started else { return cancelled };
    let saga = handle.id();
    let started = Started { definition: "payment", key: payment.clone(), saga, order };
    arena.notes.started.push(started);
    cancelled += questions(engine, saga).await;
    let operator = engine.operator();
    cancelled += swept(|_| operator.resolve(saga, "wait", Resolution::Retry, "campaign", "a sweep")).await;
    cancelled += swept(|polls| {
        let (engine, id) = (engine.clone(), format!("{payment}/cut-{polls}"));
        let payment = payment.clone();
        async move { engine.signal("payment", &payment, SIGNAL, &1_u64, &id).await }
    })
    .await;
    cancelled += swept(|_| operator.cancel(saga, "campaign", "a sweep")).await;
    // What waits for the end is cancelled often, and then waits for it.
    for polls in 1..4 {
        cancelled += u64::from(dropped_after(polls, handle.outcome()).await.is_none());
    }
    cancelled
}

async fn questions(engine: &Engine, saga: SagaId) -> u64 {
    let operator = engine.operator();
    swept(|_| engine.status(saga)).await
        + swept(|_| engine.history(saga)).await
        + swept(|_| async { engine.list(&ListFilter::default(), 20).await }).await
        + swept(|_| engine.dead_letters(20)).await
        + swept(|_| engine.check()).await
        + swept(|_| engine.verify(Some(saga))).await
        + swept(|_| operator.locks(20)).await
        + swept(|_| operator.dead_events(20)).await
}

/// The calls of the journal, under leases that nobody renews.
async fn calls_of_journal(journal: &PostgresJournal, nth: u64) -> u64 {
    let name = format!("cancel-all-{nth}-alone");
    let mut cancelled = swept(|_| journal.open_lease(&name, LEASE_TTL)).await;
    let Ok((lease, _)) = journal.open_lease(&name, LEASE_TTL).await else { return cancelled };
    cancelled += swept(|_| journal.renew_lease(lease, LEASE_TTL)).await;
    let definitions = [("checkout".to_owned(), 1), ("payment".to_owned(), 1)];
    cancelled += swept(|_| journal.claim(lease, &definitions, 2)).await;
    cancelled += owned(journal, lease).await;
    cancelled += swept(|_| journal.fence_lapsed()).await;
    cancelled + swept(|_| journal.close_lease(lease)).await
}

async fn owned(journal: &PostgresJournal, lease: Lease) -> u64 {
    let owned = journal.owned(lease).await.unwrap_or_default();
    let ids: Vec<SagaId> = owned.iter().map(|saga| saga.id).collect();
    let mut cancelled = swept(|_| journal.owned(lease)).await;
    cancelled += swept(|_| journal.load(&ids)).await;
    cancelled += swept(|_| journal.inbox(lease)).await;
    cancelled += swept(|_| journal.outbox(lease, 10)).await;
    cancelled += swept(|_| journal.settle_events(lease, &[])).await;
    cancelled += swept(|_| journal.unalerted(10)).await;
    cancelled += swept(|_| journal.append(lease, &[])).await;
    for saga in ids {
        cancelled += swept(|_| journal.claim_one(lease, saga)).await;
    }
    cancelled
}
