//! Signals (I12) and events (I13).

use std::collections::{BTreeMap, BTreeSet};

use saga_core::SagaId;
use saga_core::journal::SagaStatus;
use saga_core::machine::Record;
use saga_core::verify::{Invariant, Violation};

use super::{Facts, SagaFacts};
use crate::sagas::TOPICS;

pub(super) fn check(facts: &Facts, found: &mut Vec<Violation>) {
    signals(facts, found);
    events(facts, found);
    if facts.server.unpublished > 0 {
        let finding = format!("{} events are still in the outbox", facts.server.unpublished);
        found.push(Violation::new(Invariant::Outbox, finding));
    }
}

/// What was accepted is taken in once, or waits for a saga that is not over; what was late is seen to.
fn signals(facts: &Facts, found: &mut Vec<Violation>) {
    let by_key: BTreeMap<&str, &SagaFacts> =
        facts.sagas.iter().filter(|saga| saga.definition == "payment").map(|saga| (saga.key.as_str(), saga)).collect();
    let sagas: BTreeSet<SagaId> = facts.sagas.iter().map(|saga| saga.id).collect();
    let unread: BTreeSet<&str> =
        facts.messages.iter().filter(|message| !message.read).map(|message| message.id.as_str()).collect();
    for sent in &facts.notes.sent {
        let report = |finding: String| Violation::new(Invariant::Signals, finding);
        if let Some(follow_up) = sent.follow_up {
            if !sagas.contains(&follow_up) {
                found.push(report(format!("{} was late, and nothing sees to it", sent.id)));
            }
            continue;
        }
        let Some(saga) = by_key.get(sent.key.as_str()) else {
            if !unread.contains(sent.id.as_str()) {
                found.push(report(format!("{} was accepted and is gone", sent.id)));
            }
            continue;
        };
        let records = saga.turns.iter().flat_map(|turn| &turn.records);
        let taken = records.filter(|record| matches!(record, Record::Signalled { id, .. } if *id == sent.id)).count();
        let pending = unread.contains(sent.id.as_str());
        if taken + usize::from(pending) != 1 {
            let finding = format!("{} was accepted, taken in {taken} times, and pending: {pending}", sent.id);
            found.push(report(finding).of_saga(saga.id));
        }
        if pending && matches!(saga.status, SagaStatus::Ended(_)) {
            found.push(report(format!("{} was never read, and its saga is over", sent.id)).of_saga(saga.id));
        }
    }
    for saga in by_key.values() {
        followed_up(saga, &sagas, found);
    }
}

/// What a saga takes in, one of its steps takes, or another saga sees to.
fn followed_up(saga: &SagaFacts, sagas: &BTreeSet<SagaId>, found: &mut Vec<Violation>) {
    let (mut taken_in, mut left) = (0_usize, 0_usize);
    for record in saga.turns.iter().flat_map(|turn| &turn.records) {
        match record {
            Record::Signalled { .. } => taken_in += 1,
            Record::Done { step, output } if step.as_str() == "wait" && output.as_json() != "null" => left += 1,
            Record::FollowedUp { by, .. } => {
                left += 1;
                if !sagas.contains(by) {
                    let finding = format!("the saga {by} that sees to a late signal is not there");
                    found.push(Violation::new(Invariant::Signals, finding).of_saga(saga.id));
                }
            }
            _ => {}
        }
    }
    if matches!(saga.status, SagaStatus::Ended(_)) && taken_in != left {
        let finding = format!("{taken_in} signals were taken in, and {left} used or handed on");
        found.push(Violation::new(Invariant::Signals, finding).of_saga(saga.id));
    }
}

/// Delivered if and only if its turn is written, in the saga's order, under one id.
fn events(facts: &Facts, found: &mut Vec<Violation>) {
    let mut arrived: BTreeMap<SagaId, Vec<(&str, &str)>> = BTreeMap::new();
    for delivery in &facts.book.deliveries {
        let line = arrived.entry(delivery.saga).or_default();
        if !line.contains(&(&delivery.topic, &delivery.id)) {
            line.push((&delivery.topic, &delivery.id));
        }
    }
    for saga in &facts.sagas {
        let published = saga.turns.iter().flat_map(|turn| &turn.records).filter_map(|record| match record {
            Record::Done { step, .. } => TOPICS.iter().copied().find(|topic| *topic == step.as_str()),
            _ => None,
        });
        let published: Vec<&str> = published.collect();
        let delivered: Vec<&str> =
            arrived.remove(&saga.id).unwrap_or_default().into_iter().map(|(topic, _)| topic).collect();
        if published != delivered {
            let finding = format!("published {published:?}, delivered {delivered:?}");
            found.push(Violation::new(Invariant::Outbox, finding).of_saga(saga.id));
        }
    }
    for (saga, line) in arrived {
        let finding = format!("{line:?} was delivered for a saga that the journal does not have");
        found.push(Violation::new(Invariant::Outbox, finding).of_saga(saga));
    }
}
