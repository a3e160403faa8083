//! A good world, and one for each way in which it can be bad.

use saga_core::journal::End;
use saga_core::machine::Record;
use saga_core::verify::Invariant;
use saga_core::{Digest, Epoch, IdempotencyKey, Op, Payload, StepName, Timestamp};

use super::*;
use crate::ledger::{Anomaly, Apply, Delivery, Resource, Script, Undo};
use crate::notes::{Sent, Started};
use crate::sagas::Order;

const COMPLETED: SagaStatus = SagaStatus::Ended(End::Completed);
const ROLLED_BACK: SagaStatus = SagaStatus::Ended(End::RolledBack);

fn begun(step: &str, op: Op) -> Record {
    Record::Begun { step: step.into(), op, attempt: 1, generation: 0, at: None, input: Digest::of_text("") }
}

fn done(step: &str) -> Record {
    Record::Done { step: step.into(), output: Payload::from_json("1".to_owned()).unwrap() }
}

fn saga(definition: &str, key: &str, status: SagaStatus, records: Vec<Record>) -> SagaFacts {
    let turns = vec![HistoryTurn { at: Timestamp::from_micros(1), epoch: Some(Epoch(1)), records }];
    let (definition, key) = (definition.to_owned(), key.to_owned());
    SagaFacts { id: SagaId::new(), definition, version: 1, key, status, turns, letters: 0 }
}

fn apply(book: &mut Book, saga: SagaId, step: &str, resource: Resource, amount: i64) {
    let step = StepName::from(step);
    let key = IdempotencyKey::of(saga, &step, Op::Run, 0);
    let (epoch, tokens, script) = (Epoch(1), BTreeMap::new(), Script::Fine);
    book.apply(&Apply { saga, step, key, epoch, resource, amount, tokens, script });
}

fn undo(book: &mut Book, saga: SagaId, step: &str) {
    let step = StepName::from(step);
    let key = IdempotencyKey::of(saga, &step, Op::Run, 0);
    let undo_key = IdempotencyKey::of(saga, &step, Op::Compensate, 0);
    book.undo(&Undo { saga, step, key, undo_key, script: Script::Fine });
}

/// A checkout that completed, one that was rolled back, and a payment that was signalled, and signalled again.
fn good() -> Facts {
    let mut facts = Facts::default();
    let steps = ["reserve", "authorize", "capture", "confirm", "ordered"];
    let records = steps.iter().flat_map(|step| [begun(step, Op::Run), done(step)]).collect();
    let bought = saga("checkout", "a-1", COMPLETED, records);
    let records = vec![begun("reserve", Op::Run), done("reserve"), begun("reserve", Op::Compensate)];
    let declined = saga("checkout", "a-2", ROLLED_BACK, records);
    let refund = saga("refund", "late", COMPLETED, vec![begun("pay-back", Op::Run), done("pay-back")]);
    let signalled = |id: &str| Record::Signalled { name: "paid-up".into(), payload: Payload::null(), id: id.into() };
    let followed = Record::FollowedUp { id: "a-3/again".into(), by: refund.id };
    let records = vec![signalled("a-3/paid"), done("wait"), done("paid"), signalled("a-3/again"), followed];
    let paid = saga("payment", "a-3", COMPLETED, records);
    for (step, resource, amount) in [
        ("reserve", Resource::Reservation, 2),
        ("authorize", Resource::Hold, 500),
        ("capture", Resource::Capture, 500),
        ("confirm", Resource::Sale, 2),
    ] {
        apply(&mut facts.book, bought.id, step, resource, amount);
    }
    apply(&mut facts.book, declined.id, "reserve", Resource::Reservation, 2);
    undo(&mut facts.book, declined.id, "reserve");
    apply(&mut facts.book, refund.id, "pay-back", Resource::Other, 1);
    for (saga, topic) in [(bought.id, "ordered"), (paid.id, "paid")] {
        // At least once.
        for _ in 0..2 {
            facts.book.deliveries.push(Delivery { saga, id: format!("{saga}/{topic}"), topic: topic.to_owned() });
        }
    }
    for (saga, script) in [(&bought, Script::Fine), (&declined, Script::Declined), (&paid, Script::Fine)] {
        let definition = if saga.definition == "payment" { "payment" } else { "checkout" };
        let order = Order { cents: 500, goods: 2, script, ..Order::default() };
        facts.notes.tried.insert((definition, saga.key.clone()), script);
        facts.notes.started.push(Started { definition, key: saga.key.clone(), saga: saga.id, order });
    }
    for id in ["a-3/paid", "a-3/again"] {
        facts.notes.sent.push(Sent { key: "a-3".into(), id: id.into(), follow_up: None });
        let (definition, key) = ("payment".to_owned(), "a-3".to_owned());
        facts.messages.push(MessageFacts { definition, key, id: id.to_owned(), read: true });
    }
    facts.leases.insert(1, LeaseFacts { worker: "worker-1-few".to_owned(), fenced_at: Some(1) });
    facts.sagas = vec![bought, declined, paid, refund];
    facts
}

