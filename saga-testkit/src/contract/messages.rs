//! J13: messages are neither lost nor doubled.

use std::time::Duration;

use saga_core::journal::{After, End, Journal, Lease, Message, Sent, Turn};

use super::Fixture;
use super::support::{SHORT, append, claim, lease, parked, start, turn};

fn message(key: &str, id: &str) -> Message {
    Message { definition: "order".to_owned(), key: key.to_owned(), id: id.to_owned(), body: format!("\"{id}\"") }
}

async fn sent(journal: &impl Journal, key: &str, id: &str) -> Sent {
    journal.send(&[message(key, id)]).await.unwrap()[0]
}

async fn unread(journal: &impl Journal, lease: Lease) -> Vec<String> {
    journal.inbox(lease).await.unwrap().into_iter().map(|received| received.id).collect()
}

/// A message stays until a turn has taken it in, for whoever owns the saga, and comes once.
pub async fn j13_a_message_is_handed_out_until_a_turn_has_read_it(fixture: &impl Fixture) {
    let journal = fixture.fresh().await;
    let (first, _) = journal.open_lease("first", SHORT).await.unwrap();
    let sagas = start(&journal, Some(first), &["a", "b"]).await;
    assert_eq!(sent(&journal, "a", "m1").await, Sent::Accepted);
    assert_eq!(sent(&journal, "a", "m1").await, Sent::Duplicate);
    assert_eq!(sent(&journal, "a", "m2").await, Sent::Accepted);
    assert_eq!(sent(&journal, "b", "m1").await, Sent::Accepted, "ids are each saga's own");
    let inbox = journal.inbox(first).await.unwrap();
    assert_eq!(inbox.len(), 3);
    assert_eq!((inbox[0].saga, &*inbox[0].id, &*inbox[0].body), (sagas[0].id, "m1", "\"m1\""));
    assert_eq!(unread(&journal, first).await.len(), 3, "reading is not taking in");
    let reads = Turn { read: vec!["m1".to_owned()], ..turn(&sagas[0], 1, After::Keep) };
    append(&journal, first, reads).await;
    assert_eq!(journal.inbox(first).await.unwrap().len(), 2);
    assert_eq!(sent(&journal, "a", "m1").await, Sent::Duplicate, "also after it was read");
    // Another worker takes over, and finds what was not taken in.
    fixture.pass(SHORT * 2).await;
    let second = lease(&journal).await;
    assert_eq!(unread(&journal, second).await, [""; 0]);
    journal.fence_lapsed().await.unwrap();
    claim(&journal, second, 10).await;
    let mut left = unread(&journal, second).await;
    left.sort();
    assert_eq!(left, ["m1", "m2"]);
}

/// A message may come before its saga.
pub async fn j13_an_early_message_waits_for_its_saga(fixture: &impl Fixture) {
    let journal = fixture.fresh().await;
    let lease = lease(&journal).await;
    assert_eq!(sent(&journal, "late", "m").await, Sent::Accepted);
    assert_eq!(unread(&journal, lease).await, [""; 0]);
    start(&journal, Some(lease), &["late"]).await;
    assert_eq!(unread(&journal, lease).await, ["m"]);
}

/// Whichever comes first, the message or the parking: the saga is due.
pub async fn j13_a_parked_saga_with_a_message_is_due_at_once(fixture: &impl Fixture) {
    let journal = fixture.fresh().await;
    let lease = lease(&journal).await;
    let sagas = start(&journal, Some(lease), &["before", "after", "read", "none"]).await;
    assert_eq!(sent(&journal, "before", "m").await, Sent::Accepted);
    assert_eq!(sent(&journal, "read", "m").await, Sent::Accepted);
    append(&journal, lease, turn(&sagas[0], 1, parked(None))).await;
    append(&journal, lease, turn(&sagas[1], 1, parked(None))).await;
    append(&journal, lease, Turn { read: vec!["m".to_owned()], ..turn(&sagas[2], 1, After::Keep) }).await;
    append(&journal, lease, turn(&sagas[2], 2, parked(None))).await;
    append(&journal, lease, turn(&sagas[3], 1, parked(None))).await;
    assert_eq!(sent(&journal, "after", "m").await, Sent::Accepted);
    let mut due: Vec<_> = claim(&journal, lease, 10).await.sagas.into_iter().map(|saga| saga.header.key).collect();
    due.sort();
    assert_eq!(due, ["after", "before"]);
}

/// Senders and a worker that parks and claims, side by side: nothing is lost, nothing comes twice.
pub async fn j13_no_message_is_lost_between_parking_and_sending(fixture: &impl Fixture) {
    let journal = std::sync::Arc::new(fixture.fresh().await);
    let lease = lease(&*journal).await;
    let saga = start(&*journal, Some(lease), &["k"]).await.remove(0);
    let sender = {
        let journal = journal.clone();
        tokio::spawn(async move {
            for nth in 0..20 {
                assert_eq!(sent(&*journal, "k", &format!("m{nth:02}")).await, Sent::Accepted);
            }
        })
    };
    let (mut seq, mut read) = (1, Vec::new());
    while read.len() < 20 {
        let fresh = unread(&*journal, lease).await;
        read.extend(fresh.clone());
        append(&*journal, lease, Turn { read: fresh, ..turn(&saga, seq, parked(None)) }).await;
        seq += 1;
        for tries in 0.. {
            if read.len() == 20 || !claim(&*journal, lease, 1).await.sagas.is_empty() {
                break;
            }
            assert!(tries < 400, "parked with a message unread: {read:?}");
            fixture.pass(Duration::from_millis(5)).await;
            tokio::task::yield_now().await;
        }
    }
    sender.await.unwrap();
    assert_eq!(read, (0..20).map(|nth| format!("m{nth:02}")).collect::<Vec<_>>(), "each once, in order");
}

/// To a saga that is over nothing is sent; with it its messages are deleted, and those that nobody came for.
pub async fn j13_a_message_to_a_saga_that_is_over_is_too_late(fixture: &impl Fixture) {
    let journal = fixture.fresh().await;
    let lease = lease(&journal).await;
    let saga = start(&journal, Some(lease), &["k"]).await.remove(0);
    assert_eq!(sent(&journal, "k", "in time").await, Sent::Accepted);
    append(&journal, lease, turn(&saga, 1, After::End(End::RolledBack))).await;
    assert_eq!(sent(&journal, "k", "late").await, Sent::TooLate);
    assert_eq!(sent(&journal, "k", "in time").await, Sent::Duplicate);
    assert_eq!(sent(&journal, "never", "orphan").await, Sent::Accepted);
    assert_eq!(unread(&journal, lease).await, [""; 0]);
    fixture.pass(Duration::from_millis(5)).await;
    assert_eq!(journal.sweep(Duration::from_secs(3600), 10).await.unwrap(), 0);
    assert_eq!(sent(&journal, "never", "orphan").await, Sent::Duplicate);
    assert_eq!(journal.sweep(Duration::ZERO, 10).await.unwrap(), 1);
    assert_eq!(sent(&journal, "never", "orphan").await, Sent::Accepted, "deleted, so that it is new");
    assert_eq!(sent(&journal, "k", "in time").await, Sent::Accepted, "a new life under an old key");
}
