//! How soon a worker takes up what another process has started.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use indicatif::ProgressBar;
use saga_core::{BuildError, Definition, Engine, SagaOutcome, step_fn};

use super::arena::{Arena, GRACE, engine};
use super::child::Child;
use super::statistics::{Latencies, median};
use super::{Finding, Goal, Outcome, Role, Settings};

const NAME: &str = "claim";
const P50_MAX_MS: f64 = 10.0;
/// Between the end of a saga and the next start: of any length up to this, so that no timer of the engine keeps step.
const PAUSE_MAX_MS: u64 = 40;
const OPENING_MAX: Duration = Duration::from_secs(60);

/// A saga that leaves the moment of its first attempt, by this machine's clock.
pub(super) fn definition() -> Result<Definition<u64, u64>, BuildError> {
    Definition::build("claimed", 1, |saga, nth| {
        let began = saga.query("begins", step_fn(async |_, _nth: u64| Ok(micros()?)), nth);
        saga.returns(began)
    })
}

/// Microseconds since 1970.
fn micros() -> Result<u64, std::time::SystemTimeError> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros().try_into().unwrap_or(u64::MAX))
}

pub(super) async fn run(settings: &Settings, bar: &ProgressBar) -> Outcome<Vec<Finding>> {
    let arena = Arena::start().await?;
    let url = arena.database().await?;
    let definition = definition()?;
    let client = engine(&url, 0).await?.register(&definition).client_only().open().await?;
    let mut worker = Child::start(&Role::Claims { url })?;
    worker.hear::<String>(OPENING_MAX).await?;
    let samples = settings.or_short(300, 30);
    bar.set_length((settings.rounds() * samples) as u64);
    bar.set_message("one saga after the other");
    let mut rounds = Vec::new();
    for round in 0..settings.rounds() {
        let mut latencies = Vec::with_capacity(samples);
        for nth in 0..samples {
            tokio::time::sleep(Duration::from_millis(fastrand::u64(..PAUSE_MAX_MS))).await;
            latencies.push(sample(&client, &definition, &format!("{round}-{nth}")).await?);
            bar.inc(1);
        }
        rounds.push(Latencies::new(latencies));
    }
    worker.end(GRACE).await?;
    client.shutdown(GRACE).await;
    let each = |share| median(&rounds.iter().map(|round| round.at(share)).collect::<Vec<_>>());
    let told = |measured, value| Finding::told(NAME, measured, value, "ms");
    Ok(vec![
        told("start committed to first attempt in another process, p50", each(0.5)).aims(Goal::AtMost(P50_MAX_MS)),
        told("the same, p99", each(0.99)),
    ])
}

/// From when the start had returned to the first attempt; nothing when that came first.
async fn sample(client: &Engine, definition: &Definition<u64, u64>, key: &str) -> Outcome<Duration> {
    let saga = client.start(definition, key, 0).await?;
    let started = micros()?;
    match saga.outcome().await? {
        SagaOutcome::Completed(began) => Ok(Duration::from_micros(began.saturating_sub(started))),
        other => Err(format!("a saga that tells the time failed: {other:?}").into()),
    }
}
