//! Random definitions.

use std::num::NonZeroUsize;
use std::time::Duration;

use fastrand::Rng;
use saga_core::definition::{Policy, StepPlan};
use saga_core::{Kind, RetryPolicy};

use super::WATCH;

/// A random series-parallel definition: stages of one to three branches of one or two steps.
pub(super) fn random_steps(rng: &mut Rng) -> Vec<StepPlan> {
    let mut steps: Vec<StepPlan> = Vec::new();
    let mut frontier: Vec<usize> = Vec::new();
    let stages = rng.usize(1..6);
    let pivot = rng.bool().then(|| rng.usize(..stages));
    for stage in 0..stages {
        let guard = (rng.u8(0..4) == 0).then(|| {
            let index = steps.len();
            steps.push(random_step(rng, index, Kind::When, frontier.clone()));
            frontier = vec![index];
            index
        });
        let branches = if Some(stage) == pivot { 1 } else { rng.usize(1..4) };
        let mut ends = Vec::new();
        for _ in 0..branches {
            let mut after = frontier.clone();
            let length = if Some(stage) == pivot { 1 } else { rng.usize(1..3) };
            for _ in 0..length {
                let kind = random_kind(rng, stage, pivot);
                let index = steps.len();
                let once = [Kind::Pivot, Kind::Sleep, Kind::Signal, Kind::Publish, Kind::Lock, Kind::Child];
                let each = once.contains(&kind) || rng.u8(0..4) > 0;
                let each = if each { None } else { NonZeroUsize::new(rng.usize(1..3)) };
                steps.push(StepPlan { guard, each, ..random_step(rng, index, kind, after) });
                after = vec![index];
            }
            ends.extend(after);
        }
        frontier = ends;
    }
    steps
}

fn random_kind(rng: &mut Rng, stage: usize, pivot: Option<usize>) -> Kind {
    match pivot {
        Some(pivot) if stage == pivot => Kind::Pivot,
        Some(pivot) if stage > pivot => {
            [Kind::Retryable, Kind::Query, Kind::BestEffort, Kind::Sleep, Kind::Signal, Kind::Publish, Kind::Lock]
                [rng.usize(..7)]
        }
        _ => [
            Kind::Compensatable,
            Kind::Compensatable,
            Kind::Query,
            Kind::BestEffort,
            Kind::Sleep,
            Kind::Signal,
            Kind::Publish,
            Kind::Lock,
            Kind::Child,
        ][rng.usize(..9)],
    }
}

fn random_step(rng: &mut Rng, index: usize, kind: Kind, after: Vec<usize>) -> StepPlan {
    let mut policy = || {
        // Policies count milliseconds: most attempts follow at once, some are put off.
        let pause = Duration::from_millis(u64::from(index.is_multiple_of(4)));
        let retry = RetryPolicy::fixed(pause).attempts(rng.u32(1..4));
        let retry = if rng.u8(0..6) == 0 { retry.within(Duration::from_millis(1)) } else { retry };
        let key_horizon = (rng.u8(0..6) == 0).then(|| Duration::from_micros(rng.u64(1..60)));
        Policy { key_horizon, ..Policy::new(retry, Duration::from_secs(1)) }
    };
    let run = policy();
    let compensate = match kind {
        Kind::Compensatable | Kind::Child => Some(policy()),
        Kind::BestEffort if index.is_multiple_of(2) => Some(policy()),
        Kind::Query
        | Kind::Pivot
        | Kind::Retryable
        | Kind::BestEffort
        | Kind::When
        | Kind::Sleep
        | Kind::Signal
        | Kind::Publish
        | Kind::Lock => None,
    };
    let replays_errors = rng.u8(0..6) == 0;
    let watch = (kind == Kind::Compensatable && rng.bool()).then_some(WATCH);
    let name = format!("s{index}");
    let signal = (kind == Kind::Signal).then(|| "s".into());
    StepPlan { compensate, replays_errors, watch, signal, ..StepPlan::new(name.as_str(), kind, after, run) }
}
