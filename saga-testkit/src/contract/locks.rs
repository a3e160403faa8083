//! J15: entity locks are fair, all or nothing, and fenced.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use saga_core::journal::{After, Appended, End, Journal, Lease, LockEntry, NewSaga, Received, Turn, lock_grant};
use saga_core::machine::Mail;
use saga_core::{SagaId, StepName, Timestamp};

use super::Fixture;
use super::support::{
    SHORT, append, asking, claim, giving_up, lease, new_saga, parked, reading, seed, sent, start, swept, turn, unread,
};

/// The id of the grant that [`asking`] leads to.
const GRANT: &str = "lock:lock";

/// Who has which locks, as the lease is told: by key of the saga, the tokens.
async fn granted(journal: &impl Journal, lease: Lease) -> BTreeMap<SagaId, BTreeMap<String, u64>> {
    let inbox = journal.inbox(lease).await.unwrap();
    inbox.iter().filter_map(|received| Some((received.saga, tokens(received)?))).collect()
}

fn tokens(received: &Received) -> Option<BTreeMap<String, u64>> {
    match serde_json::from_str(&received.body).ok()? {
        Mail::Locked { step, tokens } => {
            assert_eq!((&*received.id, step.as_str()), (GRANT, "lock"));
            Some(tokens)
        }
        _ => None,
    }
}

/// The lines: the key, the place of its saga in the list, and whether it has the lock.
async fn lines(journal: &impl Journal, sagas: &[NewSaga]) -> Vec<(String, usize, bool)> {
    let place = |id| sagas.iter().position(|saga| saga.id == id).unwrap();
    let entries = journal.locks(100).await.unwrap();
    entries.into_iter().map(|entry| (entry.key, place(entry.saga), entry.token.is_some())).collect()
}

fn line(key: &str, saga: usize, has: bool) -> (String, usize, bool) {
    (key.to_owned(), saga, has)
}

/// Whoever asks first is served first; who comes later has a higher token.
pub async fn j15_a_lock_goes_round_in_the_order_of_asking(fixture: &impl Fixture) {
    let journal = fixture.fresh().await;
    let lease = lease(&journal).await;
    let sagas = start(&journal, Some(lease), &["a", "b", "c"]).await;
    append(&journal, lease, asking(turn(&sagas[0], 1, After::Keep), &["k"])).await;
    // Within one call, too, the order counts.
    let batch = [asking(turn(&sagas[2], 1, After::Keep), &["k"]), asking(turn(&sagas[1], 1, After::Keep), &["k"])];
    assert_eq!(journal.append(lease, &batch).await.unwrap(), [Appended::Written; 2]);
    assert_eq!(lines(&journal, &sagas).await, [line("k", 0, true), line("k", 2, false), line("k", 1, false)]);
    let entries = journal.locks(1).await.unwrap();
    let stored = journal.load(&[sagas[0].id]).await.unwrap().remove(0).turns;
    let first = granted(&journal, lease).await;
    let token = first[&sagas[0].id]["k"];
    let expected = LockEntry { key: "k".into(), saga: sagas[0].id, token: Some(token), asked_at: stored[1].at };
    assert_eq!(entries, [expected]);
    assert_eq!(first.len(), 1);
    append(&journal, lease, giving_up(reading(turn(&sagas[0], 2, After::Keep), &[GRANT]))).await;
    let second = granted(&journal, lease).await;
    assert_eq!(second.keys().collect::<Vec<_>>(), [&sagas[2].id]);
    assert!(second[&sagas[2].id]["k"] > token);
    // Who ends gives up, whether it says so or not.
    append(&journal, lease, turn(&sagas[2], 2, After::End(End::RolledBack))).await;
    let third = granted(&journal, lease).await;
    assert_eq!(third.keys().collect::<Vec<_>>(), [&sagas[1].id]);
    assert!(third[&sagas[1].id]["k"] > second[&sagas[2].id]["k"]);
    append(&journal, lease, giving_up(turn(&sagas[1], 2, After::Keep))).await;
    assert_eq!(journal.locks(10).await.unwrap(), []);
    // Also while nobody has it the journal knows how far the tokens are; and so do all who share it.
    append(&journal, lease, asking(turn(&sagas[0], 3, After::Keep), &["k"])).await;
    let again = granted(&fixture.reopen(&journal).await, lease).await;
    assert!(again[&sagas[0].id]["k"] > third[&sagas[1].id]["k"]);
}

