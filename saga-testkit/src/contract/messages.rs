//! J13: messages are neither lost nor doubled.

use std::sync::Arc;
use std::time::Duration;

use saga_core::journal::{After, Appended, End, Journal as _, SagaStatus, Sent, Turn};

use super::Fixture;
use super::support::{
    SHORT, append, asking, bodies, claim, lease, message, opens, outbox, parked, publishing, reading, sent, start,
    swept, turn, unread,
};

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
    let journal = Arc::new(fixture.fresh().await);
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
    let ends = turn(&saga, 1, After::End(End::RolledBack));
    assert_eq!(append(&journal, lease, ends.clone()).await, Appended::Unread);
    let reads = Turn { read: vec!["in time".to_owned()], ..ends };
    assert_eq!(append(&journal, lease, reads).await, Appended::Written);
    assert_eq!(sent(&journal, "k", "late").await, Sent::TooLate);
    assert_eq!(sent(&journal, "k", "in time").await, Sent::Duplicate);
    assert_eq!(sent(&journal, "never", "orphan").await, Sent::Accepted);
    assert_eq!(unread(&journal, lease).await, [""; 0]);
    fixture.pass(Duration::from_millis(5)).await;
    assert_eq!(swept(&journal, Duration::from_secs(3600), 10).await, 0);
    assert_eq!(sent(&journal, "never", "orphan").await, Sent::Duplicate);
    assert_eq!(swept(&journal, Duration::ZERO, 10).await, 1);
    assert_eq!(sent(&journal, "never", "orphan").await, Sent::Accepted, "deleted, so that it is new");
    assert_eq!(sent(&journal, "k", "in time").await, Sent::Accepted, "a new life under an old key");
}

/// Nothing of a turn that would end a saga over the head of a message is written, and all of its batch is.
pub async fn j13_a_saga_with_an_unread_message_does_not_end(fixture: &impl Fixture) {
    let journal = fixture.fresh().await;
    let lease = lease(&journal).await;
    let sagas = start(&journal, Some(lease), &["unread", "reads", "goes on", "ends", "some"]).await;
    for (key, id) in [("unread", "m"), ("reads", "m"), ("goes on", "m"), ("some", "m1"), ("some", "m2")] {
        assert_eq!(sent(&journal, key, id).await, Sent::Accepted);
    }
    let end = |nth: usize| turn(&sagas[nth], 1, After::End(End::Completed));
    let full = Turn {
        letters: vec![opens("void")],
        starts: vec![super::support::new_saga("child")],
        sends: vec![message("goes on", "from the end")],
        ..asking(publishing(end(0), &["e"]), &["k"])
    };
    let batch =
        [full.clone(), reading(end(1), &["m"]), turn(&sagas[2], 1, After::Keep), end(3), reading(end(4), &["m1"])];
    let answers = journal.append(lease, &batch).await.unwrap();
    use Appended::{Unread, Written};
    assert_eq!(answers, [Unread, Written, Written, Written, Unread]);
    assert_eq!(bodies(&journal, sagas[0].id).await.len(), 1);
    assert_eq!(journal.summary(sagas[0].id).await.unwrap().unwrap().status, SagaStatus::Running);
    assert_eq!(journal.summary(sagas[3].id).await.unwrap().unwrap().status, SagaStatus::Ended(End::Completed));
    assert_eq!(journal.dead_letters(None, 10).await.unwrap(), []);
    assert_eq!(journal.locks(10).await.unwrap(), []);
    assert_eq!(outbox(&journal, lease).await, [""; 0]);
    assert!(journal.find("order", "child").await.unwrap().is_none());
    assert_eq!(unread(&journal, lease).await, ["m", "m", "m1", "m2"], "of the first, the third and the last");
    // Read, or named by the same turn, it holds up nothing.
    append(&journal, lease, reading(turn(&sagas[4], 1, After::Keep), &["m1", "m2"])).await;
    let last = turn(&sagas[4], 2, After::End(End::RolledBack));
    assert_eq!(append(&journal, lease, last).await, Written);
    let read = reading(end(0), &["m"]);
    assert_eq!(append(&journal, lease, read.clone()).await, Written);
    assert_eq!(append(&journal, lease, read).await, Appended::Repeated);
}

