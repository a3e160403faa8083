//! Every journal call of a scripted life is lost once before it is made, once after it was made, and
//! cancelled once at each of its awaits. It is then sent again, as the engine does, and the story
//! must come out the same: no turn lost, doubled or reordered.

use std::collections::BTreeMap;
use std::time::Duration;

use saga_core::definition::Outline;
use saga_core::journal::{
    After, ClaimOne, End, EventFate, Journal, JournalError, Lease, ListFilter, NewSaga, SettledEvent, Standing, Turn,
};

use super::Fixture;
use super::support::{LONG, SHORT, asking, closes, message, new_saga, opens, parked, publishing, reading, turn};
use crate::faults::{Fault, FaultJournal, Planned};

/// The calls that the story makes, and how often.
const POINTS: [(&str, usize); 26] = [
    ("list", 1),
    ("send", 1),
    ("inbox", 2),
    ("outbox", 2),
    ("settle_events", 2),
    ("dead_events", 1),
    ("revive_event", 1),
    ("locks", 1),
    ("register", 1),
    ("owned", 2),
    ("find", 1),
    ("summary", 4),
    ("dead_letters", 1),
    ("unalerted", 1),
    ("mark_alerted", 1),
    ("expired", 1),
    ("forget", 1),
    ("open_lease", 2),
    ("start", 2),
    ("append", 5),
    ("fence_lapsed", 1),
    ("claim", 4),
    ("claim_one", 1),
    ("load", 1),
    ("renew_lease", 1),
    ("close_lease", 1),
];
/// No call awaits more often than this.
const POLLS_MAX: u32 = 2_000;

/// The sweep. Fails when a point was not reached.
pub async fn every_call_lost_before_after_and_cancelled(fixture: &impl Fixture) {
    let expected = run(fixture, None).await.0;
    let mut points = 0;
    for (method, calls) in POINTS {
        for call in 0..calls {
            for fault in [Fault::Before, Fault::After] {
                let planned = Planned { method, call, fault };
                let (story, reached, _) = run(fixture, Some(planned)).await;
                assert!(reached, "{planned:?} was not reached");
                assert_eq!(story, expected, "{planned:?}");
                points += 1;
            }
            // One poll more each time, until the call is through before it can be cancelled.
            for polls in 0..POLLS_MAX {
                let planned = Planned { method, call, fault: Fault::CancelledAfterPolls(polls) };
                let (story, reached, cancelled) = run(fixture, Some(planned)).await;
                assert!(reached, "{planned:?} was not reached");
                assert_eq!(story, expected, "{planned:?}");
                points += 1;
                if !cancelled {
                    break;
                }
                assert!(polls + 1 < POLLS_MAX, "{method} never ends");
            }
        }
    }
    println!("{points} points");
}

/// What is left at the end: by key, the texts of the history and the status.
type Story = BTreeMap<String, (Vec<String>, String)>;

async fn run(fixture: &impl Fixture, planned: Option<Planned>) -> (Story, bool, bool) {
    let journal = FaultJournal::new(fixture.fresh().await);
    if let Some(planned) = planned {
        journal.plan(planned);
    }
    let story = live(fixture, &journal).await;
    (story, journal.reached(), journal.cancelled())
}

/// Sends the call again for as long as its fate is unknown.
async fn sent<T>(mut call: impl AsyncFnMut() -> Result<T, JournalError>) -> T {
    for _ in 0..10 {
        match call().await {
            Ok(answer) => return answer,
            Err(JournalError::Unavailable { .. }) => {}
            Err(error) => panic!("unexpected: {error:?}"),
        }
    }
    panic!("the journal stays unavailable");
}

/// Sagas are started, go on, are parked, claimed, need attention, end, and change their worker.
async fn live(fixture: &impl Fixture, journal: &impl Journal) -> Story {
    let sagas = [new_saga("a"), new_saga("b"), new_saga("c"), new_saga("d")];
    let outline = [Outline { definition: "order".to_owned(), version: 1, steps: Vec::new() }];
    assert_eq!(sent(async || journal.register(&outline).await).await, outline);
    let (first, _) = sent(async || journal.open_lease("first", LONG).await).await;
    begin(journal, first, &sagas).await;
    publish(journal, first).await;
    decide(journal, first, &sagas[2]).await;
    // The first worker is cut off, and a second one takes over.
    sent(async || journal.renew_lease(first, SHORT / 3).await).await;
    fixture.pass(SHORT / 2).await;
    let (second, _) = sent(async || journal.open_lease("second", LONG).await).await;
    sent(async || journal.fence_lapsed().await).await;
    take_over(journal, first, second, &sagas).await;
    sent(async || journal.close_lease(second).await).await;
    let story = tell(journal, &sagas).await;
    // What has ended is deleted, and what has not stays.
    fixture.pass(Duration::from_millis(5)).await;
    let expired = sent(async || journal.expired(Duration::ZERO, 10).await).await;
    sent(async || journal.forget(&expired, Duration::ZERO).await).await;
    for (saga, ended) in sagas.iter().zip([true, true, false, false]) {
        let left = sent(async || journal.find("order", &saga.key).await).await;
        assert_eq!(left.is_none(), ended, "{}", saga.key);
    }
    story
}

