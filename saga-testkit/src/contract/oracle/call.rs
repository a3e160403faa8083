//! A call of the journal, with all its arguments: what is made, compared, and told when an answer differs.

use std::fmt::Debug;
use std::time::Duration;

use saga_core::definition::Outline;
use saga_core::journal::{DeadLetter, Journal, JournalError, Lease, ListFilter, Message, NewSaga, SettledEvent, Turn};
use saga_core::{Epoch, SagaId};

use super::model::{Model, Refusal};

/// More than there will ever be of anything.
const ALL: usize = 10_000;

#[derive(Clone, Debug)]
pub(super) enum Call {
    Open { worker: usize, ttl: Duration },
    Renew { lease: Lease, ttl: Duration },
    Close { lease: Lease },
    Fence,
    Register { outline: Outline },
    Start { lease: Option<Lease>, sagas: Vec<NewSaga> },
    Append { lease: Lease, turns: Vec<Turn> },
    Claim { lease: Lease, definitions: Vec<(String, u32)>, limit: usize },
    ClaimOne { lease: Lease, saga: SagaId },
    Send { messages: Vec<Message> },
    Relay { lease: Lease, limit: usize },
    Settle { lease: Lease, settled: Vec<SettledEvent> },
    Revive { id: String, again: bool },
    Acknowledge { letters: Vec<DeadLetter> },
    Expired { retention: Duration, limit: usize },
    Forget { sagas: Vec<SagaId>, retention: Duration },
    Owned { lease: Lease },
    Inbox { lease: Lease },
    Load { sagas: Vec<SagaId> },
    Find { definition: String, key: String },
    Summary { saga: SagaId },
    List { filter: ListFilter, limit: usize },
    Letters { saga: Option<SagaId> },
    Unalerted,
    DeadEvents,
    Locks,
}

impl Call {
    /// Makes the call, and compares. The answer as text, or what is wrong with it.
    pub(super) async fn make(&self, journal: &impl Journal, model: &mut Model) -> Result<String, String> {
        model.go_on();
        match self {
            Self::Open { .. } | Self::Renew { .. } | Self::Close { .. } | Self::Fence | Self::Register { .. } => {
                self.of_a_lease(journal, model).await
            }
            Self::Start { lease, sagas } => same(journal.start(*lease, sagas).await, model.start(*lease, sagas)),
            Self::Append { lease, turns } => same(journal.append(*lease, turns).await, model.append(*lease, turns)),
            Self::Claim { lease, definitions, limit } => {
                let answer = heard(journal.claim(*lease, definitions, *limit).await);
                judged(&answer, model.claim(*lease, definitions, *limit, &answer))
            }
            Self::ClaimOne { lease, saga } => {
                same(journal.claim_one(*lease, *saga).await, model.claim_one(*lease, *saga))
            }
            Self::Send { messages } => same(journal.send(messages).await, Ok(model.send(messages))),
            Self::Relay { lease, limit } => {
                let answer = heard(journal.outbox(*lease, *limit).await);
                judged(&answer, model.relay(*lease, *limit, &answer))
            }
            Self::Settle { lease, settled } => {
                model.settle(*lease, settled);
                same(journal.settle_events(*lease, settled).await, Ok(()))
            }
            Self::Revive { id, again } => same(journal.revive_event(id, *again).await, Ok(model.revive(id, *again))),
            Self::Acknowledge { letters } => {
                model.acknowledge(letters);
                same(journal.mark_alerted(letters).await, Ok(()))
            }
            Self::Expired { retention, limit } => {
                let answer = heard(journal.expired(*retention, *limit).await);
                judged(&answer, model.expired(*retention, *limit, &answer))
            }
            Self::Forget { sagas, retention } => {
                same(journal.forget(sagas, *retention).await, Ok(model.forget(sagas, *retention)))
            }
            _ => self.look(journal, model).await,
        }
    }

    async fn of_a_lease(&self, journal: &impl Journal, model: &mut Model) -> Result<String, String> {
        match self {
            Self::Open { worker, ttl } => {
                let answer = heard(journal.open_lease(&format!("worker {worker}"), *ttl).await);
                judged(&answer, model.open(*worker, *ttl, &answer))
            }
            Self::Renew { lease, ttl } => {
                // When is the journal's own affair.
                same(journal.renew_lease(*lease, *ttl).await.map(drop), model.renew(*lease, *ttl))
            }
            Self::Close { lease } => same(journal.close_lease(*lease).await, Ok(model.close(*lease))),
            Self::Register { outline } => {
                let outlines = std::slice::from_ref(outline);
                same(journal.register(outlines).await, Ok(vec![model.register(outline)]))
            }
            _ => {
                let mut fenced: Result<Vec<Epoch>, JournalError> = journal.fence_lapsed().await;
                fenced.iter_mut().for_each(|epochs| epochs.sort_unstable());
                same(fenced, Ok(model.fence()))
            }
        }
    }

