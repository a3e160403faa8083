//! J5 to J7: each place in a history is written once, by its owner.

use std::sync::Arc;

use saga_core::Timestamp;
use saga_core::journal::{After, Appended, End, Journal as _, SagaStatus, Turn};

use super::Fixture;
use super::support::{LONG, append, bodies, claim, lease, new_saga, parked, start, turn};

/// A resent turn is told from a new one, and changes nothing.
pub async fn j5_the_same_turn_again_is_recognised(fixture: &impl Fixture) {
    let journal = fixture.fresh().await;
    let lease = lease(&journal).await;
    let saga = start(&journal, Some(lease), &["k"]).await.remove(0);
    let first = turn(&saga, 1, After::Keep);
    assert_eq!(append(&journal, lease, first.clone()).await, Appended::Written);
    assert_eq!(append(&journal, lease, first.clone()).await, Appended::Repeated);
    let last = turn(&saga, 2, After::End(End::Completed));
    assert_eq!(append(&journal, lease, last.clone()).await, Appended::Written);
    assert_eq!(append(&journal, lease, last).await, Appended::Repeated);
    assert_eq!(append(&journal, lease, first).await, Appended::Repeated);
    assert_eq!(bodies(&journal, saga.id).await.len(), 3);
    assert_eq!(journal.summary(saga.id).await.unwrap().unwrap().status, SagaStatus::Ended(End::Completed));
}

/// The first turn in a place stays.
pub async fn j5_another_turn_in_its_place_is_a_rivals(fixture: &impl Fixture) {
    let journal = fixture.fresh().await;
    let lease = lease(&journal).await;
    let saga = start(&journal, Some(lease), &["k"]).await.remove(0);
    append(&journal, lease, turn(&saga, 1, After::Keep)).await;
    let rival = Turn { nonce: 99, body: "[\"rival\"]".to_owned(), ..turn(&saga, 1, After::End(End::RolledBack)) };
    assert_eq!(append(&journal, lease, rival).await, Appended::Rival);
    assert_eq!(bodies(&journal, saga.id).await, ["[\"start\"]", "[\"turn 1\"]"]);
    assert_eq!(journal.summary(saga.id).await.unwrap().unwrap().status, SagaStatus::Running);
}

/// Only the owner appends, and only the next turn.
pub async fn j5_a_gap_or_a_strangers_saga_is_refused(fixture: &impl Fixture) {
    let journal = fixture.fresh().await;
    let (own, other) = (lease(&journal).await, lease(&journal).await);
    let saga = start(&journal, Some(own), &["k"]).await.remove(0);
    assert_eq!(append(&journal, own, turn(&saga, 2, After::Keep)).await, Appended::Rival);
    assert_eq!(append(&journal, other, turn(&saga, 1, After::Keep)).await, Appended::Rival);
    assert_eq!(append(&journal, own, turn(&new_saga("missing"), 1, After::Keep)).await, Appended::Rival);
    append(&journal, own, turn(&saga, 1, After::End(End::Completed))).await;
    assert_eq!(append(&journal, own, turn(&saga, 2, After::Keep)).await, Appended::Rival);
    assert_eq!(bodies(&journal, saga.id).await.len(), 2);
}

/// Each turn of a batch is answered for itself.
pub async fn j5_a_rivals_turn_does_not_disturb_its_batch(fixture: &impl Fixture) {
    let journal = fixture.fresh().await;
    let lease = lease(&journal).await;
    let sagas = start(&journal, Some(lease), &["a", "b", "c", "d"]).await;
    append(&journal, lease, turn(&sagas[1], 1, After::Keep)).await;
    append(&journal, lease, turn(&sagas[2], 1, After::Keep)).await;
    let batch = [
        turn(&sagas[0], 1, After::End(End::Completed)),
        Turn { nonce: -1, ..turn(&sagas[1], 1, After::Keep) },
        turn(&sagas[2], 1, After::Keep),
        turn(&sagas[3], 1, parked(None)),
    ];
    let answers = journal.append(lease, &batch).await.unwrap();
    assert_eq!(answers, [Appended::Written, Appended::Rival, Appended::Repeated, Appended::Written]);
    let mut status = Vec::new();
    for saga in &sagas {
        status.push(journal.summary(saga.id).await.unwrap().unwrap().status);
    }
    let running = SagaStatus::Running;
    assert_eq!(status, [SagaStatus::Ended(End::Completed), running, running, SagaStatus::Waiting]);
}

