//! Three worker processes on one database, against one with as many callers as all three.

use std::time::Duration;

use indicatif::ProgressBar;

use super::arena::Arena;
use super::child::Child;
use super::statistics::median;
use super::{Finding, Goal, Outcome, Role, Settings};

const NAME: &str = "workers";
const PROCESSES: usize = 3;
/// In all; the three share them.
const CALLERS: usize = 999;
const OF_ONE_MIN: f64 = 0.9;
/// For opening and ending.
const OVERHEAD_MAX: Duration = Duration::from_secs(60);

pub(super) async fn run(settings: &Settings, bar: &ProgressBar) -> Outcome<Vec<Finding>> {
    let arena = Arena::start().await?;
    let url = arena.database().await?;
    let (mut ones, mut threes) = (Vec::new(), Vec::new());
    bar.set_length(2 * settings.rounds() as u64);
    for _ in 0..settings.rounds() {
        bar.set_message("one process");
        ones.push(together(&url, 1, settings).await?);
        bar.inc(1);
        bar.set_message("three processes");
        threes.push(together(&url, PROCESSES, settings).await?);
        bar.inc(1);
    }
    let ratios: Vec<f64> = threes.iter().zip(&ones).map(|(three, one)| three / one).collect();
    Ok(vec![
        Finding::told(NAME, "one process, 999 callers", median(&ones), "sagas/s"),
        Finding::told(NAME, "three processes, 333 callers each", median(&threes), "sagas/s"),
        Finding::told(NAME, "three / one", median(&ratios), "ratio").aims(Goal::AtLeast(OF_ONE_MIN)),
    ])
}

/// What so many processes do together, in sagas per second.
async fn together(url: &str, processes: usize, settings: &Settings) -> Outcome<f64> {
    let lasting = settings.lasting();
    let role = Role::Callers { url: url.to_owned(), at_once: CALLERS / processes, seconds: lasting.as_secs_f64() };
    let mut children = (0..processes).map(|_| Child::start(&role)).collect::<Outcome<Vec<_>>>()?;
    for child in &mut children {
        child.hear::<String>(OVERHEAD_MAX).await?;
    }
    // All at the same time, so that each is measured while the others work.
    for child in &mut children {
        child.go_on().await?;
    }
    let mut rate = 0.0;
    for child in &mut children {
        rate += child.hear::<f64>(lasting * 2 + OVERHEAD_MAX).await?;
    }
    for child in children {
        child.end(OVERHEAD_MAX).await?;
    }
    Ok(rate)
}
