//! J9: what was written is read, whole and in order.

use saga_core::journal::{After, End, Journal as _, SagaStatus, Standing};

use super::Fixture;
use super::support::{SHORT, append, lease, new_saga, parked, start, turn};

/// Histories come in the order asked for; those that do not exist are left out.
pub async fn j9_histories_are_whole_and_in_order(fixture: &impl Fixture) {
    let journal = fixture.fresh().await;
    let other = fixture.reopen(&journal).await;
    let lease = lease(&journal).await;
    let sagas = start(&journal, Some(lease), &["a", "b"]).await;
    for seq in 1..=12 {
        append(&journal, lease, turn(&sagas[0], seq, After::Keep)).await;
        let history = other.load(&[sagas[0].id]).await.unwrap().remove(0);
        assert_eq!(history.turns.len() as u32, seq + 1, "an append that returned is there");
    }
    let histories = other.load(&[sagas[1].id, new_saga("missing").id, sagas[0].id]).await.unwrap();
    let ids: Vec<_> = histories.iter().map(|history| history.header.id).collect();
    assert_eq!(ids, [sagas[1].id, sagas[0].id]);
    for (seq, stored) in histories[1].turns.iter().enumerate().skip(1) {
        assert_eq!(stored.body, format!("[\"turn {seq}\"]"));
        assert_eq!(stored.epoch, Some(lease.epoch));
    }
    assert!(histories[1].turns.is_sorted_by_key(|stored| stored.at));
    assert_eq!(other.load(&[]).await.unwrap(), []);
}

/// Running, waiting, needs attention, watching for late effects, ended.
pub async fn j9_summaries_tell_where_a_saga_stands(fixture: &impl Fixture) {
    let journal = fixture.fresh().await;
    let (lease, _) = journal.open_lease("worker", SHORT).await.unwrap();
    let sagas = start(&journal, Some(lease), &["running", "waiting", "attention", "watching", "done", "back"]).await;
    let after = [
        After::Keep,
        parked(None),
        After::Park { wake_at: None, standing: Standing::NeedsAttention },
        After::Park { wake_at: None, standing: Standing::Watching },
        After::End(End::Completed),
        After::End(End::RolledBack),
    ];
    for (saga, after) in sagas.iter().zip(after) {
        append(&journal, lease, turn(saga, 1, after)).await;
    }
    let expected = [
        SagaStatus::Running,
        SagaStatus::Waiting,
        SagaStatus::NeedsAttention,
        SagaStatus::Watching,
        SagaStatus::Ended(End::Completed),
        SagaStatus::Ended(End::RolledBack),
    ];
    for (saga, expected) in sagas.iter().zip(expected) {
        assert_eq!(journal.summary(saga.id).await.unwrap().unwrap().status, expected);
        assert_eq!(journal.find("order", &saga.key).await.unwrap().unwrap().status, expected);
    }
    fixture.pass(SHORT * 2).await;
    journal.fence_lapsed().await.unwrap();
    let orphan = journal.summary(sagas[0].id).await.unwrap().unwrap();
    assert_eq!(orphan.status, SagaStatus::Waiting, "it waits for a worker");
}
