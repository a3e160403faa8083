//! J10 to J12: dead letters, outlines, retention.

use std::time::Duration;

use saga_core::definition::Outline;
use saga_core::journal::{After, ClaimOne, End, Journal as _, LetterChange, Sent, Standing, Turn};
use saga_core::machine::AttentionReason;
use saga_core::{Op, SagaId};

use super::Fixture;
use super::support::{SHORT, append, bodies, closes, lease, opens, parked, sent, start, swept, turn, unread};

const ATTENTION: After = After::Park { wake_at: None, standing: Standing::NeedsAttention };

/// One open letter for each operation, written with the turn that says so.
pub async fn j10_a_dead_letter_opens_and_closes_with_its_turn(fixture: &impl Fixture) {
    let journal = fixture.fresh().await;
    let lease = lease(&journal).await;
    let sagas = start(&journal, Some(lease), &["a", "b"]).await;
    let open = Turn { letters: vec![opens("authorize"), opens("reserve")], ..turn(&sagas[0], 1, ATTENTION) };
    let rival = Turn { nonce: 0, letters: vec![opens("capture")], ..turn(&sagas[0], 1, ATTENTION) };
    let whole = LetterChange::Open {
        step: None,
        op: Op::Run,
        reason: AttentionReason::Unreadable,
        error: "turn 3 is not readable".to_owned(),
        attempts: 0,
    };
    let set_aside = Turn { letters: vec![whole], ..turn(&sagas[1], 1, ATTENTION) };
    append(&journal, lease, open.clone()).await;
    append(&journal, lease, open).await;
    append(&journal, lease, rival).await;
    append(&journal, lease, set_aside).await;
    let letters = journal.dead_letters(Some(sagas[0].id), 10).await.unwrap();
    let names: Vec<_> = letters.iter().map(|letter| letter.step.as_ref().unwrap().as_str()).collect();
    assert_eq!(names, ["authorize", "reserve"]);
    let letter = &letters[0];
    assert_eq!(
        (letter.op, letter.reason, letter.attempts, letter.seq),
        (Op::Compensate, AttentionReason::Failed, 3, 1)
    );
    assert_eq!(
        (letter.error.as_str(), letter.definition.as_str(), letter.key.as_str()),
        ("void refused", "order", "a")
    );
    let all = journal.dead_letters(None, 10).await.unwrap();
    assert_eq!(all.len(), 3);
    assert_eq!(all[2].step, None);
    assert_eq!(journal.dead_letters(None, 2).await.unwrap().len(), 2);

    assert!(matches!(journal.claim_one(lease, sagas[0].id).await.unwrap(), ClaimOne::Claimed(_)));
    let close = Turn { letters: vec![closes("authorize")], ..turn(&sagas[0], 2, After::Keep) };
    append(&journal, lease, close).await;
    let left = journal.dead_letters(Some(sagas[0].id), 10).await.unwrap();
    assert_eq!(left.len(), 1);
    // The same operation may come to need a human again.
    let again = Turn { letters: vec![opens("authorize")], ..turn(&sagas[0], 3, ATTENTION) };
    append(&journal, lease, again).await;
    let left = journal.dead_letters(Some(sagas[0].id), 10).await.unwrap();
    assert_eq!(left.iter().map(|letter| letter.seq).collect::<Vec<_>>(), [1, 3]);
}

/// Every open letter is handed out until somebody has taken it.
pub async fn j10_an_alert_is_handed_out_until_it_is_acknowledged(fixture: &impl Fixture) {
    let journal = fixture.fresh().await;
    let lease = lease(&journal).await;
    let saga = start(&journal, Some(lease), &["a"]).await.remove(0);
    let open = Turn { letters: vec![opens("authorize"), opens("reserve")], ..turn(&saga, 1, ATTENTION) };
    append(&journal, lease, open).await;
    let first = journal.unalerted(10).await.unwrap();
    assert_eq!(first.len(), 2);
    assert_eq!(journal.unalerted(1).await.unwrap().len(), 1);
    journal.mark_alerted(&first[..1]).await.unwrap();
    journal.mark_alerted(&first[..1]).await.unwrap();
    assert_eq!(journal.unalerted(10).await.unwrap(), first[1..]);
    assert_eq!(journal.dead_letters(None, 10).await.unwrap().len(), 2);
    journal.mark_alerted(&first[1..]).await.unwrap();
    assert_eq!(journal.unalerted(10).await.unwrap(), []);
}