/// Nobody has a part of what it asked for, and nobody overtakes.
pub async fn j15_overlapping_sets_are_given_whole_and_in_order(fixture: &impl Fixture) {
    let journal = fixture.fresh().await;
    let lease = lease(&journal).await;
    let sagas = start(&journal, Some(lease), &["a", "b", "c", "d"]).await;
    for (saga, keys) in sagas.iter().zip([&["1", "2"][..], &["2", "3"], &["3"], &["4"]]) {
        append(&journal, lease, asking(turn(saga, 1, After::Keep), keys)).await;
    }
    let expected = [
        line("1", 0, true),
        line("2", 0, true),
        line("2", 1, false),
        line("3", 1, false),
        line("3", 2, false),
        line("4", 3, true),
    ];
    assert_eq!(lines(&journal, &sagas).await, expected);
    append(&journal, lease, giving_up(turn(&sagas[0], 2, After::Keep))).await;
    let both = [line("2", 1, true), line("3", 1, true), line("3", 2, false), line("4", 3, true)];
    assert_eq!(lines(&journal, &sagas).await, both);
    let found = granted(&journal, lease).await;
    assert_eq!(found[&sagas[1].id].keys().collect::<Vec<_>>(), ["2", "3"]);
    append(&journal, lease, turn(&sagas[1], 2, After::End(End::Completed))).await;
    assert_eq!(lines(&journal, &sagas).await, [line("3", 2, true), line("4", 3, true)]);
}

/// Who gives up while it waits leaves its lines, and lets those behind it through.
pub async fn j15_who_gives_up_waiting_leaves_all_lines(fixture: &impl Fixture) {
    let journal = fixture.fresh().await;
    let lease = lease(&journal).await;
    let sagas = start(&journal, Some(lease), &["has", "gives up", "ends", "behind"]).await;
    append(&journal, lease, asking(turn(&sagas[0], 1, After::Keep), &["1"])).await;
    append(&journal, lease, asking(turn(&sagas[1], 1, After::Keep), &["1", "2"])).await;
    append(&journal, lease, asking(turn(&sagas[2], 1, After::Keep), &["1", "2"])).await;
    append(&journal, lease, asking(turn(&sagas[3], 1, parked(None)), &["2"])).await;
    append(&journal, lease, giving_up(turn(&sagas[1], 2, After::Keep))).await;
    assert_eq!(
        lines(&journal, &sagas).await,
        [line("1", 0, true), line("1", 2, false), line("2", 2, false), line("2", 3, false)]
    );
    append(&journal, lease, turn(&sagas[2], 2, After::End(End::RolledBack))).await;
    assert_eq!(lines(&journal, &sagas).await, [line("1", 0, true), line("2", 3, true)]);
    assert_eq!(claim(&journal, lease, 10).await.sagas.len(), 1);
}

/// A grant is like a message: it stays until a turn has taken it in, for whoever owns the saga.
pub async fn j15_a_grant_is_handed_out_until_a_turn_has_read_it(fixture: &impl Fixture) {
    let journal = fixture.fresh().await;
    let (first, _) = journal.open_lease("first", SHORT).await.unwrap();
    let saga = start(&journal, Some(first), &["k"]).await.remove(0);
    append(&journal, first, asking(turn(&saga, 1, After::Keep), &["1", "2"])).await;
    let inbox = journal.inbox(first).await.unwrap();
    let found = granted(&journal, first).await.remove(&saga.id).unwrap();
    assert_eq!(found.keys().collect::<Vec<_>>(), ["1", "2"]);
    assert_eq!(inbox, [lock_grant(saga.id, &StepName::from("lock"), found)]);
    assert_eq!(journal.inbox(first).await.unwrap(), inbox, "handing out is not taking in");
    fixture.pass(SHORT * 2).await;
    journal.fence_lapsed().await.unwrap();
    let second = lease(&journal).await;
    assert_eq!(journal.inbox(second).await.unwrap(), []);
    claim(&journal, second, 10).await;
    assert_eq!(journal.inbox(second).await.unwrap(), inbox, "locks do not go with the worker");
    append(&journal, second, reading(turn(&saga, 2, After::Keep), &[GRANT])).await;
    assert_eq!(journal.inbox(second).await.unwrap(), []);
    assert_eq!(journal.locks(10).await.unwrap().len(), 2, "read, they are held on");
    journal.close_lease(second).await.unwrap();
    assert_eq!(journal.locks(10).await.unwrap().len(), 2);
    // Who asks anew is told anew.
    let third = lease(&journal).await;
    claim(&journal, third, 10).await;
    append(&journal, third, giving_up(turn(&saga, 3, After::Keep))).await;
    append(&journal, third, asking(turn(&saga, 4, After::Keep), &["2"])).await;
    assert_eq!(unread(&journal, third).await, [GRANT]);
}

