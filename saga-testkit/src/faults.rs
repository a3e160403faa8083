//! A journal that fails on schedule.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use saga_core::definition::Outline;
use saga_core::journal::{
    Appended, Claim, ClaimOne, DeadEvent, DeadLetter, History, Journal, JournalError, Lease, ListFilter, LockEntry,
    Message, NewSaga, OutboxBatch, Received, SagaHeader, SagaSummary, Sent, SettledEvent, StartReceipt, Turn,
};
use saga_core::{Epoch, SagaId, Timestamp};

/// How a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The call is never made.
    Before,
    /// The call is made, and its answer is lost: "executed and timed out".
    After,
    /// The call's future is polled this many times and then dropped.
    CancelledAfterPolls(u32),
    /// The call is made, and its answer comes this much later.
    AnsweredLate(Duration),
    /// The call is made, and panics instead of answering.
    Panics,
}

/// One planned fault: the `call`-th call (counted from zero) of the method fails like this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Planned {
    /// The journal method, by name.
    pub method: &'static str,
    /// Which of its calls.
    pub call: usize,
    /// How it fails.
    pub fault: Fault,
}

#[derive(Debug, Default)]
struct Plan {
    planned: Option<Planned>,
    /// Whether the planned fault was reached, and whether a call to be cancelled outlived its polls.
    reached: bool,
    cancelled: bool,
    calls: HashMap<&'static str, usize>,
    outage: bool,
    silent: bool,
    refused: Option<SagaId>,
    refused_key: Option<String>,
}

/// Passes calls on to another journal, except those that are planned to fail; clones share the plan.
#[derive(Clone, Debug)]
pub struct FaultJournal<J> {
    journal: J,
    plan: Arc<Mutex<Plan>>,
}

impl<J: Journal> FaultJournal<J> {
    /// A journal without faults, so far.
    pub fn new(journal: J) -> Self {
        Self { journal, plan: Arc::default() }
    }

    /// Plans one fault, in place of an earlier one, and starts counting calls anew. An outage, silence and refusals
    /// last on.
    pub fn plan(&self, planned: Planned) {
        let mut plan = self.locked();
        (plan.planned, plan.reached, plan.cancelled) = (Some(planned), false, false);
        plan.calls.clear();
    }

    /// Makes every call fail before it is made, or lets them through again.
    pub fn outage(&self, on: bool) {
        self.locked().outage = on;
    }

    /// Refuses all turns of this saga for good, and whatever batch they are in; or none any longer.
    pub fn refuse(&self, saga: Option<SagaId>) {
        self.locked().refused = saga;
    }

    /// Refuses to start a saga with this key, and whatever batch it is in; or none any longer.
    pub fn refuse_start(&self, key: Option<&str>) {
        self.locked().refused_key = key.map(str::to_owned);
    }

    /// Tells nobody of new work, like a journal without notifications; or does again.
    pub fn silent(&self, on: bool) {
        self.locked().silent = on;
    }

    /// Whether the planned call was made.
    #[must_use]
    pub fn reached(&self) -> bool {
        self.locked().reached
    }

    /// Whether the planned call was still under way when its polls were used up.
    #[must_use]
    pub fn cancelled(&self) -> bool {
        self.locked().cancelled
    }

    /// How many calls of the method have been made.
    #[must_use]
    pub fn calls(&self, method: &'static str) -> usize {
        self.locked().calls.get(method).copied().unwrap_or(0)
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn pass<T>(
        &self,
        method: &'static str,
        call: impl Future<Output = Result<T, JournalError>> + Send,
    ) -> Result<T, JournalError> {
        let fault = {
            let mut plan = self.locked();
            let nth = plan.calls.entry(method).or_default();
            let now = *nth;
            *nth += 1;
            let hit = plan.planned.filter(|planned| planned.method == method && planned.call == now);
            plan.reached |= hit.is_some();
            if plan.outage { Some(Fault::Before) } else { hit.map(|planned| planned.fault) }
        };
        match fault {
            None => call.await,
            Some(Fault::Before) => Err(lost(method)),
            Some(Fault::After) => call.await.and_then(|_| Err(lost(method))),
            #[expect(clippy::panic, reason = "what was asked for")]
            Some(Fault::Panics) => {
                call.await.ok();
                panic!("{method} panics, as planned");
            }
            Some(Fault::AnsweredLate(by)) => {
                let answer = call.await;
                tokio::time::sleep(by).await;
                answer
            }
            Some(Fault::CancelledAfterPolls(polls)) => match polled(call, polls).await {
                Some(answer) => answer,
                None => {
                    self.locked().cancelled = true;
                    Err(lost(method))
                }
            },
        }
    }
}

/// The call is made unless it is refused for good.
fn unless(refused: bool, method: &'static str) -> Result<(), JournalError> {
    let refusal = || Err(JournalError::Corrupt { problem: format!("this {method} is refused, as planned") });
    if refused { refusal() } else { Ok(()) }
}

fn lost(method: &'static str) -> JournalError {
    JournalError::unavailable(method, "the answer was lost, as planned")
}

/// Polls the future at most so many times; none when it is then not done, and has been dropped.
pub async fn polled<T>(future: impl Future<Output = T>, polls: u32) -> Option<T> {
    let mut future = Box::pin(future);
    let mut left = polls;
    std::future::poll_fn(move |cx| {
        if left == 0 {
            return std::task::Poll::Ready(None);
        }
        left -= 1;
        match future.as_mut().poll(cx) {
            std::task::Poll::Ready(answer) => std::task::Poll::Ready(Some(answer)),
            std::task::Poll::Pending if left == 0 => std::task::Poll::Ready(None),
            std::task::Poll::Pending => std::task::Poll::Pending,
        }
    })
    .await
}

#[async_trait]
impl<J: Journal> Journal for FaultJournal<J> {
    async fn register(&self, outlines: &[Outline]) -> Result<Vec<Outline>, JournalError> {
        self.pass("register", self.journal.register(outlines)).await
    }