/// Sent by many at once, a turn is written once.
pub async fn j5_one_of_many_concurrent_appends_is_written(fixture: &impl Fixture) {
    let journal = Arc::new(fixture.fresh().await);
    let (lease, _) = journal.open_lease("worker", LONG).await.unwrap();
    let saga = start(&*journal, Some(lease), &["k"]).await.remove(0);
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let (journal, turn) = (journal.clone(), turn(&saga, 1, After::Keep));
            tokio::spawn(async move { append(&*journal, lease, turn).await })
        })
        .collect();
    let mut answers = Vec::new();
    for task in tasks {
        answers.push(task.await.unwrap());
    }
    assert_eq!(answers.iter().filter(|answer| **answer == Appended::Written).count(), 1);
    assert_eq!(answers.iter().filter(|answer| **answer == Appended::Repeated).count(), 7);
    assert_eq!(bodies(&*journal, saga.id).await.len(), 2);
}

/// A batch of the size that the engine sends at most.
pub async fn j6_a_thousand_turns_go_in_at_once(fixture: &impl Fixture) {
    let journal = fixture.fresh().await;
    let lease = lease(&journal).await;
    let sagas: Vec<_> = (0..1000).map(|nth| new_saga(&format!("k{nth}"))).collect();
    journal.start(Some(lease), &sagas).await.unwrap();
    let after = |nth: usize| match nth % 3 {
        0 => After::Keep,
        1 => After::End(End::RolledBack),
        _ => parked(Some(Timestamp::from_micros(0))),
    };
    let turns: Vec<Turn> = sagas.iter().enumerate().map(|(nth, saga)| turn(saga, 1, after(nth))).collect();
    assert_eq!(journal.append(lease, &turns).await.unwrap(), vec![Appended::Written; 1000]);
    assert_eq!(journal.append(lease, &turns).await.unwrap(), vec![Appended::Repeated; 1000]);
    assert_eq!(journal.owned(lease).await.unwrap().len(), 334);
    assert_eq!(claim(&journal, lease, 1000).await.sagas.len(), 333);
    let ids: Vec<_> = sagas.iter().map(|saga| saga.id).collect();
    let histories = journal.load(&ids).await.unwrap();
    assert!(histories.iter().zip(&ids).all(|(history, id)| history.header.id == *id && history.turns.len() == 2));
}

/// Journals do not interpret what they store.
pub async fn j6_texts_come_back_as_they_were(fixture: &impl Fixture) {
    let journal = fixture.fresh().await;
    let lease = lease(&journal).await;
    let long = format!("[\"{}\"]", "x".repeat(300_000));
    for (nth, text) in
        ["[\"\\u0000 ' \\\" \\\\\"]", "[\"é 漢 🦀 \u{202e}\"]", "[1e308, -0.0]", &long].iter().enumerate()
    {
        let saga = start(&journal, Some(lease), &[&format!("k '\"; {nth} é🦀")]).await.remove(0);
        let turn = Turn { body: (*text).to_owned(), ..turn(&saga, 1, After::Keep) };
        assert_eq!(append(&journal, lease, turn).await, Appended::Written);
        assert_eq!(bodies(&journal, saga.id).await[1], *text);
        let found = journal.find("order", &saga.key).await.unwrap().unwrap();
        assert_eq!(found.header.id, saga.id);
    }
}

/// The answer to a park is lost; the saga is claimed again under the same lease; the park is resent.
pub async fn j7_sending_a_park_again_does_not_undo_a_later_claim(fixture: &impl Fixture) {
    let journal = fixture.fresh().await;
    let lease = lease(&journal).await;
    let saga = start(&journal, Some(lease), &["k"]).await.remove(0);
    let park = turn(&saga, 1, parked(Some(Timestamp::from_micros(0))));
    assert_eq!(append(&journal, lease, park.clone()).await, Appended::Written);
    assert_eq!(claim(&journal, lease, 10).await.sagas.len(), 1);
    assert_eq!(append(&journal, lease, park).await, Appended::Repeated);
    assert_eq!(journal.summary(saga.id).await.unwrap().unwrap().status, SagaStatus::Running);
    assert_eq!(append(&journal, lease, turn(&saga, 2, After::Keep)).await, Appended::Written);
}
