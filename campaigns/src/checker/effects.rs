//! Effects: each once or not at all (I2), under the right keys (I3), and only with an intent (I6); money and goods
//! add up (I15, I16); and what no participant would ever have let happen.

use std::collections::{BTreeMap, BTreeSet};

use saga_core::journal::{End, SagaStatus};
use saga_core::machine::Record;
use saga_core::verify::{Invariant, Violation};
use saga_core::{IdempotencyKey, Op, SagaId, StepName};

use super::{Facts, SagaFacts};
use crate::ledger::{Entry, Resource};

pub(super) fn check(facts: &Facts, found: &mut Vec<Violation>) {
    let mut by_saga: BTreeMap<SagaId, Vec<(IdempotencyKey, &Entry)>> = BTreeMap::new();
    for (key, entry) in &facts.book.entries {
        if let Some(saga) = entry.saga {
            by_saga.entry(saga).or_default().push((*key, entry));
        }
    }
    let none = Vec::new();
    for saga in &facts.sagas {
        let entries = by_saga.get(&saga.id).unwrap_or(&none);
        net_effect(saga, entries, found);
        keys_and_intents(saga, entries, found);
    }
    let known: BTreeSet<SagaId> = facts.sagas.iter().map(|saga| saga.id).collect();
    for saga in by_saga.keys().filter(|saga| !known.contains(saga)) {
        found.push(Violation::new(Invariant::NetEffect, "effects of a saga that the journal lost").of_saga(*saga));
    }
    for anomaly in &facts.book.anomalies {
        let violation = Violation::new(anomaly.invariant, anomaly.finding.clone());
        found.push(violation.of_saga(anomaly.saga).at_step(&anomaly.step));
    }
    sums(facts, &by_saga, found);
}

/// A step that is done had its effect once; what was rolled back, none.
fn net_effect(saga: &SagaFacts, entries: &[(IdempotencyKey, &Entry)], found: &mut Vec<Violation>) {
    let mut standing: BTreeMap<&StepName, u32> = BTreeMap::new();
    let mut known: BTreeSet<&StepName> = BTreeSet::new();
    for (_, entry) in entries {
        let Some(step) = &entry.step else { continue };
        known.insert(step);
        *standing.entry(step).or_default() += u32::from(entry.stands());
    }
    let report =
        |step: &StepName, finding: String| Violation::new(Invariant::NetEffect, finding).of_saga(saga.id).at_step(step);
    for (step, &times) in &standing {
        match (saga.status, times) {
            (_, 2..) => found.push(report(step, format!("{times} effects stand"))),
            (SagaStatus::Ended(End::RolledBack), 1) => {
                found.push(report(step, "an effect stands, and the saga is rolled back".to_owned()));
            }
            _ => {}
        }
    }
    if saga.status != SagaStatus::Ended(End::Completed) {
        return;
    }
    for step in done(saga) {
        if ACTS.contains(&origin(step)) && standing.get(step).copied().unwrap_or(0) == 0 {
            found.push(report(step, "the step is done, and has no effect".to_owned()));
        }
    }
}

/// The steps of all shapes that have an effect in the ledger.
const ACTS: [&str; 12] = [
    "reserve",
    "authorize",
    "capture",
    "confirm",
    "notify",
    "pick",
    "set-aside",
    "ship",
    "enter",
    "leave",
    "open",
    "close",
];

fn origin(step: &StepName) -> &str {
    step.as_str().split('[').next().unwrap_or_default()
}

/// The steps that are done. A best-effort step that failed is not among them.
fn done(saga: &SagaFacts) -> impl Iterator<Item = &StepName> {
    let records = saga.turns.iter().flat_map(|turn| &turn.records);
    let fanned_out: BTreeSet<&StepName> = records
        .clone()
        .filter_map(|record| match record {
            Record::FannedOut { step, .. } => Some(step),
            _ => None,
        })
        .collect();
    records.filter_map(move |record| match record {
        Record::Done { step, .. } if !fanned_out.contains(step) => Some(step),
        _ => None,
    })
}

/// Every key is the one that the journal implies, and nothing was asked for without an intent.
fn keys_and_intents(saga: &SagaFacts, entries: &[(IdempotencyKey, &Entry)], found: &mut Vec<Violation>) {
    let mut generations: BTreeMap<&StepName, u32> = BTreeMap::new();
    let mut undone: BTreeSet<&StepName> = BTreeSet::new();
    for record in saga.turns.iter().flat_map(|turn| &turn.records) {
        match record {
            Record::Begun { step, op: Op::Run, generation, .. } => {
                let known = generations.entry(step).or_default();
                *known = (*known).max(*generation);
            }
            Record::Begun { step, op: Op::Compensate, .. } => {
                undone.insert(step);
            }
            _ => {}
        }
    }
    for (key, entry) in entries {
        let Some(step) = &entry.step else { continue };
        let report = |invariant, finding: &str| Violation::new(invariant, finding).of_saga(saga.id).at_step(step);
        let Some(&newest) = generations.get(step) else {
            found.push(report(Invariant::UndoSet, "asked for without an intent"));
            continue;
        };
        if !(0..=newest).any(|generation| IdempotencyKey::of(saga.id, step, Op::Run, generation) == *key) {
            found.push(report(Invariant::Keys, "asked for under a key that the journal does not imply"));
        }
        let expected = IdempotencyKey::of(saga.id, step, Op::Compensate, 0);
        if entry.undo_keys.iter().any(|undo| *undo != expected) {
            found.push(report(Invariant::Keys, "undone under another key than the compensation's"));
        }
        if !entry.undo_keys.is_empty() && !undone.contains(step) {
            found.push(report(Invariant::UndoSet, "undone without an intent"));
        }
    }
}

/// The books against the clients' orders.
fn sums(facts: &Facts, by_saga: &BTreeMap<SagaId, Vec<(IdempotencyKey, &Entry)>>, found: &mut Vec<Violation>) {
    let status: BTreeMap<SagaId, SagaStatus> = facts.sagas.iter().map(|saga| (saga.id, saga.status)).collect();
    let standing = |saga: SagaId, resource: Resource| -> i64 {
        let entries = by_saga.get(&saga).into_iter().flatten();
        let stands = entries.filter(|(_, entry)| entry.resource == resource && entry.stands());
        stands.map(|(_, entry)| entry.amount).sum()
    };
    let (mut owed, mut sold) = (0, 0);
    for started in facts.notes.started.iter().filter(|started| started.definition == "checkout") {
        if status.get(&started.saga) == Some(&SagaStatus::Ended(End::Completed)) {
            owed += started.order.cents;
            sold += started.order.goods;
        }
    }
    let (mut held, mut reserved) = (0, 0);
    for (saga, _) in status.iter().filter(|(_, status)| !matches!(status, SagaStatus::Ended(_))) {
        held += standing(*saga, Resource::Hold) - standing(*saga, Resource::Capture);
        reserved += standing(*saga, Resource::Reservation) - standing(*saga, Resource::Sale);
    }
    if facts.book.money != (held, owed) {
        let finding = format!("held and taken are {:?}, and should be {:?}", facts.book.money, (held, owed));
        found.push(Violation::new(Invariant::Money, finding));
    }
    if facts.book.stock != (reserved, sold) {
        let finding = format!("reserved and sold are {:?}, and should be {:?}", facts.book.stock, (reserved, sold));
        found.push(Violation::new(Invariant::Stock, finding));
    }
}
