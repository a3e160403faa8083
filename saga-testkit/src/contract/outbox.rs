//! J14: events are published once committed, in order.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use saga_core::Timestamp;
use saga_core::journal::{After, Appended, End, EventFate, Journal, Lease, SettledEvent, Turn};

use super::Fixture;
use super::support::{
    LONG, SHORT, append, assert_fenced, claim, event, lease, new_saga, outbox, parked, publishing, seed, sent, start,
    swept, turn,
};

const TRY_AGAIN: EventFate = EventFate::Retry { after: Duration::ZERO, error: String::new() };

fn dead(error: &str) -> EventFate {
    EventFate::Dead { error: error.to_owned() }
}

async fn settle(journal: &impl Journal, lease: Lease, id: &str, fate: EventFate) {
    journal.settle_events(lease, &[SettledEvent { id: id.to_owned(), fate }]).await.unwrap();
}

/// The events of a turn that was written come as they were, and once; those of another never.
pub async fn j14_an_event_is_there_if_and_only_if_its_turn_is(fixture: &impl Fixture) {
    let journal = fixture.fresh().await;
    let (own, _) = journal.open_lease("worker", SHORT).await.unwrap();
    let sagas = start(&journal, Some(own), &["a", "unread"]).await;
    sent(&journal, "unread", "m").await;
    let first = publishing(turn(&sagas[0], 1, After::Keep), &["a1", "a2"]);
    let batch = [first.clone(), publishing(turn(&sagas[1], 1, After::End(End::Completed)), &["unread"])];
    assert_eq!(journal.append(own, &batch).await.unwrap(), [Appended::Written, Appended::Unread]);
    assert_eq!(append(&journal, own, first.clone()).await, Appended::Repeated);
    let rival = publishing(Turn { nonce: 99, ..turn(&sagas[0], 1, After::Keep) }, &["rival"]);
    assert_eq!(append(&journal, own, rival).await, Appended::Rival);
    let gap = publishing(turn(&sagas[0], 3, After::Keep), &["gap"]);
    assert_eq!(append(&journal, own, gap).await, Appended::Rival);
    let batch = journal.outbox(own, 100).await.unwrap();
    let stored = journal.load(&[sagas[0].id]).await.unwrap().remove(0).turns;
    assert_eq!(batch.next_due_at, None);
    assert_eq!(batch.events.len(), 2);
    for (found, id) in batch.events.iter().zip(["a1", "a2"]) {
        assert_eq!((found.saga, found.attempts, found.at), (sagas[0].id, 0, stored[1].at));
        assert_eq!(found.event, event(id));
    }
    // Published, they are forgotten, also when the turn is sent once more.
    settle(&journal, own, "a1", EventFate::Published).await;
    settle(&journal, own, "a2", EventFate::Published).await;
    assert_eq!(append(&journal, own, first).await, Appended::Repeated);
    assert_eq!(outbox(&journal, own).await, [""; 0]);
    fixture.pass(SHORT * 2).await;
    journal.fence_lapsed().await.unwrap();
    assert_fenced(journal.append(own, &[publishing(turn(&sagas[0], 2, After::Keep), &["zombie"])]).await);
    let next = lease(&journal).await;
    assert_eq!(outbox(&journal, next).await, [""; 0]);
}

/// Another worker takes the saga over, and publishes first what the first one has left.
pub async fn j14_events_of_a_saga_keep_their_order_over_a_takeover(fixture: &impl Fixture) {
    let journal = fixture.fresh().await;
    let (first, _) = journal.open_lease("first", SHORT).await.unwrap();
    let saga = start(&journal, Some(first), &["k"]).await.remove(0);
    append(&journal, first, publishing(turn(&saga, 1, After::Keep), &["1", "2"])).await;
    append(&journal, first, publishing(turn(&saga, 2, After::Keep), &["3"])).await;
    assert_eq!(outbox(&journal, first).await, ["1", "2", "3"]);
    settle(&journal, first, "1", EventFate::Published).await;
    let second = lease(&journal).await;
    assert_eq!(outbox(&journal, second).await, [""; 0], "they are another's");
    fixture.pass(SHORT * 2).await;
    journal.fence_lapsed().await.unwrap();
    assert_fenced(journal.outbox(first, 10).await);
    claim(&journal, second, 10).await;
    append(&journal, second, publishing(turn(&saga, 3, After::Keep), &["4"])).await;
    assert_eq!(outbox(&journal, second).await, ["2", "3", "4"]);
    let two = journal.outbox(second, 2).await.unwrap().events;
    assert_eq!(two.iter().map(|event| &*event.event.id).collect::<Vec<_>>(), ["2", "3"]);
    assert_eq!(outbox(&journal, second).await, ["2", "3", "4"], "until they are settled");
}

