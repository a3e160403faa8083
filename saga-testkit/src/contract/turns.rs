//! J16: turns start sagas and send messages, if and only if they are written.

use saga_core::journal::{After, Appended, End, Journal as _, ListFilter, NewSaga, SagaStatus, Sent, Turn};

use super::Fixture;
use super::support::{
    SHORT, append, assert_fenced, bodies, claim, lease, message, new_saga, parked, reading, sent, start, turn, unread,
};

fn starting(turn: Turn, sagas: &[&NewSaga]) -> Turn {
    Turn { starts: sagas.iter().map(|saga| (*saga).clone()).collect(), ..turn }
}

fn sending(turn: Turn, to: &[(&str, &str)]) -> Turn {
    Turn { sends: to.iter().map(|(key, id)| message(key, id)).collect(), ..turn }
}

/// Sagas for any worker, messages for whoever owns their sagas; once, however often the turn is sent.
pub async fn j16_what_a_written_turn_starts_and_sends_is_there_once(fixture: &impl Fixture) {
    let journal = fixture.fresh().await;
    let lease = lease(&journal).await;
    let sagas = start(&journal, Some(lease), &["parent", "other"]).await;
    let (child, second) = (new_saga("child"), new_saga("second"));
    let full = sending(
        starting(turn(&sagas[0], 1, After::Keep), &[&child, &second]),
        &[("child", "hello"), ("other", "m"), ("nobody yet", "m")],
    );
    assert_eq!(append(&journal, lease, full.clone()).await, Appended::Written);
    assert_eq!(append(&journal, lease, full.clone()).await, Appended::Repeated);
    assert_eq!(journal.list(&ListFilter::default(), 10).await.unwrap().len(), 4);
    let found = journal.find("order", "child").await.unwrap().unwrap();
    assert_eq!((found.header.id, found.header.input, found.status), (child.id, child.input, SagaStatus::Waiting));
    assert_eq!(bodies(&journal, child.id).await, ["[\"start\"]"]);
    assert_eq!(unread(&journal, lease).await, ["m"]);
    assert_eq!(sent(&journal, "nobody yet", "m").await, Sent::Duplicate);
    // Any worker may take them, and finds the message that was sent along.
    let worker = self::lease(&journal).await;
    let mut claimed: Vec<_> = claim(&journal, worker, 10).await.sagas.into_iter().map(|saga| saga.header.id).collect();
    claimed.sort();
    let mut expected = [child.id, second.id];
    expected.sort();
    assert_eq!(claimed, expected);
    assert_eq!(unread(&journal, worker).await, ["hello"]);
    append(&journal, worker, reading(turn(&child, 1, After::Keep), &["hello"])).await;
    assert_eq!(append(&journal, lease, full).await, Appended::Repeated);
    assert_eq!(unread(&journal, worker).await, [""; 0], "sent once, read once");
    assert_eq!(bodies(&journal, child.id).await.len(), 2);
}

/// Rival, gap, unread message, lost lease: nothing was started, nothing was sent.
pub async fn j16_a_turn_that_is_not_written_starts_and_sends_nothing(fixture: &impl Fixture) {
    let journal = fixture.fresh().await;
    let (lease, _) = journal.open_lease("worker", SHORT).await.unwrap();
    let sagas = start(&journal, Some(lease), &["rival", "gap", "unread", "other"]).await;
    append(&journal, lease, turn(&sagas[0], 1, After::Keep)).await;
    assert_eq!(sent(&journal, "unread", "m").await, Sent::Accepted);
    let full = |turn: Turn| sending(starting(turn, &[&new_saga("child")]), &[("other", "m")]);
    let batch = [
        full(Turn { nonce: 99, ..turn(&sagas[0], 1, After::Keep) }),
        full(turn(&sagas[1], 2, After::Keep)),
        full(turn(&sagas[2], 1, After::End(End::Completed))),
    ];
    let answers = journal.append(lease, &batch).await.unwrap();
    assert_eq!(answers, [Appended::Rival, Appended::Rival, Appended::Unread]);
    fixture.pass(SHORT * 2).await;
    journal.fence_lapsed().await.unwrap();
    assert_fenced(journal.append(lease, &[full(turn(&sagas[3], 1, After::Keep))]).await);
    assert!(journal.find("order", "child").await.unwrap().is_none());
    assert_eq!(sent(&journal, "other", "m").await, Sent::Accepted, "nobody has sent it before");
}

