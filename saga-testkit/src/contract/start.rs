//! J1 and J2: durable, idempotent starts.

use std::sync::Arc;

use saga_core::journal::{Journal as _, JournalError, NewSaga, SagaStatus, StartReceipt};

use super::Fixture;
use super::support::{LONG, bodies, lease, new_saga, start};

/// A start that has returned is seen by every other user of the storage.
pub async fn j1_what_was_started_is_there_for_everybody(fixture: &impl Fixture) {
    let journal = fixture.fresh().await;
    let lease = lease(&journal).await;
    let saga = start(&journal, Some(lease), &["k"]).await.remove(0);
    let other = fixture.reopen(&journal).await;
    let found = other.find("order", "k").await.unwrap().unwrap();
    assert_eq!(found.header.id, saga.id);
    assert_eq!((found.header.version, found.header.key.as_str(), found.header.input), (1, "k", saga.input));
    assert_eq!(found.status, SagaStatus::Running);
    assert_eq!(bodies(&other, saga.id).await, ["[\"start\"]"]);
    assert!(other.find("order", "another").await.unwrap().is_none());
    assert!(other.find("another", "k").await.unwrap().is_none());
}

/// A second saga under the same definition and key is not created; the first one is named.
pub async fn j2_a_key_has_one_saga(fixture: &impl Fixture) {
    let journal = fixture.fresh().await;
    let first = start(&journal, None, &["k"]).await.remove(0);
    let second = new_saga("k");
    let receipts = journal.start(None, std::slice::from_ref(&second)).await.unwrap();
    let StartReceipt::Exists(header) = &receipts[0] else { panic!("created twice") };
    assert_eq!((header.id, header.input), (first.id, first.input));
    assert!(journal.summary(second.id).await.unwrap().is_none());
    let other = NewSaga { definition: "refund".to_owned(), ..new_saga("k") };
    assert_eq!(journal.start(None, &[other]).await.unwrap(), [StartReceipt::Created]);
}

/// The id tells an earlier try of the same call from somebody else's saga.
pub async fn j2_starting_again_under_the_same_id_is_the_same_start(fixture: &impl Fixture) {
    let journal = fixture.fresh().await;
    let lease = lease(&journal).await;
    let saga = start(&journal, Some(lease), &["k"]).await.remove(0);
    let again = journal.start(Some(lease), std::slice::from_ref(&saga)).await.unwrap();
    assert_eq!(again, [StartReceipt::Created]);
    assert_eq!(bodies(&journal, saga.id).await.len(), 1);
}

/// One and the same saga twice in one call is one start; both are told so.
pub async fn j2_one_saga_twice_in_one_call_is_started_once(fixture: &impl Fixture) {
    let journal = fixture.fresh().await;
    let (saga, other) = (new_saga("a"), new_saga("b"));
    let call = [saga.clone(), other, saga.clone()];
    assert_eq!(journal.start(None, &call).await.unwrap(), vec![StartReceipt::Created; 3]);
    assert_eq!(journal.start(None, &call).await.unwrap(), vec![StartReceipt::Created; 3], "and again");
    assert_eq!(bodies(&journal, saga.id).await.len(), 1);
}

/// An id is one saga's: under another key it is refused, and the call writes nothing.
pub async fn j2_an_id_that_another_key_has_is_refused(fixture: &impl Fixture) {
    let journal = fixture.fresh().await;
    let first = start(&journal, None, &["a"]).await.remove(0);
    let (fresh, taken) = (new_saga("fresh"), NewSaga { id: first.id, ..new_saga("b") });
    let refused = journal.start(None, &[fresh.clone(), taken]).await;
    assert!(matches!(refused, Err(JournalError::Misconfigured { .. })), "{refused:?}");
    assert!(journal.find("order", "b").await.unwrap().is_none());
    assert!(journal.summary(fresh.id).await.unwrap().is_none());
    assert_eq!(journal.summary(first.id).await.unwrap().unwrap().header.key, "a");
}

/// One call may hold new keys, taken keys, and a key twice.
pub async fn j2_sagas_of_one_call_do_not_affect_each_other(fixture: &impl Fixture) {
    let journal = fixture.fresh().await;
    start(&journal, None, &["taken"]).await;
    let sagas = [new_saga("a"), new_saga("taken"), new_saga("b"), new_saga("a"), new_saga("c")];
    let receipts = journal.start(None, &sagas).await.unwrap();
    let created: Vec<bool> = receipts.iter().map(|receipt| *receipt == StartReceipt::Created).collect();
    assert_eq!((created[1], created[2], created[4]), (false, true, true));
    assert!(created[0] != created[3], "exactly one of the two has the key");
    for (saga, created) in sagas.iter().zip(created) {
        assert_eq!(journal.summary(saga.id).await.unwrap().is_some(), created);
    }
}

/// However many start the same key at once, there is one saga, and all are told the same.
pub async fn j2_many_concurrent_starts_make_one_saga(fixture: &impl Fixture) {
    let journal = Arc::new(fixture.fresh().await);
    let (lease, _) = journal.open_lease("worker", LONG).await.unwrap();
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let journal = journal.clone();
            tokio::spawn(async move {
                let saga = new_saga("same");
                match journal.start(Some(lease), std::slice::from_ref(&saga)).await.unwrap().remove(0) {
                    StartReceipt::Created => (saga.id, true),
                    StartReceipt::Exists(header) => (header.id, false),
                }
            })
        })
        .collect();
    let mut answers = Vec::new();
    for task in tasks {
        answers.push(task.await.unwrap());
    }
    assert_eq!(answers.iter().filter(|(_, created)| *created).count(), 1);
    assert!(answers.iter().all(|(id, _)| *id == answers[0].0));
}