/// Whoever comes later is told what is stored.
pub async fn j11_the_first_outline_stays(fixture: &impl Fixture) {
    let journal = fixture.fresh().await;
    let outline = |name: &str, version| Outline { definition: name.to_owned(), version, steps: Vec::new() };
    let step = saga_core::definition::StepOutline {
        name: "reserve".into(),
        kind: saga_core::Kind::Compensatable,
        compensated: true,
        after: Vec::new(),
        guard: None,
        each: false,
    };
    let first = Outline { steps: vec![step], ..outline("order", 1) };
    let only = std::slice::from_ref(&first);
    assert_eq!(journal.register(only).await.unwrap(), only);
    let other = fixture.reopen(&journal).await;
    let asked = [outline("order", 2), outline("order", 1), outline("refund", 1)];
    let stored = other.register(&asked).await.unwrap();
    assert_eq!(stored, [asked[0].clone(), first, asked[2].clone()]);
    assert_eq!(other.register(&[]).await.unwrap(), []);
}

/// Oldest first, at most so many, and never what is alive.
pub async fn j12_only_what_has_ended_long_ago_is_deleted(fixture: &impl Fixture) {
    let journal = fixture.fresh().await;
    let lease = lease(&journal).await;
    let sagas = start(&journal, Some(lease), &["a", "b", "c", "running", "attention"]).await;
    append(&journal, lease, Turn { letters: vec![opens("x")], ..turn(&sagas[4], 1, ATTENTION) }).await;
    for saga in &sagas[..3] {
        append(&journal, lease, turn(saga, 1, After::End(End::Completed))).await;
        fixture.pass(Duration::from_millis(5)).await;
    }
    assert_eq!(swept(&journal, Duration::from_secs(3600), 10).await, 0);
    fixture.pass(SHORT).await;
    assert_eq!(swept(&journal, SHORT / 2, 2).await, 2);
    assert!(journal.summary(sagas[0].id).await.unwrap().is_none());
    assert_eq!(journal.load(&[sagas[1].id]).await.unwrap(), []);
    assert!(journal.summary(sagas[2].id).await.unwrap().is_some(), "the youngest is still there");
    assert_eq!(swept(&journal, SHORT / 2, 10).await, 1);
    assert_eq!(swept(&journal, SHORT / 2, 10).await, 0);
    assert_eq!(bodies(&journal, sagas[3].id).await.len(), 1);
    assert_eq!(journal.dead_letters(None, 10).await.unwrap().len(), 1);
    // The key is free again.
    start(&journal, None, &["a"]).await;
}

/// What is to be deleted is named first, so that it can be kept elsewhere; what has not ended stays, whoever
/// asks for its deletion.
pub async fn j12_only_what_has_ended_is_forgotten(fixture: &impl Fixture) {
    let journal = fixture.fresh().await;
    let lease = lease(&journal).await;
    let sagas = start(&journal, Some(lease), &["first", "second", "running", "waiting", "retained"]).await;
    let retained = After::Park { wake_at: None, standing: Standing::Retained };
    append(&journal, lease, turn(&sagas[3], 1, parked(None))).await;
    append(&journal, lease, turn(&sagas[4], 1, retained)).await;
    assert_eq!(sent(&journal, "running", "m").await, Sent::Accepted);
    for nth in [1, 0] {
        append(&journal, lease, turn(&sagas[nth], 1, After::End(End::RolledBack))).await;
        fixture.pass(Duration::from_millis(5)).await;
    }
    assert_eq!(journal.expired(Duration::from_secs(3600), 10).await.unwrap(), []);
    assert_eq!(journal.expired(Duration::ZERO, 10).await.unwrap(), [sagas[1].id, sagas[0].id], "oldest first");
    assert_eq!(journal.expired(Duration::ZERO, 1).await.unwrap(), [sagas[1].id]);
    assert_eq!(bodies(&journal, sagas[1].id).await.len(), 2, "naming is not deleting");
    let all: Vec<SagaId> = sagas.iter().map(|saga| saga.id).chain([SagaId::new()]).collect();
    assert_eq!(journal.forget(&all, Duration::from_secs(3600)).await.unwrap(), 2);
    assert_eq!(journal.forget(&all, Duration::from_secs(3600)).await.unwrap(), 0);
    assert_eq!(journal.expired(Duration::ZERO, 10).await.unwrap(), []);
    for saga in &sagas[..2] {
        assert!(journal.summary(saga.id).await.unwrap().is_none());
        assert!(journal.find("order", &saga.key).await.unwrap().is_none());
    }
    for (saga, turns) in sagas[2..].iter().zip([1, 2, 2]) {
        assert_eq!(bodies(&journal, saga.id).await.len(), turns);
    }
    assert_eq!(unread(&journal, lease).await, ["m"]);
}
