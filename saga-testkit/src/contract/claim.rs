//! J8: every saga has at most one owner, and none is left lying.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use saga_core::journal::{After, ClaimOne, End, Journal as _, NewSaga, SagaStatus, Standing};

use super::Fixture;
use super::support::{LONG, SHORT, append, claim, lease, new_saga, parked, start, turn};

/// Four workers claim two hundred sagas: each saga goes to one of them.
pub async fn j8_claims_are_disjoint_and_complete(fixture: &impl Fixture) {
    let journal = Arc::new(fixture.fresh().await);
    let sagas: Vec<NewSaga> = (0..200).map(|nth| new_saga(&format!("k{nth}"))).collect();
    journal.start(None, &sagas).await.unwrap();
    let tasks: Vec<_> = (0..4)
        .map(|_| {
            let journal = journal.clone();
            tokio::spawn(async move {
                let (lease, _) = journal.open_lease("worker", LONG).await.unwrap();
                let mut mine = Vec::new();
                // A claim may come back short while others hold what it would take.
                let mut empty = 0;
                while empty < 3 {
                    let claimed = claim(&*journal, lease, 7).await.sagas;
                    empty = if claimed.is_empty() { empty + 1 } else { 0 };
                    mine.extend(claimed.into_iter().map(|saga| saga.header.id));
                    tokio::task::yield_now().await;
                }
                mine
            })
        })
        .collect();
    let mut all = Vec::new();
    for task in tasks {
        all.extend(task.await.unwrap());
    }
    assert_eq!(all.len(), 200, "none twice");
    assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), 200, "none left");
}

/// Not before its time, and then the longest due first.
pub async fn j8_a_parked_saga_is_claimed_when_it_is_due(fixture: &impl Fixture) {
    let journal = fixture.fresh().await;
    let lease = lease(&journal).await;
    let sagas = start(&journal, Some(lease), &["late", "early", "far"]).await;
    let now = claim(&journal, lease, 10).await.now;
    let due = [now.after(SHORT * 2), now.after(SHORT), now.after(LONG)];
    for (saga, due) in sagas.iter().zip(due) {
        append(&journal, lease, turn(saga, 1, parked(Some(due)))).await;
    }
    let early = claim(&journal, lease, 10).await;
    assert_eq!(early.sagas, []);
    assert_eq!(early.next_due_at, Some(due[1]));
    fixture.pass(SHORT * 3).await;
    let first = claim(&journal, lease, 1).await;
    assert_eq!(first.sagas[0].header.id, sagas[1].id, "the longest due first");
    let second = claim(&journal, lease, 10).await;
    assert_eq!(second.sagas.len(), 1);
    assert_eq!(second.sagas[0].header.id, sagas[0].id);
    assert_eq!(second.next_due_at, Some(due[2]));
    assert!(second.now.since(now) >= SHORT * 2);
}

/// Other definitions and versions are left for workers that have them.
pub async fn j8_only_known_definitions_are_claimed(fixture: &impl Fixture) {
    let journal = fixture.fresh().await;
    let (first, _) = journal.open_lease("gone", SHORT).await.unwrap();
    let old = new_saga("old");
    let new = NewSaga { version: 2, ..new_saga("new") };
    let other = NewSaga { definition: "refund".to_owned(), ..new_saga("other") };
    journal.start(None, &[old.clone(), new.clone()]).await.unwrap();
    journal.start(Some(first), std::slice::from_ref(&other)).await.unwrap();
    fixture.pass(SHORT * 2).await;
    journal.fence_lapsed().await.unwrap();
    let lease = lease(&journal).await;
    assert_eq!(journal.claim(lease, &[], 10).await.unwrap().sagas, []);
    let claimed = claim(&journal, lease, 10).await.sagas;
    assert_eq!(claimed.iter().map(|saga| saga.header.id).collect::<Vec<_>>(), [old.id]);
    let both = [("order".to_owned(), 2), ("refund".to_owned(), 1)];
    let mut claimed = journal.claim(lease, &both, 10).await.unwrap().sagas;
    claimed.sort_by_key(|saga| saga.crashed);
    assert_eq!(
        claimed.iter().map(|saga| (saga.header.id, saga.crashed)).collect::<Vec<_>>(),
        [(new.id, false), (other.id, true)]
    );
}

/// Without a time set, only a claim by name gets it.
pub async fn j8_a_saga_that_waits_for_a_human_is_claimed_by_name_alone(fixture: &impl Fixture) {
    let journal = fixture.fresh().await;
    let (own, other) = (lease(&journal).await, lease(&journal).await);
    let sagas = start(&journal, Some(own), &["attention", "ended"]).await;
    assert!(
        matches!(journal.claim_one(other, sagas[0].id).await.unwrap(), ClaimOne::Owned(epoch) if epoch == own.epoch)
    );
    append(&journal, own, turn(&sagas[0], 1, After::Park { wake_at: None, standing: Standing::NeedsAttention })).await;
    append(&journal, own, turn(&sagas[1], 1, After::End(End::Completed))).await;
    fixture.pass(Duration::from_millis(50)).await;
    assert_eq!(claim(&journal, other, 10).await.sagas, []);
    assert_eq!(journal.summary(sagas[0].id).await.unwrap().unwrap().status, SagaStatus::NeedsAttention);
    let ClaimOne::Claimed(claimed) = journal.claim_one(other, sagas[0].id).await.unwrap() else {
        panic!("not claimed")
    };
    assert_eq!((claimed.header.id, claimed.crashed), (sagas[0].id, false));
    assert_eq!(journal.summary(sagas[0].id).await.unwrap().unwrap().status, SagaStatus::Running);
    assert!(matches!(journal.claim_one(other, sagas[1].id).await.unwrap(), ClaimOne::Ended));
    assert!(matches!(journal.claim_one(other, new_saga("x").id).await.unwrap(), ClaimOne::NotFound));
}

/// What a worker owns can be asked for, whatever answers were lost.
pub async fn j8_owned_tells_what_a_lost_claim_brought(fixture: &impl Fixture) {
    let journal = fixture.fresh().await;
    let lease = lease(&journal).await;
    let sagas = start(&journal, None, &["a", "b"]).await;
    assert_eq!(journal.owned(lease).await.unwrap(), []);
    claim(&journal, lease, 1).await;
    assert_eq!(journal.owned(lease).await.unwrap().len(), 1);
    claim(&journal, lease, 1).await;
    let mut owned: Vec<_> = journal.owned(lease).await.unwrap().into_iter().map(|header| header.id).collect();
    owned.sort_unstable();
    let mut all: Vec<_> = sagas.iter().map(|saga| saga.id).collect();
    all.sort_unstable();
    assert_eq!(owned, all);
}