    async fn open_lease(&self, worker: &str, ttl: Duration) -> Result<(Lease, Timestamp), JournalError> {
        self.pass("open_lease", self.journal.open_lease(worker, ttl)).await
    }

    async fn renew_lease(&self, lease: Lease, ttl: Duration) -> Result<Timestamp, JournalError> {
        self.pass("renew_lease", self.journal.renew_lease(lease, ttl)).await
    }

    async fn close_lease(&self, lease: Lease) -> Result<u64, JournalError> {
        self.pass("close_lease", self.journal.close_lease(lease)).await
    }

    async fn fence_lapsed(&self) -> Result<Vec<Epoch>, JournalError> {
        self.pass("fence_lapsed", self.journal.fence_lapsed()).await
    }

    async fn start(&self, lease: Option<Lease>, sagas: &[NewSaga]) -> Result<Vec<StartReceipt>, JournalError> {
        let refused = self.locked().refused_key.as_ref().is_some_and(|key| sagas.iter().any(|saga| saga.key == *key));
        let start = async {
            unless(refused, "start")?;
            self.journal.start(lease, sagas).await
        };
        self.pass("start", start).await
    }

    async fn append(&self, lease: Lease, turns: &[Turn]) -> Result<Vec<Appended>, JournalError> {
        let refused = self.locked().refused.is_some_and(|saga| turns.iter().any(|turn| turn.saga == saga));
        let append = async {
            unless(refused, "append")?;
            self.journal.append(lease, turns).await
        };
        self.pass("append", append).await
    }

    async fn claim(&self, lease: Lease, definitions: &[(String, u32)], limit: usize) -> Result<Claim, JournalError> {
        self.pass("claim", self.journal.claim(lease, definitions, limit)).await
    }

    async fn claim_one(&self, lease: Lease, saga: SagaId) -> Result<ClaimOne, JournalError> {
        self.pass("claim_one", self.journal.claim_one(lease, saga)).await
    }

    async fn owned(&self, lease: Lease) -> Result<Vec<SagaHeader>, JournalError> {
        self.pass("owned", self.journal.owned(lease)).await
    }

    async fn send(&self, messages: &[Message]) -> Result<Vec<Sent>, JournalError> {
        self.pass("send", self.journal.send(messages)).await
    }

    async fn inbox(&self, lease: Lease) -> Result<Vec<Received>, JournalError> {
        self.pass("inbox", self.journal.inbox(lease)).await
    }

    async fn load(&self, sagas: &[SagaId]) -> Result<Vec<History>, JournalError> {
        self.pass("load", self.journal.load(sagas)).await
    }

    async fn find(&self, definition: &str, key: &str) -> Result<Option<SagaSummary>, JournalError> {
        self.pass("find", self.journal.find(definition, key)).await
    }

    async fn summary(&self, saga: SagaId) -> Result<Option<SagaSummary>, JournalError> {
        self.pass("summary", self.journal.summary(saga)).await
    }

    async fn list(&self, filter: &ListFilter, limit: usize) -> Result<Vec<SagaSummary>, JournalError> {
        self.pass("list", self.journal.list(filter, limit)).await
    }

    async fn dead_letters(&self, saga: Option<SagaId>, limit: usize) -> Result<Vec<DeadLetter>, JournalError> {
        self.pass("dead_letters", self.journal.dead_letters(saga, limit)).await
    }

    async fn unalerted(&self, limit: usize) -> Result<Vec<DeadLetter>, JournalError> {
        self.pass("unalerted", self.journal.unalerted(limit)).await
    }

    async fn mark_alerted(&self, letters: &[DeadLetter]) -> Result<(), JournalError> {
        self.pass("mark_alerted", self.journal.mark_alerted(letters)).await
    }

    async fn outbox(&self, lease: Lease, limit: usize) -> Result<OutboxBatch, JournalError> {
        self.pass("outbox", self.journal.outbox(lease, limit)).await
    }

    async fn settle_events(&self, lease: Lease, settled: &[SettledEvent]) -> Result<(), JournalError> {
        self.pass("settle_events", self.journal.settle_events(lease, settled)).await
    }

    async fn dead_events(&self, limit: usize) -> Result<Vec<DeadEvent>, JournalError> {
        self.pass("dead_events", self.journal.dead_events(limit)).await
    }

    async fn revive_event(&self, id: &str, again: bool) -> Result<bool, JournalError> {
        self.pass("revive_event", self.journal.revive_event(id, again)).await
    }

    async fn locks(&self, limit: usize) -> Result<Vec<LockEntry>, JournalError> {
        self.pass("locks", self.journal.locks(limit)).await
    }

    async fn expired(&self, retention: Duration, limit: usize) -> Result<Vec<SagaId>, JournalError> {
        self.pass("expired", self.journal.expired(retention, limit)).await
    }

    async fn forget(&self, sagas: &[SagaId], retention: Duration) -> Result<u64, JournalError> {
        self.pass("forget", self.journal.forget(sagas, retention)).await
    }

    async fn wait_for_work(&self, timeout: Duration) {
        let silent = self.locked().silent;
        match silent {
            true => tokio::time::sleep(timeout).await,
            false => self.journal.wait_for_work(timeout).await,
        }
    }
}