/// A saga that is there already is not touched, whatever its id, and whoever has it.
pub async fn j16_a_saga_that_exists_is_left_as_it_is(fixture: &impl Fixture) {
    let journal = fixture.fresh().await;
    let lease = lease(&journal).await;
    let sagas = start(&journal, Some(lease), &["parent", "owned", "parked", "over"]).await;
    append(&journal, lease, turn(&sagas[2], 1, parked(None))).await;
    append(&journal, lease, turn(&sagas[3], 1, After::End(End::RolledBack))).await;
    let again = NewSaga { nonce: 5, body: "[\"another\"]".to_owned(), ..sagas[1].clone() };
    let others = [new_saga("parked"), new_saga("over"), new_saga("fresh")];
    let starts = [&again, &others[0], &others[1], &others[2]];
    assert_eq!(append(&journal, lease, starting(turn(&sagas[0], 1, After::Keep), &starts)).await, Appended::Written);
    for (saga, turns) in sagas.iter().zip([2, 1, 2, 2]) {
        assert_eq!(journal.find("order", &saga.key).await.unwrap().unwrap().header.id, saga.id);
        assert_eq!(bodies(&journal, saga.id).await.len(), turns);
    }
    assert_eq!(bodies(&journal, sagas[1].id).await, ["[\"start\"]"]);
    assert_eq!(journal.load(&[others[0].id, others[1].id]).await.unwrap(), []);
    let due: Vec<_> = claim(&journal, lease, 10).await.sagas.into_iter().map(|saga| saga.header.key).collect();
    assert_eq!(due, ["fresh"], "starting a parked saga again does not wake it");
    assert_eq!(append(&journal, lease, turn(&sagas[1], 1, After::Keep)).await, Appended::Written, "still its owner");
}

/// What a turn sends is a message like any other.
pub async fn j16_a_message_of_a_turn_wakes_is_known_or_comes_too_late(fixture: &impl Fixture) {
    let journal = fixture.fresh().await;
    let lease = lease(&journal).await;
    let sagas = start(&journal, Some(lease), &["sender", "parked", "known", "over", "itself"]).await;
    append(&journal, lease, turn(&sagas[1], 1, parked(None))).await;
    assert_eq!(sent(&journal, "known", "m").await, Sent::Accepted);
    append(&journal, lease, reading(turn(&sagas[2], 1, After::Keep), &["m"])).await;
    append(&journal, lease, turn(&sagas[3], 1, After::End(End::Completed))).await;
    let sends = sending(turn(&sagas[0], 1, After::Keep), &[("parked", "m"), ("known", "m"), ("over", "m")]);
    assert_eq!(append(&journal, lease, sends).await, Appended::Written, "a message to nobody is dropped");
    // A turn that parks and sends to itself is due again.
    let itself = sending(turn(&sagas[4], 1, parked(None)), &[("itself", "m")]);
    assert_eq!(append(&journal, lease, itself).await, Appended::Written);
    let mut due: Vec<_> = claim(&journal, lease, 10).await.sagas.into_iter().map(|saga| saga.header.key).collect();
    due.sort();
    assert_eq!(due, ["itself", "parked"]);
    assert_eq!(unread(&journal, lease).await, ["m", "m"]);
    assert_eq!(sent(&journal, "over", "m").await, Sent::TooLate);
}

/// The last turn of a saga may tell others, and what it starts goes on without it.
pub async fn j16_a_turn_that_ends_its_saga_starts_and_sends_as_well(fixture: &impl Fixture) {
    let journal = fixture.fresh().await;
    let lease = lease(&journal).await;
    let sagas = start(&journal, Some(lease), &["child", "parent"]).await;
    append(&journal, lease, turn(&sagas[1], 1, parked(None))).await;
    let end = turn(&sagas[0], 1, After::End(End::Completed));
    let end = sending(starting(end, &[&new_saga("late")]), &[("parent", "ended"), ("late", "hello")]);
    assert_eq!(append(&journal, lease, end).await, Appended::Written);
    let mut due: Vec<_> = claim(&journal, lease, 10).await.sagas.into_iter().map(|saga| saga.header.key).collect();
    due.sort();
    assert_eq!(due, ["late", "parent"]);
    let mut received = unread(&journal, lease).await;
    received.sort();
    assert_eq!(received, ["ended", "hello"]);
}