fn finds(invariant: Invariant, finding: &str, spoil: impl FnOnce(&mut Facts)) {
    let mut facts = good();
    spoil(&mut facts);
    let found = check(&facts);
    let named = |violation: &Violation| violation.invariant == invariant && violation.finding.contains(finding);
    assert!(found.iter().any(named), "{invariant} {finding}: {found:?}");
}

fn entry<'f>(facts: &'f mut Facts, saga: usize, step: &str) -> &'f mut crate::ledger::Entry {
    let key = IdempotencyKey::of(facts.sagas[saga].id, &step.into(), Op::Run, 0);
    facts.book.entries.get_mut(&key).unwrap()
}

#[test]
fn a_good_world_has_no_findings() {
    assert_eq!(check(&good()), []);
}

#[test]
fn i1_no_saga_is_lost() {
    finds(Invariant::NoLostSaga, "is not there", |facts| drop(facts.sagas.remove(0)));
    finds(Invariant::NoLostSaga, "is 2 sagas", |facts| {
        let again = SagaFacts { id: SagaId::new(), ..facts.sagas[0].clone() };
        facts.sagas.push(again);
    });
    finds(Invariant::NoLostSaga, "is another saga", |facts| facts.sagas[0].id = SagaId::new());
    finds(Invariant::NoLostSaga, "started by nobody", |facts| {
        facts.sagas.push(saga("checkout", "z-9", ROLLED_BACK, Vec::new()));
    });
    finds(Invariant::NoLostSaga, "0 open dead letters", |facts| facts.sagas[1].status = SagaStatus::NeedsAttention);
    finds(Invariant::NoLostSaga, "a client was told", |facts| facts.notes.odd.push("no".to_owned()));
}

#[test]
fn i2_effects_happen_once_or_not_at_all() {
    finds(Invariant::NetEffect, "2 effects stand", |facts| {
        let (id, step) = (facts.sagas[0].id, StepName::from("reserve"));
        let twice = facts.book.entries[&IdempotencyKey::of(id, &step, Op::Run, 0)].clone();
        facts.book.entries.insert(IdempotencyKey::of(id, &step, Op::Run, 1), twice);
    });
    finds(Invariant::NetEffect, "is rolled back", |facts| entry(facts, 1, "reserve").undone = false);
    finds(Invariant::NetEffect, "has no effect", |facts| entry(facts, 0, "confirm").undone = true);
    finds(Invariant::NetEffect, "the journal lost", |facts| drop(facts.sagas.remove(0)));
    finds(Invariant::NetEffect, "though it was declined", |facts| {
        facts.notes.tried.insert(("checkout", "a-1".to_owned()), Script::Declined);
    });
}

#[test]
fn i3_keys_are_those_that_the_journal_implies() {
    finds(Invariant::Keys, "does not imply", |facts| {
        let old = IdempotencyKey::of(facts.sagas[0].id, &"capture".into(), Op::Run, 0);
        let entry = facts.book.entries.remove(&old).unwrap();
        facts.book.entries.insert(old.part("attempt 2"), entry);
    });
    finds(Invariant::Keys, "than the compensation's", |facts| {
        let other = IdempotencyKey::of(facts.sagas[1].id, &"reserve".into(), Op::Compensate, 1);
        entry(facts, 1, "reserve").undo_keys.insert(other);
    });
}

#[test]
fn i4_to_i8_i11_i14_i19_are_the_journals_own() {
    for invariant in [
        Invariant::Direction,
        Invariant::UndoOrder,
        Invariant::Automaton,
        Invariant::Fencing,
        Invariant::Timers,
        Invariant::DeadLetters,
        Invariant::Audit,
    ] {
        finds(invariant, "as found", |facts| facts.journal.push(Violation::new(invariant, "as found")));
    }
}

#[test]
fn i6_nothing_happens_without_an_intent() {
    finds(Invariant::UndoSet, "asked for without an intent", |facts| drop(facts.sagas[0].turns[0].records.remove(0)));
    finds(Invariant::UndoSet, "undone without an intent", |facts| drop(facts.sagas[1].turns[0].records.pop()));
}