/// A saga goes on under another worker while its first one still has events of it.
pub async fn j14_events_wait_for_earlier_ones_that_another_lease_has(fixture: &impl Fixture) {
    let journal = fixture.fresh().await;
    let (first, second) = (lease(&journal).await, lease(&journal).await);
    let sagas = start(&journal, Some(first), &["k", "other"]).await;
    let due = parked(Some(Timestamp::from_micros(0)));
    append(&journal, first, publishing(turn(&sagas[0], 1, due), &["1"])).await;
    assert_eq!(claim(&journal, second, 10).await.sagas.len(), 1);
    append(&journal, second, publishing(turn(&sagas[0], 2, After::Keep), &["2"])).await;
    let mine = start(&journal, Some(second), &["mine"]).await.remove(0);
    append(&journal, second, publishing(turn(&mine, 1, After::Keep), &["mine"])).await;
    assert_eq!(outbox(&journal, second).await, ["mine"]);
    assert_eq!(outbox(&journal, first).await, ["1"]);
    settle(&journal, first, "1", EventFate::Published).await;
    assert_eq!(outbox(&journal, second).await, ["2", "mine"]);
}

/// A worker that stops leaves its events to the next one that asks, and to one alone.
pub async fn j14_what_a_closed_lease_has_left_goes_to_the_next_that_asks(fixture: &impl Fixture) {
    let journal = fixture.fresh().await;
    let leases = [lease(&journal).await, lease(&journal).await, lease(&journal).await];
    let saga = start(&journal, Some(leases[0]), &["k"]).await.remove(0);
    append(&journal, leases[0], publishing(turn(&saga, 1, After::End(End::Completed)), &["1", "2"])).await;
    journal.close_lease(leases[0]).await.unwrap();
    assert_fenced(journal.outbox(leases[0], 10).await);
    assert_eq!(outbox(&journal, leases[1]).await, ["1", "2"]);
    assert_eq!(outbox(&journal, leases[2]).await, [""; 0]);
    journal.close_lease(leases[1]).await.unwrap();
    assert_eq!(outbox(&journal, leases[2]).await, ["1", "2"]);
}

/// A broker that does not take an event holds up its saga's later ones, and nobody else's.
pub async fn j14_an_event_to_be_tried_again_holds_back_its_own_saga_alone(fixture: &impl Fixture) {
    let journal = fixture.fresh().await;
    let lease = lease(&journal).await;
    let sagas = start(&journal, Some(lease), &["a", "b"]).await;
    append(&journal, lease, publishing(turn(&sagas[0], 1, After::Keep), &["a1", "a2"])).await;
    append(&journal, lease, publishing(turn(&sagas[1], 1, After::Keep), &["b1"])).await;
    append(&journal, lease, publishing(turn(&sagas[0], 2, After::Keep), &["a3"])).await;
    // Between sagas there is no order.
    let mut all = outbox(&journal, lease).await;
    all.sort_by_key(|id| id.starts_with('b'));
    assert_eq!(all, ["a1", "a2", "a3", "b1"]);
    settle(&journal, lease, "a1", EventFate::Retry { after: SHORT, error: "busy".to_owned() }).await;
    let batch = journal.outbox(lease, 100).await.unwrap();
    assert_eq!(batch.events.iter().map(|event| &*event.event.id).collect::<Vec<_>>(), ["b1"]);
    let due = batch.next_due_at.unwrap();
    fixture.pass(SHORT * 2).await;
    let batch = journal.outbox(lease, 100).await.unwrap();
    assert_eq!(batch.next_due_at, None);
    let mut found: Vec<_> = batch.events.iter().map(|event| (&*event.event.id, event.attempts)).collect();
    found.sort_by_key(|(id, _)| id.starts_with('b'));
    assert_eq!(found, [("a1", 1), ("a2", 0), ("a3", 0), ("b1", 0)]);
    let now = journal.renew_lease(lease, LONG).await.unwrap();
    assert!(batch.events[0].at < due && due <= now, "{due:?} is between the turn and now");
}

