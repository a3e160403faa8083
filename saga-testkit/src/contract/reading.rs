//! J9: what was written is read, whole and in order.

use saga_core::journal::{After, End, Journal as _, ListFilter, SagaStatus, SagaSummary, Standing, Turn};

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

/// Running, waiting, needs attention, watching for late effects, kept for its parent, ended.
pub async fn j9_summaries_tell_where_a_saga_stands(fixture: &impl Fixture) {
    let journal = fixture.fresh().await;
    let (lease, _) = journal.open_lease("worker", SHORT).await.unwrap();
    let sagas =
        start(&journal, Some(lease), &["running", "waiting", "attention", "watching", "retained", "done", "back"])
            .await;
    let after = [
        After::Keep,
        parked(None),
        After::Park { wake_at: None, standing: Standing::NeedsAttention },
        After::Park { wake_at: None, standing: Standing::Watching },
        After::Park { wake_at: None, standing: Standing::Retained },
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
        SagaStatus::Retained,
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

/// People look for sagas by where they stand, by definition and by key, newest first, page by page.
pub async fn j9_sagas_are_listed_newest_first_by_what_is_asked_for(fixture: &impl Fixture) {
    let journal = fixture.fresh().await;
    let lease = lease(&journal).await;
    let started = ["a-running", "a-waiting", "b-attention", "b-watching", "b-retained", "c-done", "c-back"];
    let sagas = start(&journal, Some(lease), &started).await;
    let after = [
        After::Keep,
        parked(None),
        After::Park { wake_at: None, standing: Standing::NeedsAttention },
        After::Park { wake_at: None, standing: Standing::Watching },
        After::Park { wake_at: None, standing: Standing::Retained },
        After::End(End::Completed),
        After::End(End::RolledBack),
    ];
    for (saga, after) in sagas.iter().zip(after) {
        append(&journal, lease, turn(saga, 1, after)).await;
    }
    let other = saga_core::journal::NewSaga { definition: "refund".to_owned(), ..new_saga("a-refund") };
    journal.start(Some(lease), std::slice::from_ref(&other)).await.unwrap();
    let found = async |filter: ListFilter, limit| keys(journal.list(&filter, limit).await.unwrap());
    let all = found(ListFilter::default(), 100).await;
    assert_eq!(
        all,
        ["a-refund", "c-back", "c-done", "b-retained", "b-watching", "b-attention", "a-waiting", "a-running"]
    );
    let order = ListFilter { definition: Some("order".to_owned()), ..ListFilter::default() };
    assert_eq!(found(order.clone(), 2).await, ["c-back", "c-done"]);
    let next = ListFilter { before: Some(sagas[5].id), ..order };
    assert_eq!(found(next, 2).await, ["b-retained", "b-watching"]);
    let prefix = ListFilter { key_prefix: Some("a-".to_owned()), ..ListFilter::default() };
    assert_eq!(found(prefix, 100).await, ["a-refund", "a-waiting", "a-running"]);
    for (status, expected) in [
        (SagaStatus::Running, &["a-refund", "a-running"][..]),
        (SagaStatus::Waiting, &["a-waiting"]),
        (SagaStatus::NeedsAttention, &["b-attention"]),
        (SagaStatus::Watching, &["b-watching"]),
        (SagaStatus::Retained, &["b-retained"]),
        (SagaStatus::Ended(End::Completed), &["c-done"]),
        (SagaStatus::Ended(End::RolledBack), &["c-back"]),
    ] {
        let filter = ListFilter { status: Some(status), ..ListFilter::default() };
        assert_eq!(found(filter, 100).await, expected, "{status:?}");
    }
    // What no saga can be called is nobody's, and no error.
    for strange in ["%'_\\", "\0", "a-\0"] {
        let prefix = ListFilter { key_prefix: Some(strange.to_owned()), ..ListFilter::default() };
        assert_eq!(found(prefix, 100).await, [""; 0], "{strange:?}");
        let definition = ListFilter { definition: Some(strange.to_owned()), ..ListFilter::default() };
        assert_eq!(found(definition, 100).await, [""; 0], "{strange:?}");
        assert!(journal.find("order", strange).await.unwrap().is_none(), "{strange:?}");
        assert!(journal.find(strange, "c-done").await.unwrap().is_none(), "{strange:?}");
    }
}

/// An interval of times of creation holds its beginning and not its end.
pub async fn j9_sagas_are_found_by_when_they_were_created(fixture: &impl Fixture) {
    let journal = fixture.fresh().await;
    let lease = lease(&journal).await;
    for key in ["first", "second", "third"] {
        start(&journal, Some(lease), &[key]).await;
        fixture.pass(SHORT).await;
    }
    let created = async |key| journal.find("order", key).await.unwrap().unwrap().header.created_at;
    let (first, second, third) = (created("first").await, created("second").await, created("third").await);
    let found = async |created_after, created_before| {
        let filter = ListFilter { created_after, created_before, ..ListFilter::default() };
        keys(journal.list(&filter, 100).await.unwrap())
    };
    assert_eq!(found(Some(second), None).await, ["third", "second"], "its beginning is in it");
    assert_eq!(found(None, Some(second)).await, ["first"], "its end is not");
    assert_eq!(found(Some(first), Some(third)).await, ["second", "first"]);
    assert_eq!(found(Some(second), Some(second)).await, [""; 0], "nothing is in an interval without a span");
    assert_eq!(found(Some(third), Some(first)).await, [""; 0], "nor in one that ends before it begins");
}

/// People look for sagas by an error's text. It is compared as it is, with nothing in it that means
/// anything to a database, in the form that it has within JSON.
pub async fn j9_sagas_are_found_by_what_their_history_mentions(fixture: &impl Fixture) {
    let journal = fixture.fresh().await;
    let lease = lease(&journal).await;
    let sagas = start(&journal, Some(lease), &["declined", "declined-late", "odd", "quiet"]).await;
    let odd = "100% \"sure\"_\\ é\n🦀";
    for (saga, seq, error) in [
        (&sagas[0], 1, "DO_NOT_HONOUR: declined"),
        (&sagas[1], 1, "nothing to see"),
        (&sagas[1], 2, "DO_NOT_HONOUR: declined"),
        (&sagas[2], 1, odd),
    ] {
        let body = serde_json::to_string(&[error]).unwrap();
        append(&journal, lease, Turn { body, ..turn(saga, seq, After::Keep) }).await;
    }
    append(&journal, lease, turn(&sagas[1], 3, After::End(End::RolledBack))).await;
    let found = async |filter: ListFilter| keys(journal.list(&filter, 100).await.unwrap());
    let mentions = |text: &str| ListFilter { mentions: Some(text.to_owned()), ..ListFilter::default() };
    assert_eq!(found(mentions("DO_NOT_HONOUR")).await, ["declined-late", "declined"], "in any turn, once");
    assert_eq!(found(mentions("do_not_honour")).await, [""; 0], "case counts");
    assert_eq!(found(mentions(odd)).await, ["odd"]);
    for plain in ["100%", "\"sure\"_", "é\n🦀"] {
        assert_eq!(found(mentions(plain)).await, ["odd"], "{plain:?}");
    }
    for wild in ["DO%HONOUR", "DO_NOT_HONOU_", "DO.NOT.HONOUR", "' OR 1 = 1 --", "\0"] {
        assert_eq!(found(mentions(wild)).await, [""; 0], "{wild:?}");
    }
    let over = ListFilter { status: Some(SagaStatus::Ended(End::RolledBack)), ..mentions("DO_NOT_HONOUR") };
    assert_eq!(found(over).await, ["declined-late"], "with the rest of the filter");
    let older = ListFilter { before: Some(sagas[1].id), ..mentions("DO_NOT_HONOUR") };
    assert_eq!(found(older).await, ["declined"], "page by page");
}

fn keys(found: Vec<SagaSummary>) -> Vec<String> {
    found.into_iter().map(|summary| summary.header.key).collect()
}
