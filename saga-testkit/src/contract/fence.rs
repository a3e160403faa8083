//! J4: a worker that lost its lease can do nothing.

use saga_core::journal::{After, Appended, ClaimOne, Journal as _};

use super::Fixture;
use super::support::{LONG, SHORT, append, assert_fenced, bodies, claim, lease, new_saga, start, turn};

/// A lease is fenced once, after it has lapsed and not before.
pub async fn j4_only_lapsed_leases_are_fenced(fixture: &impl Fixture) {
    let journal = fixture.fresh().await;
    let (short, _) = journal.open_lease("short", SHORT).await.unwrap();
    let (renewed, _) = journal.open_lease("renewed", SHORT).await.unwrap();
    let (long, _) = journal.open_lease("long", LONG).await.unwrap();
    journal.renew_lease(renewed, LONG).await.unwrap();
    assert_eq!(journal.fence_lapsed().await.unwrap(), []);
    fixture.pass(SHORT * 2).await;
    assert_eq!(journal.fence_lapsed().await.unwrap(), [short.epoch]);
    assert_eq!(journal.fence_lapsed().await.unwrap(), []);
    journal.renew_lease(renewed, LONG).await.unwrap();
    journal.renew_lease(long, LONG).await.unwrap();
    assert_fenced(journal.renew_lease(short, LONG).await);
}

/// Append, start, claim: nothing of a fenced lease has an effect.
pub async fn j4_a_fenced_lease_can_do_nothing(fixture: &impl Fixture) {
    let journal = fixture.fresh().await;
    let (zombie, _) = journal.open_lease("zombie", SHORT).await.unwrap();
    let saga = start(&journal, Some(zombie), &["k"]).await.remove(0);
    let waiting = start(&journal, None, &["waiting"]).await.remove(0);
    fixture.pass(SHORT * 2).await;
    journal.fence_lapsed().await.unwrap();
    assert_fenced(journal.append(zombie, &[turn(&saga, 1, After::Keep)]).await);
    assert_fenced(journal.start(Some(zombie), &[new_saga("late")]).await);
    assert_fenced(journal.claim(zombie, &[("order".to_owned(), 1)], 10).await);
    assert_fenced(journal.claim_one(zombie, waiting.id).await);
    assert_eq!(journal.close_lease(zombie).await.unwrap(), 0);
    assert!(journal.find("order", "late").await.unwrap().is_none());
    assert_eq!(bodies(&journal, saga.id).await.len(), 1);
    let next = lease(&journal).await;
    assert_eq!(claim(&journal, next, 10).await.sagas.len(), 2, "nothing hangs on the zombie");
}

/// The successor reads all that went in before the fence, and goes on from there.
pub async fn j4_a_takeover_sees_every_append_that_went_in(fixture: &impl Fixture) {
    let journal = fixture.fresh().await;
    let other = fixture.reopen(&journal).await;
    let (first, _) = journal.open_lease("first", SHORT).await.unwrap();
    let saga = start(&journal, Some(first), &["k"]).await.remove(0);
    let mut written = 1;
    let successor = lease(&other).await;
    // The first worker goes on appending until it is refused.
    let zombie = async {
        for seq in 1.. {
            match journal.append(first, &[turn(&saga, seq, After::Keep)]).await {
                Ok(answers) => assert_eq!(answers, [Appended::Written]),
                Err(error) => {
                    assert!(error.is_fenced(), "{error:?}");
                    break;
                }
            }
            written += 1;
            tokio::task::yield_now().await;
        }
    };
    let takeover = async {
        fixture.pass(SHORT * 2).await;
        while other.fence_lapsed().await.unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
        let claimed = claim(&other, successor, 10).await;
        assert!(claimed.sagas[0].crashed);
        bodies(&other, saga.id).await.len()
    };
    let ((), seen) = tokio::join!(zombie, takeover);
    assert_eq!(seen, written);
    let next = u32::try_from(seen).unwrap();
    assert_eq!(append(&other, successor, turn(&saga, next, After::Keep)).await, Appended::Written);
    let again = other.claim_one(successor, saga.id).await.unwrap();
    assert!(matches!(again, ClaimOne::Claimed(_)));
}