/// Whichever comes first, the locks or the parking: the saga is due.
pub async fn j15_a_parked_saga_is_due_when_it_has_its_locks(fixture: &impl Fixture) {
    let journal = fixture.fresh().await;
    let lease = lease(&journal).await;
    let sagas = start(&journal, Some(lease), &["at once", "later", "has", "before", "read", "waits"]).await;
    let far = parked(Some(Timestamp::from_micros(i64::MAX / 2)));
    append(&journal, lease, asking(turn(&sagas[0], 1, far), &["1"])).await;
    append(&journal, lease, asking(turn(&sagas[2], 1, After::Keep), &["2"])).await;
    append(&journal, lease, asking(turn(&sagas[1], 1, parked(None)), &["2"])).await;
    append(&journal, lease, asking(turn(&sagas[3], 1, After::Keep), &["3"])).await;
    append(&journal, lease, turn(&sagas[3], 2, parked(None))).await;
    append(&journal, lease, asking(turn(&sagas[4], 1, After::Keep), &["4"])).await;
    append(&journal, lease, reading(turn(&sagas[4], 2, parked(None)), &[GRANT])).await;
    append(&journal, lease, asking(turn(&sagas[5], 1, parked(None)), &["4"])).await;
    let due = async || {
        let claimed = claim(&journal, lease, 10).await.sagas;
        let mut due: Vec<String> = claimed.into_iter().map(|saga| saga.header.key).collect();
        due.sort();
        due
    };
    assert_eq!(due().await, ["at once", "before"]);
    append(&journal, lease, giving_up(turn(&sagas[2], 2, After::Keep))).await;
    assert_eq!(due().await, ["later"]);
    assert_eq!(due().await, [""; 0]);
}

/// A turn that was sent again, and a saga that asks again, stand where they stood.
pub async fn j15_asking_again_changes_nothing(fixture: &impl Fixture) {
    let journal = fixture.fresh().await;
    let lease = lease(&journal).await;
    let sagas = start(&journal, Some(lease), &["has", "waits", "behind"]).await;
    let asks: Vec<Turn> = sagas.iter().map(|saga| asking(turn(saga, 1, After::Keep), &["k"])).collect();
    for ask in &asks {
        append(&journal, lease, ask.clone()).await;
    }
    let before = journal.locks(10).await.unwrap();
    assert_eq!(journal.append(lease, &asks).await.unwrap(), [Appended::Repeated; 3]);
    for saga in &sagas[..2] {
        let again = asking(turn(saga, 2, After::Keep), &["k", "other"]);
        assert_eq!(append(&journal, lease, again).await, Appended::Written);
    }
    assert_eq!(journal.locks(10).await.unwrap(), before);
    // A release that was sent again takes nothing from who has the lock now.
    let release = giving_up(turn(&sagas[0], 3, After::Keep));
    append(&journal, lease, release.clone()).await;
    let asks_anew = asking(turn(&sagas[0], 4, After::Keep), &["k"]);
    append(&journal, lease, asks_anew).await;
    let before = journal.locks(10).await.unwrap();
    assert_eq!(append(&journal, lease, release).await, Appended::Repeated);
    assert_eq!(journal.locks(10).await.unwrap(), before);
    assert_eq!(lines(&journal, &sagas).await, [line("k", 1, true), line("k", 2, false), line("k", 0, false)]);
    let nothing = giving_up(turn(&new_saga("missing"), 1, After::Keep));
    assert_eq!(append(&journal, lease, nothing).await, Appended::Rival);
}

/// A rival's turn, one of a fenced lease, one that would end the saga over a message.
pub async fn j15_a_turn_that_is_not_written_changes_no_lock(fixture: &impl Fixture) {
    let journal = fixture.fresh().await;
    let (lease, _) = journal.open_lease("worker", SHORT).await.unwrap();
    let sagas = start(&journal, Some(lease), &["has", "asks"]).await;
    append(&journal, lease, asking(turn(&sagas[0], 1, After::Keep), &["k"])).await;
    append(&journal, lease, turn(&sagas[1], 1, After::Keep)).await;
    let before = journal.locks(10).await.unwrap();
    sent(&journal, "has", "m").await;
    let batch = [
        reading(turn(&sagas[0], 2, After::End(End::Completed)), &[GRANT]),
        asking(Turn { nonce: 99, ..turn(&sagas[1], 1, After::Keep) }, &["other"]),
    ];
    assert_eq!(journal.append(lease, &batch).await.unwrap(), [Appended::Unread, Appended::Rival]);
    let rival = giving_up(Turn { nonce: 99, ..reading(turn(&sagas[0], 1, After::Keep), &[GRANT]) });
    assert_eq!(append(&journal, lease, rival).await, Appended::Rival);
    assert_eq!(journal.locks(10).await.unwrap(), before);
    let mut inbox = unread(&journal, lease).await;
    inbox.sort();
    assert_eq!(inbox, [GRANT, "m"]);
    fixture.pass(SHORT * 2).await;
    journal.fence_lapsed().await.unwrap();
    let late = journal.append(lease, &[giving_up(turn(&sagas[0], 2, After::Keep))]).await;
    super::support::assert_fenced(late);
    assert_eq!(journal.locks(10).await.unwrap(), before, "no lock goes with a lease");
    fixture.pass(Duration::from_millis(5)).await;
    assert_eq!(swept(&journal, Duration::ZERO, 10).await, 0);
    assert_eq!(journal.locks(10).await.unwrap(), before);
}

