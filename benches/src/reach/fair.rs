//! Latency that users see: sagas start on a schedule, at 80 % of the highest rate, and an engine that stalls is late
//! for all that were due. Beside it the floor on a schedule of its own: how late the machine itself is.

use indicatif::ProgressBar;

use super::arena::{Arena, GRACE, engine, saga};
use super::open_loop::open_loop;
use super::statistics::median;
use super::{Finding, Goal, Outcome, Settings};
use crate::{Floor, Load, Pace, measure, noop};

const NAME: &str = "fair";
/// Of the highest rate.
const SHARE: f64 = 0.8;
const CALLERS: usize = 1_000;
const STEPS: usize = 3;
const P99_MAX_MS: f64 = 25.0;
/// The slowest of all, of the median.
const MAX_OF_P50: f64 = 10.0;

/// What one round of one contender measured.
struct Round {
    peak: f64,
    per_second: f64,
    p50: f64,
    p99: f64,
    max: f64,
}

pub(super) async fn run(settings: &Settings, bar: &ProgressBar) -> Outcome<Vec<Finding>> {
    let arena = Arena::start().await?;
    let url = arena.database().await?;
    let definition = noop(STEPS)?;
    let engine = engine(&url, CALLERS).await?.register(&definition).open().await?;
    let saga = saga(&engine, &definition);
    let floor = Floor::on_postgres(&url, STEPS, Pace::GROUP_COMMIT).await?;
    let (mut ours, mut floors, mut at_our_rate) = (Vec::new(), Vec::new(), Vec::new());
    bar.set_length(3 * settings.rounds() as u64);
    for _ in 0..settings.rounds() {
        bar.set_message("ours");
        ours.push(round(saga.clone(), settings).await?);
        bar.inc(1);
        bar.set_message("the floor");
        let floor = floor.clone();
        let bare = move |key| {
            let floor = floor.clone();
            async move { floor.saga(key).await }
        };
        floors.push(round(bare.clone(), settings).await?);
        bar.inc(1);
        bar.set_message("the floor, at the rate of ours");
        let rate = ours.last().map_or(0.0, |round| SHARE * round.peak);
        at_our_rate.push(open_loop(bare, rate, settings.lasting()).await?.latencies.at(0.99));
        bar.inc(1);
    }
    engine.shutdown(GRACE).await;
    Ok(findings(&ours, &floors, &at_our_rate))
}

/// The highest rate, and then most of it on a schedule.
async fn round<Fut: Future<Output = Result<(), String>> + Send + 'static>(
    saga: impl Fn(String) -> Fut + Clone + Send + 'static,
    settings: &Settings,
) -> Result<Round, String> {
    let peak = measure(saga.clone(), Load::new(CALLERS, settings.lasting()), async || Ok(())).await?;
    let peak = peak.sagas as f64 / peak.took.as_secs_f64();
    let kept = open_loop(saga, SHARE * peak, settings.lasting()).await?;
    let (p50, p99, max) = (kept.latencies.at(0.5), kept.latencies.at(0.99), kept.latencies.max());
    Ok(Round { peak, per_second: kept.per_second, p50, p99, max })
}

/// `at_our_rate`: the floor's p99 when as much is asked of it as of the engine.
fn findings(ours: &[Round], floors: &[Round], at_our_rate: &[f64]) -> Vec<Finding> {
    let middle = |rounds: &[Round], of: fn(&Round) -> f64| median(&rounds.iter().map(of).collect::<Vec<_>>());
    let told = |measured, value, unit| Finding::told(NAME, measured, value, unit);
    let p99 = middle(ours, |round| round.p99);
    vec![
        told("highest rate, 1,000 callers, 3 steps", middle(ours, |round| round.peak), "sagas/s"),
        told(
            "rate kept, of 80 % of the highest",
            middle(ours, |round| round.per_second / (SHARE * round.peak)),
            "ratio",
        ),
        told("p50 from the scheduled moment", middle(ours, |round| round.p50), "ms"),
        told("p99 from the scheduled moment", p99, "ms").aims(Goal::AtMost(P99_MAX_MS)),
        told("slowest of all", middle(ours, |round| round.max), "ms"),
        told("slowest of all / p50", middle(ours, |round| round.max / round.p50), "ratio")
            .aims(Goal::AtMost(MAX_OF_P50)),
        told("the floor's highest rate", middle(floors, |round| round.peak), "sagas/s"),
        told("the floor's p50 on a schedule of 80 % of that", middle(floors, |round| round.p50), "ms"),
        told("the floor's p99 then", middle(floors, |round| round.p99), "ms"),
        told("p99 / the floor's", p99 / middle(floors, |round| round.p99), "ratio"),
        told("the floor's p99 at the rate of ours", median(at_our_rate), "ms"),
    ]
}
