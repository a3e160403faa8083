//! Every call of the hot path, at the sizes that it has in practice: one saga, and many.

use std::collections::BTreeMap;
use std::time::Duration;

use saga_core::journal::{
    After, End, EventFate, Journal as _, Lease, LetterChange, LockChange, Message, NewEvent, NewSaga, SettledEvent,
    Standing, Turn,
};
use saga_core::machine::AttentionReason;
use saga_core::{Digest, Op, SagaId, StepName, Timestamp};
use saga_postgres::PostgresJournal;

use crate::tables::DEFINITION;

/// The plans of a call may depend on how many calls there were before.
const AGAIN: usize = 3;
const MANY: usize = 100;

fn new_saga(key: &str) -> NewSaga {
    NewSaga {
        id: SagaId::new(),
        definition: DEFINITION.to_owned(),
        version: 1,
        key: key.to_owned(),
        input: Digest::from_bytes([7; 16]),
        body: "[]".to_owned(),
        nonce: 1,
    }
}

fn message(key: &str, id: &str) -> Message {
    Message { definition: DEFINITION.to_owned(), key: key.to_owned(), id: id.to_owned(), body: "[]".to_owned() }
}

fn turns(sagas: &[NewSaga], seq: u32, after: After) -> Vec<Turn> {
    sagas.iter().map(|saga| Turn::new(saga.id, seq, i64::from(seq), "[]".to_owned(), after)).collect()
}

