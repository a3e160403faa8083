//! What clients were promised: no saga is lost (I1), each ends (I10), and runs where it can (I20) and may (I8).

use std::collections::BTreeMap;

use saga_core::Timestamp;
use saga_core::journal::{End, SagaStatus};
use saga_core::verify::{Invariant, Violation};

use super::clocks::JUMP_MIN;
use super::{Facts, LeaseFacts, SagaFacts};
use crate::ledger::Script;
use crate::sagas::NOT_HELD_BY_FEW;

pub(super) fn check(facts: &Facts, found: &mut Vec<Violation>) {
    let mut by_key: BTreeMap<(&str, &str), Vec<&SagaFacts>> = BTreeMap::new();
    for saga in &facts.sagas {
        by_key.entry((&saga.definition, &saga.key)).or_default().push(saga);
    }
    for started in &facts.notes.started {
        let report = |finding: String| Violation::new(Invariant::NoLostSaga, finding).of_saga(started.saga);
        match by_key.get(&(started.definition, started.key.as_str())).map(Vec::as_slice) {
            None | Some([]) => found.push(report(format!("{} was started and is not there", started.key))),
            Some([saga]) if saga.id != started.saga => {
                found.push(report(format!("{} is another saga: {}", started.key, saga.id)));
            }
            Some([_]) => {}
            Some(several) => found.push(report(format!("{} is {} sagas", started.key, several.len()))),
        }
    }
    for odd in &facts.notes.odd {
        found.push(Violation::new(Invariant::NoLostSaga, format!("a client was told: {odd}")));
    }
    let tried: BTreeMap<(&str, &str), Script> =
        facts.notes.tried.iter().map(|((name, key), script)| ((*name, key.as_str()), *script)).collect();
    for saga in &facts.sagas {
        let script = tried.get(&(saga.definition.as_str(), saga.key.as_str())).copied();
        stranger(saga, script, found);
        ends(saga, script.unwrap_or_default(), found);
        holds(facts, saga, found);
        fenced(facts, saga, found);
    }
}

/// Nothing was written under a lease after it was fenced.
fn fenced(facts: &Facts, saga: &SagaFacts, found: &mut Vec<Violation>) {
    for (nth, turn) in saga.turns.iter().enumerate() {
        let lease = turn.epoch.and_then(|epoch| facts.leases.get(&epoch.0));
        let fenced_at = lease.and_then(|lease| lease.fenced_at);
        let late = |fenced_at: i64| turn.at.as_micros() > fenced_at;
        // After a jump of the journal's clock, what came before the fence seems to be later by all of the jump.
        let jumped = |fenced_at: &i64| turn.at > Timestamp::from_micros(*fenced_at).after(JUMP_MIN);
        if fenced_at.filter(|fenced_at| !jumped(fenced_at)).is_some_and(late) {
            let finding = format!("turn {nth} was written after its lease had been fenced");
            found.push(Violation::new(Invariant::Fencing, finding).of_saga(saga.id));
        }
    }
}

/// Nobody but a client, a parent or a late signal starts a saga.
fn stranger(saga: &SagaFacts, script: Option<Script>, found: &mut Vec<Violation>) {
    let derived = saga.definition == "refund" || (saga.definition == "batch" && saga.key.contains('/'));
    if script.is_none() && !derived {
        let finding = format!("{} {} was started by nobody", saga.definition, saga.key);
        found.push(Violation::new(Invariant::NoLostSaga, finding).of_saga(saga.id));
    }
}

/// Everything is over, but for what was scripted to need a human; and that has a dead letter.
fn ends(saga: &SagaFacts, script: Script, found: &mut Vec<Violation>) {
    let report = |invariant, finding: String| Violation::new(invariant, finding).of_saga(saga.id);
    let needs_attention = saga.status == SagaStatus::NeedsAttention;
    if needs_attention != (saga.letters > 0) {
        let finding = format!("it is {:?} with {} open dead letters", saga.status, saga.letters);
        found.push(report(Invariant::NoLostSaga, finding));
    }
    match (saga.status, script) {
        (SagaStatus::Ended(End::RolledBack), _) | (SagaStatus::NeedsAttention, Script::UndoRefused) => {}
        (SagaStatus::Ended(End::Completed), Script::Fine | Script::PivotSilent) => {}
        (SagaStatus::Ended(End::Completed), Script::Declined | Script::UndoRefused | Script::FirstSilent) => {
            found.push(report(Invariant::NetEffect, "completed though it was declined".to_owned()));
        }
        (status, _) => {
            let finding = format!("{} {} is {status:?}, and was to be over", saga.definition, saga.key);
            found.push(report(Invariant::Liveness, finding));
        }
    }
}

/// Workers write only to sagas whose definitions they hold: names tell which.
fn holds(facts: &Facts, saga: &SagaFacts, found: &mut Vec<Violation>) {
    let writers = || saga.turns.iter().filter_map(|turn| turn.epoch).filter_map(|epoch| facts.leases.get(&epoch.0));
    if saga.version > 1
        && let Some(LeaseFacts { worker, .. }) = writers().find(|lease| !lease.worker.contains("both"))
    {
        let finding = format!("{worker} wrote to a saga of version {}, which it does not hold", saga.version);
        found.push(Violation::new(Invariant::Definitions, finding).of_saga(saga.id));
    }
    if !NOT_HELD_BY_FEW.contains(&saga.definition.as_str()) {
        return;
    }
    let few = writers().find(|lease| lease.worker.contains("few"));
    if let Some(LeaseFacts { worker, .. }) = few {
        let finding = format!("{worker} wrote to a saga of {}, which it does not hold", saga.definition);
        found.push(Violation::new(Invariant::Definitions, finding).of_saga(saga.id));
    }
}