/// An event that no broker takes waits for a human, and holds up nothing.
pub async fn j14_a_dead_event_waits_for_a_human_and_holds_up_nothing(fixture: &impl Fixture) {
    let journal = fixture.fresh().await;
    let lease = lease(&journal).await;
    let saga = start(&journal, Some(lease), &["k"]).await.remove(0);
    append(&journal, lease, publishing(turn(&saga, 1, After::Keep), &["1", "2", "3"])).await;
    settle(&journal, lease, "1", TRY_AGAIN).await;
    settle(&journal, lease, "1", dead("no such topic")).await;
    settle(&journal, lease, "2", dead("too large")).await;
    assert_eq!(outbox(&journal, lease).await, ["3"]);
    let found = journal.dead_events(10).await.unwrap();
    let told: Vec<_> = found.iter().map(|dead| (&*dead.event.event.id, dead.event.attempts, &*dead.error)).collect();
    assert_eq!(told, [("1", 2, "no such topic"), ("2", 1, "too large")]);
    assert_eq!((found[0].event.saga, &found[0].event.event), (saga.id, &event("1")));
    assert_eq!(journal.dead_events(1).await.unwrap().len(), 1);
    // A settlement that comes late does not bury it or publish it behind the human's back.
    settle(&journal, lease, "1", EventFate::Published).await;
    settle(&journal, lease, "2", TRY_AGAIN).await;
    assert_eq!(journal.dead_events(10).await.unwrap(), found);
    assert!(journal.revive_event("1", true).await.unwrap());
    assert!(!journal.revive_event("1", true).await.unwrap(), "it does not wait any more");
    assert!(journal.revive_event("2", false).await.unwrap());
    assert!(!journal.revive_event("2", true).await.unwrap(), "it was dropped");
    assert!(!journal.revive_event("3", false).await.unwrap(), "it is not dead");
    assert!(!journal.revive_event("unknown", true).await.unwrap());
    let batch = journal.outbox(lease, 100).await.unwrap().events;
    let found: Vec<_> = batch.iter().map(|event| (&*event.event.id, event.attempts)).collect();
    assert_eq!(found, [("1", 0), ("3", 0)], "in the old order, with all attempts again");
    assert_eq!(journal.dead_events(10).await.unwrap(), []);
}

/// An event that is revived after its worker is gone goes to whoever asks next.
pub async fn j14_a_dead_event_outlives_its_lease(fixture: &impl Fixture) {
    let journal = fixture.fresh().await;
    let (first, second) = (lease(&journal).await, lease(&journal).await);
    let saga = start(&journal, Some(first), &["k"]).await.remove(0);
    append(&journal, first, publishing(turn(&saga, 1, After::Keep), &["1"])).await;
    settle(&journal, first, "1", dead("no")).await;
    journal.close_lease(first).await.unwrap();
    assert_eq!(outbox(&journal, second).await, [""; 0]);
    assert!(journal.revive_event("1", true).await.unwrap());
    assert_eq!(outbox(&journal, second).await, ["1"]);
}

/// A relay that was cut off may not settle what somebody else publishes now.
pub async fn j14_a_fenced_lease_settles_nothing_of_what_is_anothers(fixture: &impl Fixture) {
    let journal = fixture.fresh().await;
    let (zombie, _) = journal.open_lease("zombie", SHORT).await.unwrap();
    let saga = start(&journal, Some(zombie), &["k"]).await.remove(0);
    append(&journal, zombie, publishing(turn(&saga, 1, After::Keep), &["1", "2", "3"])).await;
    fixture.pass(SHORT * 2).await;
    journal.fence_lapsed().await.unwrap();
    let next = lease(&journal).await;
    let before = journal.outbox(next, 10).await.unwrap();
    assert_eq!(before.events.len(), 3);
    settle(&journal, zombie, "1", EventFate::Published).await;
    settle(&journal, zombie, "2", dead("no")).await;
    settle(&journal, zombie, "3", EventFate::Retry { after: LONG, error: "no".to_owned() }).await;
    settle(&journal, next, "unknown", EventFate::Published).await;
    assert_eq!(journal.outbox(next, 10).await.unwrap(), before);
    assert_eq!(journal.dead_events(10).await.unwrap(), []);
}

