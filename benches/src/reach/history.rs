//! What sagas that have ended, and sagas that wait, cost those that run: full tables against empty ones.

use indicatif::ProgressBar;

use super::arena::{Arena, GRACE, engine, saga};
use super::fill::fill;
use super::statistics::{median, millis};
use super::{Finding, Goal, Outcome, Settings};
use crate::{Load, measure, noop};

const NAME: &str = "history";
const STEPS: usize = 3;
const CALLERS: usize = 1_000;
const THROUGHPUT_MIN: f64 = 0.9;
const LATENCY_MAX: f64 = 1.1;

/// What one database does.
struct Round {
    /// Sagas per second, with many callers.
    rate: f64,
    /// Median latency, with one.
    latency: f64,
}

pub(super) async fn run(settings: &Settings, bar: &ProgressBar) -> Outcome<Vec<Finding>> {
    let arena = Arena::start().await?;
    let full = arena.database().await?;
    fill(&full, settings, bar).await?;
    let (mut fulls, mut empties) = (Vec::new(), Vec::new());
    bar.set_length(2 * settings.rounds() as u64);
    bar.set_position(0);
    for _ in 0..settings.rounds() {
        bar.set_message("on full tables");
        fulls.push(round(&full, settings).await?);
        bar.inc(1);
        bar.set_message("on empty tables");
        empties.push(round(&arena.database().await?, settings).await?);
        bar.inc(1);
    }
    let each = |rounds: &[Round], of: fn(&Round) -> f64| median(&rounds.iter().map(of).collect::<Vec<_>>());
    let ratio = |of: fn(&Round) -> f64| {
        median(&fulls.iter().zip(&empties).map(|(full, empty)| of(full) / of(empty)).collect::<Vec<_>>())
    };
    let told = |measured, value, unit| Finding::told(NAME, measured, value, unit);
    Ok(vec![
        told("empty tables, 1,000 callers", each(&empties, |round| round.rate), "sagas/s"),
        told("full tables, 1,000 callers", each(&fulls, |round| round.rate), "sagas/s"),
        told("throughput, full / empty", ratio(|round| round.rate), "ratio").aims(Goal::AtLeast(THROUGHPUT_MIN)),
        told("empty tables, p50 of one caller", each(&empties, |round| round.latency), "ms"),
        told("full tables, p50 of one caller", each(&fulls, |round| round.latency), "ms"),
        told("latency, full / empty", ratio(|round| round.latency), "ratio").aims(Goal::AtMost(LATENCY_MAX)),
    ])
}

async fn round(url: &str, settings: &Settings) -> Outcome<Round> {
    let definition = noop(STEPS)?;
    let engine = engine(url, CALLERS).await?.register(&definition).open().await?;
    let saga = saga(&engine, &definition);
    let many = measure(saga.clone(), Load::new(CALLERS, settings.lasting()), async || Ok(())).await?;
    let one = measure(saga, Load::new(1, settings.lasting()), async || Ok(())).await?;
    engine.shutdown(GRACE).await;
    Ok(Round { rate: many.sagas as f64 / many.took.as_secs_f64(), latency: millis(one.p50) })
}