    /// Calls that change nothing.
    async fn look(&self, journal: &impl Journal, model: &mut Model) -> Result<String, String> {
        match self {
            Self::Owned { lease } => {
                let answer = heard(journal.owned(*lease).await);
                judged(&answer, model.owned(*lease, &answer))
            }
            Self::Inbox { lease } => {
                let answer = heard(journal.inbox(*lease).await);
                judged(&answer, model.inbox(*lease, &answer))
            }
            Self::Load { sagas } => {
                let answer = heard(journal.load(sagas).await);
                judged(&answer, model.load(sagas, &answer))
            }
            Self::Find { definition, key } => same(
                journal.find(definition, key).await.map(|found| found.map(timeless)),
                Ok(model.find(definition, key)),
            ),
            Self::Summary { saga } => {
                same(journal.summary(*saga).await.map(|found| found.map(timeless)), Ok(model.summary(*saga)))
            }
            Self::List { filter, limit } => {
                let listed = journal.list(filter, *limit).await;
                same(listed.map(|all| all.into_iter().map(timeless).collect()), Ok(model.list(filter, *limit)))
            }
            Self::Letters { saga } => {
                let answer = heard(journal.dead_letters(*saga, ALL).await);
                judged(&answer, model.letters(*saga, &answer))
            }
            Self::Unalerted => {
                let answer = heard(journal.unalerted(ALL).await);
                judged(&answer, model.unalerted(&answer))
            }
            Self::DeadEvents => {
                let answer = heard(journal.dead_events(ALL).await);
                judged(&answer, model.dead_events(&answer))
            }
            _ => {
                let answer = heard(journal.locks(ALL).await);
                judged(&answer, model.locks(&answer))
            }
        }
    }

    /// The name of the journal's method, for the count of what was called.
    pub(super) fn name(&self) -> String {
        let text = format!("{self:?}");
        text.split([' ', '{']).next().unwrap_or_default().to_owned()
    }
}

/// Headers come without the time at which they were made, which only the journal knows.
fn timeless(mut summary: saga_core::journal::SagaSummary) -> saga_core::journal::SagaSummary {
    super::model::forget_time(&mut summary.header);
    summary
}

/// What the journal answered, as far as the model can tell errors apart.
fn heard<T>(answer: Result<T, JournalError>) -> Result<T, Refusal> {
    answer.map_err(|error| match error {
        JournalError::Fenced { .. } => Refusal::Fenced,
        JournalError::Misconfigured { .. } => Refusal::IdTaken,
        other => Refusal::Unexpected(format!("{other:?}")),
    })
}

/// The two answers have to be the same.
fn same<T: Debug + PartialEq + Timeless>(
    answer: Result<T, JournalError>,
    expected: Result<T, Refusal>,
) -> Result<String, String> {
    let answer = heard(answer).map(Timeless::timeless);
    if answer == expected {
        Ok(format!("{answer:?}"))
    } else {
        Err(format!("answer: {answer:?}\n model: {expected:?}"))
    }
}

/// The model has looked at the answer by itself.
fn judged<T: Debug>(answer: &T, verdict: Result<(), String>) -> Result<String, String> {
    verdict.map(|()| format!("{answer:?}")).map_err(|expected| format!("answer: {answer:?}\n model: {expected}"))
}

/// Answers without the times in them that only the journal knows.
trait Timeless {
    fn timeless(self) -> Self;
}

macro_rules! has_no_time {
    ($($type:ty),*) => {
        $(impl Timeless for $type {
            fn timeless(self) -> Self {
                self
            }
        })*
    };
}

has_no_time!(
    (),
    u64,
    bool,
    Vec<Epoch>,
    Vec<Outline>,
    Vec<saga_core::journal::Appended>,
    Vec<saga_core::journal::Sent>,
    Vec<saga_core::journal::SagaSummary>,
    Option<saga_core::journal::SagaSummary>
);

impl Timeless for Vec<saga_core::journal::StartReceipt> {
    fn timeless(mut self) -> Self {
        for receipt in &mut self {
            if let saga_core::journal::StartReceipt::Exists(header) = receipt {
                super::model::forget_time(header);
            }
        }
        self
    }
}

impl Timeless for saga_core::journal::ClaimOne {
    fn timeless(mut self) -> Self {
        if let Self::Claimed(claimed) = &mut self {
            super::model::forget_time(&mut claimed.header);
        }
        self
    }
}