/// The first turns: locks, events, a child, a message to another saga, a saga that needs a human.
async fn begin(journal: &impl Journal, first: Lease, sagas: &[NewSaga; 4]) {
    sent(async || journal.start(Some(first), &sagas[..2]).await).await;
    sent(async || journal.start(None, &sagas[2..]).await).await;
    let batch = [
        asking(publishing(turn(&sagas[0], 1, After::Keep), &["a1"]), &["x"]),
        asking(turn(&sagas[1], 1, After::Keep), &["x", "y"]),
    ];
    sent(async || journal.append(first, &batch).await).await;
    sent(async || journal.renew_lease(first, LONG).await).await;
    claim_all(journal, first, 4).await;
    let attention = After::Park { wake_at: None, standing: Standing::NeedsAttention };
    let letter = Turn { letters: vec![opens("void")], ..turn(&sagas[2], 1, attention) };
    let child = NewSaga { definition: "child".to_owned(), ..new_saga("of a") };
    let last = publishing(turn(&sagas[0], 2, After::End(End::Completed)), &["a2"]);
    let last = Turn { starts: vec![child], sends: vec![message("b", "from a")], ..last };
    let batch = [last, turn(&sagas[3], 1, parked(None)), letter];
    sent(async || journal.append(first, &batch).await).await;
    let lines = sent(async || journal.locks(10).await).await;
    let has: Vec<_> = lines.iter().map(|entry| (&*entry.key, entry.saga, entry.token.is_some())).collect();
    assert_eq!(has, [("x", sagas[1].id, true), ("y", sagas[1].id, true)]);
}

/// One event is published; the other one dies, and is tried again.
async fn publish(journal: &impl Journal, lease: Lease) {
    let batch = sent(async || journal.outbox(lease, 10).await).await;
    assert_eq!(batch.events.iter().map(|event| &*event.event.id).collect::<Vec<_>>(), ["a1", "a2"]);
    let settled = [
        SettledEvent { id: "a1".to_owned(), fate: EventFate::Published },
        SettledEvent { id: "a2".to_owned(), fate: EventFate::Dead { error: "no".to_owned() } },
    ];
    sent(async || journal.settle_events(lease, &settled).await).await;
    let dead = sent(async || journal.dead_events(10).await).await;
    assert_eq!(dead.iter().map(|dead| dead.event.attempts).collect::<Vec<_>>(), [1]);
    sent(async || journal.revive_event("a2", true).await).await;
}

/// A human decides, and the saga is told something.
async fn decide(journal: &impl Journal, first: Lease, saga: &NewSaga) {
    let alerts = sent(async || journal.unalerted(10).await).await;
    assert_eq!(alerts.len(), 1);
    sent(async || journal.mark_alerted(&alerts).await).await;
    sent(async || journal.send(&[message("c", "m")]).await).await;
    let decided = sent(async || journal.claim_one(first, saga.id).await).await;
    assert!(matches!(decided, ClaimOne::Claimed(_)));
    assert_eq!(inbox(journal, first).await, ["from a", "lock:lock", "m"]);
    let decision = Turn { letters: vec![closes("void")], ..reading(turn(saga, 2, After::Keep), &["m"]) };
    sent(async || journal.append(first, std::slice::from_ref(&decision)).await).await;
}

/// What the second worker finds, and how it goes on.
async fn take_over(journal: &impl Journal, first: Lease, second: Lease, sagas: &[NewSaga; 4]) {
    claim_all(journal, second, 2).await;
    let late = journal.append(first, &[turn(&sagas[1], 2, After::End(End::Completed))]).await;
    assert!(matches!(late, Err(JournalError::Fenced { .. } | JournalError::Unavailable { .. })), "{late:?}");
    let loaded = sent(async || journal.load(&[sagas[1].id, sagas[2].id]).await).await;
    assert_eq!(loaded.iter().map(|history| history.turns.len()).collect::<Vec<_>>(), [2, 3]);
    let batch = sent(async || journal.outbox(second, 10).await).await;
    assert_eq!(batch.events.iter().map(|event| &*event.event.id).collect::<Vec<_>>(), ["a2"]);
    let settled = [SettledEvent { id: "a2".to_owned(), fate: EventFate::Published }];
    sent(async || journal.settle_events(second, &settled).await).await;
    assert_eq!(inbox(journal, second).await, ["from a", "lock:lock"]);
    let end = reading(turn(&sagas[1], 2, After::End(End::RolledBack)), &["from a", "lock:lock"]);
    let batch = [end, turn(&sagas[2], 3, After::Keep)];
    sent(async || journal.append(second, &batch).await).await;
}

async fn inbox(journal: &impl Journal, lease: Lease) -> Vec<String> {
    let received = sent(async || journal.inbox(lease).await).await;
    let mut ids: Vec<String> = received.into_iter().map(|received| received.id).collect();
    ids.sort();
    ids
}

/// Claims until the lease owns this many, whatever answers were lost.
async fn claim_all(journal: &impl Journal, lease: Lease, expected: usize) {
    let definitions = [("order".to_owned(), 1)];
    for _ in 0..10 {
        sent(async || journal.claim(lease, &definitions, 10).await).await;
        let owned = sent(async || journal.owned(lease).await).await.len();
        // The first worker owns what it started as well.
        if owned >= expected {
            break;
        }
    }
    let more = sent(async || journal.claim(lease, &definitions, 10).await).await;
    assert_eq!(more.sagas, [], "nothing more to claim");
}

async fn tell(journal: &impl Journal, sagas: &[NewSaga]) -> Story {
    let mut story = Story::new();
    for saga in sagas {
        let history = sent(async || journal.load(&[saga.id]).await).await.remove(0);
        let status = sent(async || journal.summary(saga.id).await).await.unwrap().status;
        let texts = history.turns.into_iter().map(|stored| stored.body).collect();
        story.insert(saga.key.clone(), (texts, format!("{status:?}")));
    }
    let listed = sent(async || journal.list(&ListFilter::default(), 10).await).await;
    assert_eq!(listed.len(), sagas.len() + 1, "and the child, once");
    let letters = sent(async || journal.dead_letters(None, 10).await).await;
    assert_eq!(letters, [], "the dead letter is closed");
    story
}
