//! Entity locks, over all sagas: one holder at a time, with growing tokens.

use std::collections::BTreeMap;

use super::{Evidence, Invariant, Violation};
use crate::checkpoint::Checkpoint as _;
use crate::definition::{Kind, Locks};
use crate::id::{SagaId, StepName};
use crate::journal::{LockEntry, SagaStatus};
use crate::machine::Record;
use crate::time::Timestamp;

/// An entity that a saga had locked, as its history tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holding {
    /// The entity.
    pub key: String,
    /// The saga.
    pub saga: SagaId,
    /// The step that asked.
    pub step: StepName,
    /// The fencing token.
    pub token: u64,
    /// When the saga had learnt of it.
    pub from: Timestamp,
    /// When the saga gave it up; none while it holds it.
    pub until: Option<Timestamp>,
}

/// The entities that a saga had locked. A history whose lock step is sealed shows none.
#[must_use]
pub fn holdings(evidence: &Evidence<'_>) -> Vec<Holding> {
    let is_lock = |step: &StepName| {
        let planned = evidence.plan.find(step).map(|index| &evidence.plan.steps()[index]);
        planned.is_some_and(|planned| planned.kind == Kind::Lock)
    };
    let mut held: Vec<Holding> = Vec::new();
    let mut is_child = false;
    for turn in evidence.turns {
        for record in &turn.records {
            match record {
                Record::Started { parent, .. } => is_child = parent.is_some(),
                Record::Done { step, output } if is_lock(step) => {
                    let locks = Locks::decode(output).unwrap_or_default();
                    held.extend(locks.iter().map(|(key, token)| Holding {
                        key: key.to_owned(),
                        saga: evidence.header.id,
                        step: step.clone(),
                        token,
                        from: turn.at,
                        until: None,
                    }));
                }
                Record::Completed if is_child => {}
                Record::Completed | Record::Released | Record::RolledBack => {
                    held.iter_mut().for_each(|holding| holding.until = holding.until.or(Some(turn.at)));
                }
                _ => {}
            }
        }
    }
    held
}

/// What is wrong with the entity locks of a journal: by the histories, and by its table of locks, each entry with
/// where its saga stands.
#[must_use]
pub fn locks(holdings: &[Holding], entries: &[(LockEntry, Option<SagaStatus>)]) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut by_key: BTreeMap<&str, Vec<&Holding>> = BTreeMap::new();
    for holding in holdings {
        by_key.entry(&holding.key).or_default().push(holding);
    }
    for (key, mut line) in by_key {
        line.sort_by_key(|holding| (holding.from, holding.token));
        for pair in line.windows(2) {
            let [earlier, later] = pair else { continue };
            let report =
                |finding| Violation::new(Invariant::EntityLocks, finding).of_saga(later.saga).at_step(&later.step);
            if later.token <= earlier.token {
                found.push(report(format!("{key}: token {} after token {}", later.token, earlier.token)));
            }
            if earlier.until.is_none_or(|until| until > later.from) {
                found.push(report(format!("{key} was locked while {} had it", earlier.saga)));
            }
        }
    }
    let mut holders: BTreeMap<&str, SagaId> = BTreeMap::new();
    for (entry, status) in entries {
        let report = |finding| Violation::new(Invariant::EntityLocks, finding).of_saga(entry.saga);
        if matches!(status, Some(SagaStatus::Ended(_)) | None) {
            found.push(report(format!("{} stands in the line of a saga that has ended", entry.key)));
        }
        let other = entry.token.and_then(|_| holders.insert(&entry.key, entry.saga));
        if let Some(other) = other {
            found.push(report(format!("{} is locked for {other} as well", entry.key)));
        }
    }
    found
}
