//! Short ways to sagas, turns and answers.

use std::time::Duration;

use saga_core::journal::{
    After, Appended, Claim, Journal, JournalError, Lease, LetterChange, NewSaga, Standing, StartReceipt, Turn,
};
use saga_core::machine::AttentionReason;
use saga_core::{Digest, Op, SagaId, StepName, Timestamp};

/// Long enough not to lapse by accident.
pub(crate) const LONG: Duration = Duration::from_secs(3600);
/// Short enough to wait for.
pub(crate) const SHORT: Duration = Duration::from_millis(150);

pub(crate) fn new_saga(key: &str) -> NewSaga {
    NewSaga {
        id: SagaId::new(),
        definition: "order".to_owned(),
        version: 1,
        key: key.to_owned(),
        input: Digest::of_text("input"),
        body: "[\"start\"]".to_owned(),
        nonce: 1,
    }
}

pub(crate) fn turn(saga: &NewSaga, seq: u32, after: After) -> Turn {
    Turn {
        saga: saga.id,
        seq,
        nonce: i64::from(seq) * 1000 + 7,
        body: format!("[\"turn {seq}\"]"),
        after,
        letters: Vec::new(),
        read: Vec::new(),
    }
}

pub(crate) fn parked(at: Option<Timestamp>) -> After {
    After::Park { wake_at: at, standing: Standing::Waiting }
}

pub(crate) fn opens(step: &str) -> LetterChange {
    LetterChange::Open {
        step: Some(StepName::from(step)),
        op: Op::Compensate,
        reason: AttentionReason::Failed,
        error: "void refused".to_owned(),
        attempts: 3,
    }
}

pub(crate) fn closes(step: &str) -> LetterChange {
    LetterChange::Close {
        step: Some(StepName::from(step)),
        op: Op::Compensate,
        resolution: "skip".to_owned(),
        actor: "ann".to_owned(),
        reason: "done by hand".to_owned(),
    }
}

pub(crate) async fn lease(journal: &impl Journal) -> Lease {
    journal.open_lease("worker", LONG).await.unwrap().0
}

/// Starts sagas with these keys, owned by the lease.
pub(crate) async fn start(journal: &impl Journal, lease: Option<Lease>, keys: &[&str]) -> Vec<NewSaga> {
    let sagas: Vec<NewSaga> = keys.iter().map(|key| new_saga(key)).collect();
    let receipts = journal.start(lease, &sagas).await.unwrap();
    assert_eq!(receipts, vec![StartReceipt::Created; keys.len()]);
    sagas
}

pub(crate) async fn append(journal: &impl Journal, lease: Lease, turn: Turn) -> Appended {
    let answers = journal.append(lease, &[turn]).await.unwrap();
    assert_eq!(answers.len(), 1);
    answers[0]
}

pub(crate) async fn claim(journal: &impl Journal, lease: Lease, limit: usize) -> Claim {
    journal.claim(lease, &[("order".to_owned(), 1)], limit).await.unwrap()
}

/// The texts of a saga's history.
pub(crate) async fn bodies(journal: &impl Journal, saga: SagaId) -> Vec<String> {
    let mut histories = journal.load(&[saga]).await.unwrap();
    assert_eq!(histories.len(), 1);
    histories.remove(0).turns.into_iter().map(|turn| turn.body).collect()
}

pub(crate) fn assert_fenced<T: std::fmt::Debug>(answer: Result<T, JournalError>) {
    assert!(matches!(answer, Err(JournalError::Fenced { .. })), "expected Fenced, found {answer:?}");
}