/// Whose turn has no place in the history is told so, whatever is unread.
pub async fn j13_a_rivals_end_is_a_rivals_also_while_a_message_is_unread(fixture: &impl Fixture) {
    let journal = fixture.fresh().await;
    let (own, other) = (lease(&journal).await, lease(&journal).await);
    let saga = start(&journal, Some(own), &["k"]).await.remove(0);
    append(&journal, own, turn(&saga, 1, After::Keep)).await;
    assert_eq!(sent(&journal, "k", "m").await, Sent::Accepted);
    let end = |seq| turn(&saga, seq, After::End(End::Completed));
    assert_eq!(append(&journal, own, Turn { nonce: 99, ..end(1) }).await, Appended::Rival);
    assert_eq!(append(&journal, own, end(3)).await, Appended::Rival);
    assert_eq!(append(&journal, other, end(2)).await, Appended::Rival);
    assert_eq!(append(&journal, own, end(2)).await, Appended::Unread);
    assert_eq!(append(&journal, own, turn(&saga, 2, parked(None))).await, Appended::Written);
    assert_eq!(append(&journal, own, end(3)).await, Appended::Rival, "it is not the owner's any more");
}

/// A sender and a worker that ends the saga, side by side: each message is read, or too late.
pub async fn j13_a_message_is_read_or_too_late(fixture: &impl Fixture) {
    let journal = Arc::new(fixture.fresh().await);
    let lease = lease(&*journal).await;
    for round in 0..10 {
        let key = format!("k{round}");
        let saga = start(&*journal, Some(lease), &[&key]).await.remove(0);
        let sender = {
            let journal = journal.clone();
            tokio::spawn(async move {
                let mut accepted = Vec::new();
                for nth in 0_u64.. {
                    let id = format!("m{nth:03}");
                    match sent(&*journal, &key, &id).await {
                        Sent::Accepted => accepted.push(id),
                        Sent::TooLate => break,
                        Sent::Duplicate => panic!("{id} was sent once"),
                    }
                    tokio::task::yield_now().await;
                    // The worker reads and ends faster than this, sooner or later.
                    tokio::time::sleep(Duration::from_millis(nth.saturating_sub(10))).await;
                    assert!(nth < 500, "the saga never ends");
                }
                accepted
            })
        };
        // The first messages may come, so that the end falls among them.
        for _ in 0..round {
            tokio::task::yield_now().await;
        }
        let mut tries = 0;
        let read = loop {
            let fresh = unread(&*journal, lease).await;
            if tries < 3 {
                tokio::task::yield_now().await;
            }
            tries += 1;
            let end = Turn { read: fresh.clone(), ..turn(&saga, 1, After::End(End::Completed)) };
            match append(&*journal, lease, end).await {
                Appended::Written => break fresh,
                Appended::Unread => {}
                answer => panic!("{answer:?}"),
            }
        };
        assert_eq!(read, sender.await.unwrap(), "round {round}");
    }
}

/// A saga that was set aside as a whole is woken by nothing but a human, and finds its messages then.
pub async fn j13_messages_wait_with_a_saga_that_was_set_aside(fixture: &impl Fixture) {
    let journal = fixture.fresh().await;
    let lease = lease(&journal).await;
    let sagas = start(&journal, Some(lease), &["before", "after"]).await;
    assert_eq!(sent(&journal, "before", "m").await, Sent::Accepted);
    let aside = After::Park { wake_at: None, standing: saga_core::journal::Standing::SetAside };
    append(&journal, lease, turn(&sagas[0], 1, aside)).await;
    append(&journal, lease, turn(&sagas[1], 1, aside)).await;
    assert_eq!(sent(&journal, "after", "m").await, Sent::Accepted);
    fixture.pass(Duration::from_millis(5)).await;
    let claimed = claim(&journal, lease, 10).await;
    assert_eq!((claimed.sagas.len(), claimed.next_due_at), (0, None));
    for saga in &sagas {
        let summary = journal.summary(saga.id).await.unwrap().unwrap();
        assert_eq!(summary.status, saga_core::journal::SagaStatus::NeedsAttention);
        journal.claim_one(lease, saga.id).await.unwrap();
    }
    assert_eq!(unread(&journal, lease).await, ["m", "m"]);
}
