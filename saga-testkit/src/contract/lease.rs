//! J3: leases by the journal's clock.

use saga_core::journal::{Journal as _, SagaStatus};

use super::Fixture;
use super::support::{LONG, SHORT, claim, lease, start};

/// No epoch is ever used twice, not by another process either.
pub async fn j3_epochs_only_grow(fixture: &impl Fixture) {
    let journal = fixture.fresh().await;
    let other = fixture.reopen(&journal).await;
    let mut last = lease(&journal).await;
    for nth in 0..5 {
        journal.close_lease(last).await.unwrap();
        let next = if nth % 2 == 0 { lease(&other).await } else { lease(&journal).await };
        assert!(next.epoch > last.epoch);
        last = next;
    }
}

/// After a close the sagas are due at once, without an owner; closing again does nothing.
pub async fn j3_a_closed_lease_hands_its_sagas_back_at_once(fixture: &impl Fixture) {
    let journal = fixture.fresh().await;
    let first = lease(&journal).await;
    let sagas = start(&journal, Some(first), &["a", "b"]).await;
    assert_eq!(journal.close_lease(first).await.unwrap(), 2);
    assert_eq!(journal.close_lease(first).await.unwrap(), 0);
    assert_eq!(journal.summary(sagas[0].id).await.unwrap().unwrap().status, SagaStatus::Waiting);
    let second = lease(&journal).await;
    let claimed = claim(&journal, second, 10).await;
    assert_eq!(claimed.sagas.len(), 2);
    assert!(claimed.sagas.iter().all(|saga| !saga.crashed), "handed back is no crash");
}

/// Expiry alone takes nothing away: a worker that was cut off goes on if nobody took over.
pub async fn j3_a_lapsed_lease_that_nobody_fenced_can_be_renewed(fixture: &impl Fixture) {
    let journal = fixture.fresh().await;
    let (lease, opened) = journal.open_lease("worker", SHORT).await.unwrap();
    fixture.pass(SHORT * 2).await;
    let renewed = journal.renew_lease(lease, LONG).await.unwrap();
    assert!(renewed.since(opened) >= SHORT);
    assert_eq!(journal.fence_lapsed().await.unwrap(), []);
    start(&journal, Some(lease), &["k"]).await;
}
