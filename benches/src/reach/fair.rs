//! Latency that users see: sagas start on a schedule, at 80 % of the highest rate, and an engine that stalls is late
//! for all that were due.

use indicatif::ProgressBar;

use super::arena::{Arena, GRACE, engine, saga};
use super::open_loop::open_loop;
use super::statistics::median;
use super::{Finding, Goal, Outcome, Settings};
use crate::{Load, measure, noop};

const NAME: &str = "fair";
/// Of the highest rate.
const SHARE: f64 = 0.8;
const CALLERS: usize = 1_000;
const STEPS: usize = 3;
const P99_MAX_MS: f64 = 25.0;
/// The slowest of all, of the median.
const MAX_OF_P50: f64 = 10.0;

pub(super) async fn run(settings: &Settings, bar: &ProgressBar) -> Outcome<Vec<Finding>> {
    let arena = Arena::start().await?;
    let url = arena.database().await?;
    let definition = noop(STEPS)?;
    let engine = engine(&url, CALLERS).await?.register(&definition).open().await?;
    let saga = saga(&engine, &definition);
    let mut rounds: Vec<[f64; 5]> = Vec::new();
    bar.set_length(2 * settings.rounds() as u64);
    for _ in 0..settings.rounds() {
        bar.set_message("the highest rate");
        let peak = measure(saga.clone(), Load::new(CALLERS, settings.lasting()), async || Ok(())).await?;
        let peak = peak.sagas as f64 / peak.took.as_secs_f64();
        bar.inc(1);
        bar.set_message("on a schedule");
        let kept = open_loop(saga.clone(), SHARE * peak, settings.lasting()).await?;
        rounds.push([peak, kept.per_second, kept.latencies.at(0.5), kept.latencies.at(0.99), kept.latencies.max()]);
        bar.inc(1);
    }
    engine.shutdown(GRACE).await;
    let each = |of: fn(&[f64; 5]) -> f64| median(&rounds.iter().map(of).collect::<Vec<_>>());
    let told = |measured, value, unit| Finding::told(NAME, measured, value, unit);
    Ok(vec![
        told("highest rate, 1,000 callers, 3 steps", each(|round| round[0]), "sagas/s"),
        told("rate kept, of 80 % of the highest", each(|round| round[1] / (SHARE * round[0])), "ratio"),
        told("p50 from the scheduled moment", each(|round| round[2]), "ms"),
        told("p99 from the scheduled moment", each(|round| round[3]), "ms").aims(Goal::AtMost(P99_MAX_MS)),
        told("slowest of all", each(|round| round[4]), "ms"),
        told("slowest of all / p50", each(|round| round[4] / round[2]), "ratio").aims(Goal::AtMost(MAX_OF_P50)),
    ])
}
