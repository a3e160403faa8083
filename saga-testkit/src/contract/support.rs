//! Short ways to sagas, turns and answers.

use std::time::Duration;

use saga_core::journal::{
    After, Appended, Claim, Journal, JournalError, Lease, LetterChange, LockChange, Message, NewEvent, NewSaga, Sent,
    Standing, StartReceipt, Turn,
};
use saga_core::machine::AttentionReason;
use saga_core::{Digest, Op, SagaId, StepName, Timestamp};

/// Long enough not to lapse by accident.
pub(crate) const LONG: Duration = Duration::from_secs(3600);
/// Short enough to wait for.
pub(crate) const SHORT: Duration = Duration::from_millis(150);

/// A saga under this key, to be started: of the definition `order`, with an id of its own. Its first turn is no history
/// that an engine could go on with.
#[must_use]
pub fn new_saga(key: &str) -> NewSaga {
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
    Turn::new(saga.id, seq, i64::from(seq) * 1000 + 7, format!("[\"turn {seq}\"]"), after)
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

/// Forgets what has ended longer ago than this, up to so many sagas.
pub(crate) async fn swept(journal: &impl Journal, retention: Duration, limit: usize) -> u64 {
    let expired = journal.expired(retention, limit).await.unwrap();
    journal.forget(&expired, retention).await.unwrap()
}

/// A seed for random tests, printed for who wants to see a failure again with `SAGA_SEED`.
pub(crate) fn seed() -> u64 {
    let given = std::env::var("SAGA_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| fastrand::u64(..));
    println!("SAGA_SEED={seed}");
    seed
}

pub(crate) fn message(key: &str, id: &str) -> Message {
    Message { definition: "order".to_owned(), key: key.to_owned(), id: id.to_owned(), body: format!("\"{id}\"") }
}

pub(crate) async fn sent(journal: &impl Journal, key: &str, id: &str) -> Sent {
    journal.send(&[message(key, id)]).await.unwrap()[0]
}

/// The ids of what the lease's sagas have not read.
pub(crate) async fn unread(journal: &impl Journal, lease: Lease) -> Vec<String> {
    journal.inbox(lease).await.unwrap().into_iter().map(|received| received.id).collect()
}

pub(crate) fn event(id: &str) -> NewEvent {
    NewEvent {
        id: id.to_owned(),
        topic: "shipped".to_owned(),
        headers: [("tenant".to_owned(), "é 🦀".to_owned())].into(),
        payload: format!("{{\"id\":\"{id}\"}}"),
    }
}

/// The turn that publishes these events.
pub(crate) fn publishing(turn: Turn, ids: &[&str]) -> Turn {
    Turn { events: ids.iter().map(|id| event(id)).collect(), ..turn }
}

/// The ids of what a relay with this lease is given to publish.
pub(crate) async fn outbox(journal: &impl Journal, lease: Lease) -> Vec<String> {
    let batch = journal.outbox(lease, 100).await.unwrap();
    batch.events.into_iter().map(|event| event.event.id).collect()
}

pub(crate) fn asking(turn: Turn, keys: &[&str]) -> Turn {
    let keys = keys.iter().map(|key| (*key).to_owned()).collect();
    Turn { locks: Some(LockChange::Ask { step: StepName::from("lock"), keys }), ..turn }
}

pub(crate) fn giving_up(turn: Turn) -> Turn {
    Turn { locks: Some(LockChange::GiveUp), ..turn }
}

/// The turn that takes in these messages.
pub(crate) fn reading(turn: Turn, ids: &[&str]) -> Turn {
    Turn { read: ids.iter().map(|id| (*id).to_owned()).collect(), ..turn }
}