/// A saga is deleted; what it had to tell is not.
pub async fn j14_events_outlive_their_sagas(fixture: &impl Fixture) {
    let journal = fixture.fresh().await;
    let lease = lease(&journal).await;
    let saga = start(&journal, Some(lease), &["k"]).await.remove(0);
    append(&journal, lease, publishing(turn(&saga, 1, After::End(End::Completed)), &["1", "2"])).await;
    settle(&journal, lease, "2", dead("no")).await;
    fixture.pass(Duration::from_millis(5)).await;
    assert_eq!(swept(&journal, Duration::ZERO, 10).await, 1);
    assert_eq!(outbox(&journal, lease).await, ["1"]);
    assert_eq!(journal.dead_events(10).await.unwrap().len(), 1);
    assert!(journal.revive_event("2", true).await.unwrap());
    assert_eq!(outbox(&journal, lease).await, ["1", "2"]);
}

/// Sagas change their workers, workers come and go, publishing fails: the events of each saga come in order.
pub async fn j14_events_come_once_and_in_order_through_many_workers(fixture: &impl Fixture) {
    const SAGAS: usize = 5;
    let journal = fixture.fresh().await;
    let mut rng = fastrand::Rng::with_seed(seed());
    let mut leases = [lease(&journal).await, lease(&journal).await, lease(&journal).await];
    let sagas: Vec<_> = (0..SAGAS).map(|nth| new_saga(&format!("k{nth}"))).collect();
    journal.start(None, &sagas).await.unwrap();
    let (mut seqs, mut written) = ([0_u32; SAGAS], [0_u32; SAGAS]);
    let mut published: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for _ in 0..150 {
        let worker = leases[rng.usize(..leases.len())];
        match rng.u32(..10) {
            0 => {
                journal.close_lease(worker).await.unwrap();
                let place = leases.iter().position(|lease| *lease == worker).unwrap();
                leases[place] = lease(&journal).await;
            }
            1..=4 => {
                claim(&journal, worker, 2).await;
                let owned = journal.owned(worker).await.unwrap();
                let Some(owned) = rng.choice(&owned) else { continue };
                let nth = sagas.iter().position(|saga| saga.id == owned.id).unwrap();
                seqs[nth] += 1;
                let ids: Vec<String> = (0..rng.u32(0..3)).map(|more| id(nth, written[nth] + more)).collect();
                written[nth] += u32::try_from(ids.len()).unwrap();
                let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
                let after = if rng.bool() { After::Keep } else { parked(Some(Timestamp::from_micros(0))) };
                let turn = publishing(turn(&sagas[nth], seqs[nth], after), &ids);
                assert_eq!(append(&journal, worker, turn).await, Appended::Written);
            }
            _ => relay(&journal, worker, &mut rng, &mut published).await,
        }
    }
    for round in 0.. {
        for worker in leases {
            relay(&journal, worker, &mut rng, &mut published).await;
        }
        if published.values().map(Vec::len).sum::<usize>() == written.iter().sum::<u32>() as usize {
            break;
        }
        assert!(round < 200, "not all is published: {published:?}");
    }
    for (nth, count) in written.into_iter().enumerate() {
        let expected: Vec<String> = (0..count).map(|event| id(nth, event)).collect();
        assert_eq!(published.remove(&sagas[nth].id.to_string()).unwrap_or_default(), expected);
    }
}

fn id(saga: usize, event: u32) -> String {
    format!("{saga}-{event}")
}

/// Publishes some of what is due, as a relay does: up to the first failure of each saga.
async fn relay(
    journal: &impl Journal,
    lease: Lease,
    rng: &mut fastrand::Rng,
    published: &mut BTreeMap<String, Vec<String>>,
) {
    let batch = journal.outbox(lease, rng.usize(1..6)).await.unwrap();
    let (mut settled, mut failed) = (Vec::new(), HashSet::new());
    for event in batch.events {
        if failed.contains(&event.saga) {
            continue;
        }
        let fate = if rng.u32(..4) == 0 { TRY_AGAIN } else { EventFate::Published };
        match fate {
            EventFate::Published => published.entry(event.saga.to_string()).or_default().push(event.event.id.clone()),
            EventFate::Retry { .. } | EventFate::Dead { .. } => drop(failed.insert(event.saga)),
        }
        settled.push(SettledEvent { id: event.event.id, fate });
    }
    journal.settle_events(lease, &settled).await.unwrap();
}
