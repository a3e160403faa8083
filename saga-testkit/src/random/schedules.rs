//! Random schedules.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use saga_core::Op;

use super::sketch::Sketch;
use crate::sim::{Fate, Point, Schedule};

/// Schedules for this sketch, on which up to `most` things go wrong. A run need not come to all of them: what
/// it does not come to has no effect.
pub fn schedules(sketch: &Sketch, most: usize) -> impl Strategy<Value = Schedule> + use<> {
    let steps = sketch.steps();
    let step = 0..steps.max(1);
    let op = select(vec![Op::Run, Op::Run, Op::Compensate, Op::Probe]);
    let attempt = (step.clone(), op, 1u32..3, 0usize..100).prop_map(|(step, op, nth, fate)| {
        let fates = Fate::of_attempt(None, op);
        (Point::Attempt { step: format!("s{step}"), op, nth }, fates[fate % fates.len()])
    });
    let call = (step, any::<bool>(), 1u32..3, 0usize..100).prop_map(|(step, undo, nth, fate)| {
        let name = if undo { format!("undo s{step} done") } else { format!("s{step} done") };
        (Point::Call { name, nth }, Fate::of_call()[fate % Fate::of_call().len()])
    });
    let writes = u32::try_from(steps).unwrap_or(u32::MAX) * 2 + 2;
    let write = (0..writes, select(vec![Fate::CrashBefore, Fate::CrashAfter]));
    let write = write.prop_map(|(nth, fate)| (Point::Write { nth }, fate));
    vec(prop_oneof![attempt, call, write], 0..=most).prop_map(|entries| entries.into_iter().collect())
}
