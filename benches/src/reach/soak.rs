//! Sagas of three and of nine steps, for minutes: whether what the process keeps in memory grows.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use indicatif::ProgressBar;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::arena::{Arena, GRACE, engine, saga};
use super::resident::resident;
use super::statistics::slope;
use super::{Finding, Goal, Outcome, Settings};
use crate::noop;

const NAME: &str = "soak";
const STEPS: [usize; 2] = [3, 9];
/// For each of them.
const CALLERS: usize = 64;
/// Of all samples, those of the first fifth are of a process that is still growing up.
const GROWING_UP: u32 = 5;
const SAMPLES: u32 = 60;
/// What the slope adds over all that is measured, of what is resident: less cannot be told from the allocator's own
/// ups and downs.
const GROWTH_MAX: f64 = 0.02;

pub(super) async fn run(settings: &Settings, bar: &ProgressBar) -> Outcome<Vec<Finding>> {
    let arena = Arena::start().await?;
    let url = arena.database().await?;
    let [three, nine] = [noop(STEPS[0])?, noop(STEPS[1])?];
    let engine = engine(&url, 0).await?.register(&three).register(&nine).open().await?;
    let (stop, ended, mut callers) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)), JoinSet::new());
    for nth in 0..2 * CALLERS {
        let saga = saga(&engine, if nth % 2 == 0 { &three } else { &nine });
        let (stop, ended) = (stop.clone(), ended.clone());
        callers.spawn(async move {
            for turn in 0_u64.. {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                saga(format!("{nth}-{turn}")).await?;
                ended.fetch_add(1, Ordering::Relaxed);
            }
            Ok::<_, String>(())
        });
    }
    let began = Instant::now();
    // Ten minutes are sampled every ten seconds.
    let pause = Duration::from_secs_f64(settings.or_short(settings.minutes, 0.2) * 60.0) / SAMPLES;
    bar.set_length(u64::from(SAMPLES));
    let mut samples = Vec::new();
    for nth in 1..=SAMPLES {
        tokio::select! {
            () = tokio::time::sleep_until(began + pause * nth) => {}
            Some(failed) = callers.join_next() => failed??,
        }
        let kib = resident()?;
        if nth > SAMPLES / GROWING_UP {
            samples.push((began.elapsed().as_secs_f64() / 60.0, kib as f64));
        }
        bar.set_message(format!("{kib} KiB resident"));
        bar.inc(1);
    }
    stop.store(true, Ordering::Relaxed);
    while let Some(done) = callers.join_next().await {
        done??;
    }
    let rate = ended.load(Ordering::Relaxed) as f64 / began.elapsed().as_secs_f64();
    engine.shutdown(GRACE).await;
    let [first, last] = [samples.first(), samples.last()].map(|sample| sample.copied().unwrap_or_default());
    let (slope, mean) = (slope(&samples), samples.iter().map(|sample| sample.1).sum::<f64>() / samples.len() as f64);
    let told = |measured: &str, value, unit| Finding::told(NAME, measured, value, unit);
    Ok(vec![
        told("sagas of 3 and of 9 steps, 64 callers each", rate, "sagas/s"),
        told("resident after a fifth of the time", first.1, "KiB"),
        told("resident at the end", last.1, "KiB"),
        told("slope since that fifth", slope, "KiB/min"),
        told("growth since that fifth / resident", slope * (last.0 - first.0) / mean, "ratio")
            .aims(Goal::AtMost(GROWTH_MAX)),
    ])
}
