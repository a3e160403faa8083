//! What times can say where the journal's own clock jumps.

use std::collections::BTreeMap;
use std::time::Duration;

use saga_core::machine::Record;
use saga_core::verify::{Invariant, Violation};
use saga_core::{StepName, Timestamp};

use super::{Facts, SagaFacts};

/// More than that is no late write, but another reading of the clock: it jumps by an hour.
pub(super) const JUMP_MIN: Duration = Duration::from_secs(30 * 60);
/// How far a worker whose time runs too fast may be ahead when it goes on: it asks the journal for the time whenever
/// it renews its lease, and at that for long enough to be late with it.
const AHEAD_MAX: Duration = Duration::from_millis(600);

/// What the journal's verifier found. It knows of one clock that goes forward. Where that jumps, waits are looked at
/// here instead; and who had a lock when is told by the participants' books alone, which go by fencing tokens.
pub(super) fn judged(facts: &Facts) -> Vec<Violation> {
    let mut found = facts.journal.clone();
    if let Some(jump) = facts.first_jump {
        found.retain(|violation| !matches!(violation.invariant, Invariant::Timers | Invariant::EntityLocks));
        facts.sagas.iter().for_each(|saga| waits(saga, jump, &mut found));
    }
    found
}

/// No wait was shorter than it was to be, whatever the workers' own clocks are: as far as it was over before the
/// journal's own clock jumped.
fn waits(saga: &SagaFacts, jump: Timestamp, found: &mut Vec<Violation>) {
    let mut until: BTreeMap<&StepName, Timestamp> = BTreeMap::new();
    for turn in saga.turns.iter().take_while(|turn| turn.at < jump) {
        for record in &turn.records {
            match record {
                Record::Sleeping { step, until: Some(due) } => {
                    until.insert(step, *due);
                }
                Record::Done { step, output } if output.as_json() == "null" => {
                    let early = until.remove(step).filter(|due| turn.at.after(AHEAD_MAX) < *due);
                    found.extend(early.map(|due| {
                        let finding = format!("its wait until {due} was over at {}", turn.at);
                        Violation::new(Invariant::Timers, finding).of_saga(saga.id).at_step(step)
                    }));
                }
                _ => {}
            }
        }
    }
}