/// A saga that ends with its locks unread, or asks for some with its last turn, leaves none behind.
pub async fn j15_a_saga_that_is_over_stands_in_no_line(fixture: &impl Fixture) {
    let journal = fixture.fresh().await;
    let lease = lease(&journal).await;
    let sagas = start(&journal, Some(lease), &["has", "waits", "asks"]).await;
    append(&journal, lease, asking(turn(&sagas[0], 1, After::Keep), &["k"])).await;
    append(&journal, lease, asking(turn(&sagas[1], 1, After::Keep), &["k"])).await;
    let batch = [
        turn(&sagas[0], 2, After::End(End::Completed)),
        turn(&sagas[1], 2, After::End(End::RolledBack)),
        asking(turn(&sagas[2], 1, After::End(End::Completed)), &["k"]),
    ];
    assert_eq!(journal.append(lease, &batch).await.unwrap(), [Appended::Written; 3]);
    assert_eq!(journal.locks(10).await.unwrap(), []);
}

/// Who has an entity at present, and the highest token that anybody had for it.
type Held = Arc<Mutex<HashMap<String, (Option<SagaId>, u64)>>>;

/// Workers side by side, whose sagas ask for random sets: all get their turn, each entity has one holder at
/// a time, and the tokens grow.
pub async fn j15_random_overlapping_sets_all_get_their_turn(fixture: &impl Fixture) {
    let journal = Arc::new(fixture.fresh().await);
    let mut rng = fastrand::Rng::with_seed(seed());
    let held = Held::default();
    let mut workers = Vec::new();
    for worker in 0..3 {
        let keys: Vec<String> = (0..6).map(|nth| format!("{worker}-{nth}")).collect();
        let (journal, held, rng) = (journal.clone(), held.clone(), rng.fork());
        workers.push(tokio::spawn(async move { work(&*journal, &keys, &held, rng).await }));
    }
    for worker in workers {
        worker.await.unwrap();
    }
    assert_eq!(journal.locks(10).await.unwrap(), []);
}

async fn work(journal: &impl Journal, keys: &[String], held: &Held, mut rng: fastrand::Rng) {
    let lease = lease(journal).await;
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let sagas = start(journal, Some(lease), &keys).await;
    let mut asking_next = sagas.iter();
    let mut ended = 0;
    for tries in 0.. {
        if let Some(saga) = asking_next.next() {
            let mut entities = vec!["a", "b", "c", "d", "e"];
            rng.shuffle(&mut entities);
            entities.truncate(rng.usize(1..4));
            entities.sort_unstable();
            append(journal, lease, asking(turn(saga, 1, After::Keep), &entities)).await;
        }
        for (id, tokens) in granted(journal, lease).await {
            let saga = sagas.iter().find(|saga| saga.id == id).unwrap();
            take(held, id, &tokens);
            append(journal, lease, reading(turn(saga, 2, After::Keep), &[GRANT])).await;
            tokio::task::yield_now().await;
            release(held, id);
            let last = turn(saga, 3, if rng.bool() { After::Keep } else { After::End(End::Completed) });
            append(journal, lease, if last.after == After::Keep { giving_up(last) } else { last }).await;
            ended += 1;
        }
        if ended == sagas.len() {
            break;
        }
        assert!(tries < 2_000, "not all got their turn: {:?}", journal.locks(100).await);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn take(held: &Held, saga: SagaId, tokens: &BTreeMap<String, u64>) {
    let mut held = held.lock().unwrap_or_else(PoisonError::into_inner);
    for (key, token) in tokens {
        let (holder, highest) = held.entry(key.clone()).or_default();
        assert_eq!(*holder, None, "{key} has one holder");
        assert!(token > highest, "{key}: {token} after {highest}");
        (*holder, *highest) = (Some(saga), *token);
    }
}

fn release(held: &Held, saga: SagaId) {
    let mut held = held.lock().unwrap_or_else(PoisonError::into_inner);
    for (holder, _) in held.values_mut() {
        *holder = holder.filter(|holder| *holder != saga);
    }
}