#[test]
fn i8_nothing_is_written_after_the_fence() {
    finds(Invariant::Fencing, "had been fenced", |facts| {
        facts.leases.entry(1).and_modify(|lease| lease.fenced_at = Some(0));
    });
}

#[test]
fn i9_tokens_grow() {
    finds(Invariant::EntityLocks, "token 3 after 4", |facts| {
        let (saga, step) = (facts.sagas[0].id, StepName::from("enter"));
        let finding = "shelf-1: token 3 after 4".to_owned();
        facts.book.anomalies.push(Anomaly { invariant: Invariant::EntityLocks, saga, step, finding });
    });
}

#[test]
fn i10_every_saga_ends() {
    finds(Invariant::Liveness, "was to be over", |facts| facts.sagas[0].status = SagaStatus::Waiting);
    finds(Invariant::Liveness, "was to be over", |facts| {
        (facts.sagas[1].status, facts.sagas[1].letters) = (SagaStatus::NeedsAttention, 1);
    });
}

#[test]
fn i12_signals_are_neither_lost_nor_doubled() {
    finds(Invariant::Signals, "taken in 0 times", |facts| drop(facts.sagas[2].turns[0].records.remove(0)));
    finds(Invariant::Signals, "taken in 2 times", |facts| {
        let again = facts.sagas[2].turns[0].records[0].clone();
        facts.sagas[2].turns[0].records.push(again);
    });
    finds(Invariant::Signals, "nothing sees to it", |facts| facts.notes.sent[0].follow_up = Some(SagaId::new()));
    finds(Invariant::Signals, "its saga is over", |facts| {
        facts.sagas[2].turns[0].records.remove(0);
        facts.messages[0].read = false;
    });
    finds(Invariant::Signals, "used or handed on", |facts| drop(facts.sagas[2].turns[0].records.pop()));
    finds(Invariant::Signals, "is not there", |facts| drop(facts.sagas.pop()));
    finds(Invariant::Signals, "is gone", |facts| facts.notes.sent[0].key = "a-4".to_owned());
}

#[test]
fn i13_events_are_delivered_if_their_turn_is_written() {
    finds(Invariant::Outbox, "delivered []", |facts| facts.book.deliveries.retain(|event| event.topic != "paid"));
    finds(Invariant::Outbox, "published []", |facts| {
        facts.sagas[0].turns[0].records.retain(|record| *record != done("ordered"));
    });
    finds(Invariant::Outbox, "delivered [\"ordered\", \"ordered\"]", |facts| {
        facts.book.deliveries[1].id = "another".to_owned();
    });
    finds(Invariant::Outbox, "does not have", |facts| facts.book.deliveries[0].saga = SagaId::new());
    finds(Invariant::Outbox, "still in the outbox", |facts| facts.server.unpublished = 1);
}

#[test]
fn i15_and_i16_money_and_goods_add_up() {
    finds(Invariant::Money, "held and taken", |facts| facts.book.money.1 += 1);
    finds(Invariant::Money, "held and taken", |facts| facts.book.money.0 = 500);
    finds(Invariant::Stock, "reserved and sold", |facts| facts.book.stock.0 = 2);
    finds(Invariant::Money, "without a hold", |facts| {
        let saga = facts.sagas[1].id;
        apply(&mut facts.book, saga, "capture", Resource::Capture, 5);
    });
    finds(Invariant::Stock, "without a reservation", |facts| {
        let saga = facts.sagas[1].id;
        apply(&mut facts.book, saga, "confirm", Resource::Sale, 5);
    });
    finds(Invariant::Money, "released what was taken", |facts| {
        let saga = facts.sagas[0].id;
        undo(&mut facts.book, saga, "authorize");
    });
}

#[test]
fn i17_secrets_are_seen_nowhere() {
    finds(Invariant::Secrets, "worker.log", |facts| facts.leaks.push("worker.log".to_owned()));
}

#[test]
fn i18_everything_is_given_back() {
    finds(Invariant::Resources, "idle", |facts| facts.server.idle_in_transaction = 1);
    finds(Invariant::Resources, "advisory", |facts| facts.server.advisory_locks = 1);
    finds(Invariant::Resources, "connections", |facts| facts.server.connections = 3);
}

#[test]
fn i20_workers_run_what_they_hold() {
    finds(Invariant::Definitions, "does not hold", |facts| {
        facts.sagas[0].definition = "parent".to_owned();
        facts.notes.tried.insert(("parent", "a-1".to_owned()), Script::Fine);
    });
}