/// Makes all calls, with keys of their own under this label; `ended` is told the name of each when it is over.
pub(crate) async fn all(journal: &PostgresJournal, lease: Lease, label: &str, ended: &mut impl FnMut(&'static str)) {
    for round in (0..AGAIN).map(|round| format!("{label}-{round}")) {
        for size in [1, MANY] {
            let sagas: Vec<NewSaga> = (0..size).map(|nth| new_saga(&format!("new-{round}-{size}-{nth}"))).collect();
            sagas_run(journal, lease, &sagas, ended).await;
        }
        turns_with_effects(journal, lease, &round, ended).await;
        claims(journal, lease, ended).await;
        events(journal, lease, ended).await;
        mail(journal, lease, &round, ended).await;
        looks(journal, ended).await;
        housekeeping(journal, lease, ended).await;
    }
}

async fn sagas_run(journal: &PostgresJournal, lease: Lease, sagas: &[NewSaga], ended: &mut impl FnMut(&'static str)) {
    journal.start(Some(lease), sagas).await.unwrap();
    ended("start");
    journal.start(Some(lease), sagas).await.unwrap();
    ended("start again");
    journal.append(lease, &turns(sagas, 1, After::Keep)).await.unwrap();
    ended("append");
    journal.append(lease, &turns(sagas, 1, After::Keep)).await.unwrap();
    ended("append again");
    let mut publishing = turns(sagas, 2, After::Keep);
    for turn in &mut publishing {
        let id = format!("{}-2", turn.saga);
        let (topic, payload) = ("orders".to_owned(), "1".to_owned());
        turn.events.push(NewEvent { id, topic, headers: BTreeMap::new(), payload });
    }
    journal.append(lease, &publishing).await.unwrap();
    ended("append with events");
    let (parks, ends) = sagas.split_at(sagas.len() / 2);
    let wake_at = Some(Timestamp::from_micros(4_000_000_000_000_000));
    journal.append(lease, &turns(parks, 3, After::Park { wake_at, standing: Standing::Waiting })).await.unwrap();
    ended("append and park");
    journal.append(lease, &turns(ends, 3, After::End(End::Completed))).await.unwrap();
    ended("append and end");
    let ids: Vec<SagaId> = sagas.iter().map(|saga| saga.id).collect();
    assert!(journal.load(&ids).await.unwrap().iter().all(|history| history.turns.len() == 4));
    ended("load");
}

async fn turns_with_effects(
    journal: &PostgresJournal,
    lease: Lease,
    round: &str,
    ended: &mut impl FnMut(&'static str),
) {
    let saga = new_saga(&format!("effects-{round}"));
    journal.start(Some(lease), std::slice::from_ref(&saga)).await.unwrap();
    journal.send(&[message(&saga.key, "m")]).await.unwrap();
    ended("send");
    let append = async |turn: Turn| journal.append(lease, &[turn]).await.unwrap();
    let turn = |seq, after| Turn::new(saga.id, seq, 1, "[]".to_owned(), after);
    append(Turn { read: vec!["m".to_owned()], ..turn(1, After::Keep) }).await;
    ended("append and read a message");
    append(Turn { starts: vec![new_saga(&format!("child-{round}"))], ..turn(2, After::Keep) }).await;
    ended("append and start another");
    append(Turn { sends: vec![message("order-16", &format!("sent-{round}"))], ..turn(3, After::Keep) }).await;
    ended("append and send");
    let locks = |keys: &[&str]| LockChange::Ask {
        step: StepName::from("lock"),
        keys: keys.iter().map(|key| (*key).to_owned()).collect(),
    };
    append(Turn { locks: Some(locks(&["cart-1", "cart-new"])), ..turn(4, After::Keep) }).await;
    ended("append and ask for locks");
    let (step, op) = (Some(StepName::from("step")), Op::Run);
    let open =
        LetterChange::Open { step, op, reason: AttentionReason::Failed, error: "refused".to_owned(), attempts: 1 };
    append(Turn { letters: vec![open], ..turn(5, After::Keep) }).await;
    ended("append and open a dead letter");
    append(Turn { locks: Some(LockChange::GiveUp), ..turn(6, After::Keep) }).await;
    ended("append and give up locks");
}

async fn claims(journal: &PostgresJournal, lease: Lease, ended: &mut impl FnMut(&'static str)) {
    let definitions = [(DEFINITION.to_owned(), 1), ("another".to_owned(), 1)];
    for limit in [1, 50] {
        let claim = journal.claim(lease, &definitions, limit).await.unwrap();
        assert_eq!(claim.sagas.len(), limit);
        ended("claim");
        journal.claim_one(lease, claim.sagas[0].header.id).await.unwrap();
        ended("claim one");
    }
    journal.renew_lease(lease, Duration::from_secs(600)).await.unwrap();
    ended("heartbeat");
    journal.fence_lapsed().await.unwrap();
    ended("fence");
}

async fn events(journal: &PostgresJournal, lease: Lease, ended: &mut impl FnMut(&'static str)) {
    let batch = journal.outbox(lease, 100).await.unwrap();
    assert_eq!(batch.events.len(), 100);
    ended("outbox");
    let fates = [EventFate::Published, EventFate::Retry { after: Duration::from_secs(9), error: "busy".to_owned() }];
    let settled = batch.events.into_iter().zip(fates.into_iter().cycle());
    let settled: Vec<SettledEvent> = settled.map(|(event, fate)| SettledEvent { id: event.event.id, fate }).collect();
    journal.settle_events(lease, &settled).await.unwrap();
    ended("settle events");
}

async fn mail(journal: &PostgresJournal, lease: Lease, round: &str, ended: &mut impl FnMut(&'static str)) {
    // One that is in flight, one that waits, one that is over, and one that is still to come.
    for key in ["order-320", "order-16", "order-99999", "order-to-come"] {
        journal.send(&[message(key, &format!("signal-{round}"))]).await.unwrap();
    }
    ended("send");
    assert!(!journal.inbox(lease).await.unwrap().is_empty());
    ended("inbox");
}

async fn looks(journal: &PostgresJournal, ended: &mut impl FnMut(&'static str)) {
    let found = journal.find(DEFINITION, "order-320").await.unwrap().unwrap();
    ended("find");
    journal.summary(found.header.id).await.unwrap();
    ended("summary");
    journal.unalerted(10).await.unwrap();
    ended("unalerted dead letters");
}

async fn housekeeping(journal: &PostgresJournal, lease: Lease, ended: &mut impl FnMut(&'static str)) {
    let retention = Duration::from_secs(80_000);
    let expired = journal.expired(retention, 100).await.unwrap();
    assert_eq!(expired.len(), 100);
    ended("expired");
    assert_eq!(journal.forget(&expired, retention).await.unwrap(), 100);
    ended("forget");
    journal.owned(lease).await.unwrap();
    ended("owned");
}
