//! What goes wrong between a worker and the ledger.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use super::{Ask, Resource, Script};

/// How often calls fail at random, each from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rates {
    /// The effect happens, and its answer is lost.
    pub answer_lost: f64,
    /// The call is lost before the effect.
    pub call_lost: f64,
    /// The caller gets no answer, and the effect happens later.
    pub late: f64,
}

impl Default for Rates {
    fn default() -> Self {
        Self { answer_lost: 0.04, call_lost: 0.04, late: 0.02 }
    }
}

/// What becomes of one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Planned {
    Answer,
    LoseAnswer,
    LoseCall,
    Late(Duration),
    Decline,
}

#[derive(Debug)]
pub(crate) struct Faults {
    rates: Rates,
    random: Mutex<fastrand::Rng>,
}

impl Faults {
    pub(crate) fn new(rates: Rates, seed: u64) -> Self {
        Self { rates, random: Mutex::new(fastrand::Rng::with_seed(seed)) }
    }

    pub(crate) fn plan(&self, ask: &Ask) -> Planned {
        let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
        match ask {
            Ask::Apply(apply) if is_last(apply.resource) && is_declined(apply.script) => return Planned::Decline,
            Ask::Apply(apply) if apply.script == Script::PivotSilent && apply.resource == Resource::Capture => {
                return if random.bool() { Planned::LoseAnswer } else { Planned::LoseCall };
            }
            Ask::Apply(apply) if apply.script == Script::FirstSilent && is_first(apply.step.as_str()) => {
                // The same for all attempts of an operation: so some have no effect before they are undone.
                return match apply.key.as_uuid().as_u128() % 3 {
                    0 => Planned::LoseAnswer,
                    1 => Planned::LoseCall,
                    _ => Planned::Late(Duration::from_millis(random.u64(300..1_500))),
                };
            }
            // The one that holds money stays: whoever looks must find it.
            Ask::Undo(undo) if undo.script == Script::UndoRefused && undo.step.as_str() == "authorize" => {
                return Planned::Decline;
            }
            Ask::Apply(_) | Ask::Undo(_) | Ask::Close { .. } | Ask::Deliver { .. } => {}
        }
        let Rates { answer_lost, call_lost, late } = self.rates;
        match random.f64() {
            draw if draw < answer_lost => Planned::LoseAnswer,
            draw if draw < answer_lost + call_lost => Planned::LoseCall,
            draw if draw < answer_lost + call_lost + late && matches!(ask, Ask::Apply(_)) => {
                Planned::Late(Duration::from_millis(random.u64(20..400)))
            }
            _ => Planned::Answer,
        }
    }
}

fn is_last(resource: Resource) -> bool {
    resource == Resource::Capture
}

fn is_declined(script: Script) -> bool {
    matches!(script, Script::Declined | Script::UndoRefused)
}

/// The first steps of all shapes.
fn is_first(step: &str) -> bool {
    ["reserve", "set-aside", "enter", "open"].contains(&step) || step.starts_with("pick[")
}
