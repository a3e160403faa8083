//! What the engine keeps in memory for a saga in flight.
//!
//! Counted: every byte that is allocated between "engine open and warm" and "all sagas in flight", divided by the
//! sagas: their state, driver and task, and what the engine knows of them by their id. Once while they rest between
//! two steps, and once while each waits in a step, on a shared signal: the attempt is then counted as well. Not counted: what an allocator takes beyond what it is asked for, the database, and handles:
//! those who started the sagas have dropped them. Resident memory is told beside it.

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use indicatif::ProgressBar;
use saga_core::{BuildError, Definition, Source as _, StepContext, StepError, step_fn};
use serde::{Deserialize, Serialize};
use tokio::process::Command;

use super::arena::{Arena, GRACE, engine};
use super::recovery::{Gate, start_named};
use super::resident::resident;
use super::statistics::median;
use super::{Finding, Goal, Outcome, Settings};
use crate::{RESULT, run_saga};

const NAME: &str = "memory";
const STEPS: usize = 9;
/// The step in the middle waits.
const WAITS: usize = 5;
/// Sagas that have run before anything is counted.
const WARM_UP: usize = 200;
const RESTING_MAX: f64 = 4.0 * 1024.0;
/// How many sagas are to rest at the same time, and for how long: few enough that the last one lies down before the
/// first one is up, and not so long that they are parked.
const RESTING: usize = 1_000;
const REST: Duration = Duration::from_millis(950);
/// Within it what was begun last is durable.
const SETTLED: Duration = Duration::from_millis(100);
/// How often that is tried.
const TRIES: usize = 10;

/// Bytes for each saga.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub struct Weights {
    resting: f64,
    working: f64,
    resident: f64,
}

pub(super) async fn run(settings: &Settings, bar: &ProgressBar) -> Outcome<Vec<Finding>> {
    let program = settings.memory_program.as_deref().ok_or("the program that counts memory is not named")?;
    let arena = Arena::start().await?;
    let sagas = settings.or_short(20_000, 500);
    bar.set_length(settings.rounds() as u64);
    bar.set_message(format!("{sagas} sagas in flight"));
    let mut rounds = Vec::new();
    for _ in 0..settings.rounds() {
        rounds.push(counted(program, &arena.database().await?, sagas, settings.heap_profile.as_deref()).await?);
        bar.inc(1);
    }
    let each = |of: fn(&Weights) -> f64| median(&rounds.iter().map(of).collect::<Vec<_>>());
    let told = |measured: &str, of| Finding::told(NAME, measured, each(of), "bytes");
    Ok(vec![
        told("allocated for a saga of 9 steps, resting in the middle", |w| w.resting).aims(Goal::AtMost(RESTING_MAX)),
        told("allocated for one that waits within its 5th step", |w| w.working),
        told("resident for it, with the profiler's own", |w| w.resident),
    ])
}

/// In a process of its own, whose allocator counts.
async fn counted(program: &Path, url: &str, sagas: usize, profile: Option<&Path>) -> Outcome<Weights> {
    let mut command = Command::new(program);
    command.args(["--url", url, "--sagas", &sagas.to_string()]).stdin(Stdio::null()).stdout(Stdio::piped());
    if let Some(profile) = profile {
        command.arg("--heap-profile").arg(profile);
    }
    let ran = command.kill_on_drop(true).spawn()?.wait_with_output().await?;
    if !ran.status.success() {
        return Err(format!("the program that counts memory failed: {}", ran.status).into());
    }
    Ok(serde_json::from_slice(&ran.stdout)?)
}

/// A saga of nine steps, of which the fifth waits at the gate.
fn definition(name: &str, gate: &Arc<Gate>) -> Result<Definition<String, String>, BuildError> {
    Definition::build(name, 1, |saga, input| {
        let mut last = saga.query("step-1", step_fn(step), input);
        for nth in 2..=STEPS {
            let name = format!("step-{nth}");
            last = match nth {
                WAITS => {
                    let gate = gate.clone();
                    let waits = step_fn(move |_: StepContext, _: String| {
                        let gate = gate.clone();
                        async move {
                            gate.pass().await;
                            Ok(RESULT.to_owned())
                        }
                    });
                    saga.query(&name, waits, last).timeout(Duration::from_secs(3600))
                }
                _ => saga.query(&name, step_fn(step), last),
            };
        }
        saga.returns(last)
    })
}

async fn step(_: StepContext, _: String) -> Result<String, StepError> {
    Ok(RESULT.to_owned())
}

/// How many sagas have come to the step before their rest, and to the one after it.
#[derive(Default)]
struct Rests {
    before: AtomicUsize,
    after: AtomicUsize,
}

/// A saga of nine steps, of which the fifth is a rest.
fn rests(rests: &Arc<Rests>) -> Result<Definition<String, String>, BuildError> {
    let counts = |count: fn(&Rests) -> &AtomicUsize| {
        let rests = rests.clone();
        step_fn(move |_: StepContext, _: String| {
            count(&rests).fetch_add(1, Ordering::Relaxed);
            async { Ok(RESULT.to_owned()) }
        })
    };
    Definition::build("rests", 1, |saga, input| {
        let mut last = saga.query("step-1", step_fn(step), input);
        for nth in 2..WAITS - 1 {
            last = saga.query(&format!("step-{nth}"), step_fn(step), last);
        }
        last = saga.query("before", counts(|rests| &rests.before), last);
        let rest = saga.sleep("rest", last.map(|_: String| REST));
        let up = (last, rest).map(|(result, ()): (String, ())| result);
        last = saga.query("after", counts(|rests| &rests.after), up);
        for nth in WAITS + 2..=STEPS {
            last = saga.query(&format!("step-{nth}"), step_fn(step), last);
        }
        saga.returns(last)
    })
}

/// Bytes for each saga of those that rest at the same time.
async fn resting(url: &str, allocated: &impl Fn() -> usize) -> Outcome<f64> {
    let met = Arc::<Rests>::default();
    let definition = rests(&met)?;
    let engine = engine(url, RESTING).await?.register(&definition).open().await?;
    for nth in 0..TRIES {
        let before = allocated();
        let began = met.before.load(Ordering::Relaxed);
        start_named(&engine, &definition, RESTING, nth).await?;
        while met.before.load(Ordering::Relaxed) < began + RESTING {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        tokio::time::sleep(SETTLED).await;
        let after = allocated();
        let all_rest = met.after.load(Ordering::Relaxed) == began;
        while engine.in_flight() > 0 || met.after.load(Ordering::Relaxed) < began + RESTING {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        if all_rest && nth > 0 {
            engine.shutdown(GRACE).await;
            return Ok(after.saturating_sub(before) as f64 / RESTING as f64);
        }
    }
    Err("the first saga is up before the last one rests".into())
}

/// Measures in this process. `allocated` tells how many bytes are allocated now.
///
/// # Errors
/// When a saga fails.
pub async fn measure(url: &str, sagas: usize, allocated: impl Fn() -> usize) -> Outcome<Weights> {
    let resting = resting(url, &allocated).await?;
    let (open, gate) = (Gate::closed(), Gate::closed());
    open.open();
    let (warm_up, waits) = (definition("warm-up", &open)?, definition("waits", &gate)?);
    let engine = engine(url, sagas).await?.register(&warm_up).register(&waits).open().await?;
    for nth in 0..WARM_UP {
        run_saga(&engine, &warm_up, &nth.to_string()).await?;
    }
    let (before, resident_before) = (allocated(), resident()?);
    start_named(&engine, &waits, sagas, 0).await?;
    gate.until_begun(sagas).await?;
    let (after, resident_after) = (allocated(), resident()?);
    gate.open();
    engine.shutdown(GRACE).await;
    let each = |bytes: usize| bytes as f64 / sagas as f64;
    let resident = usize::try_from(resident_after.saturating_sub(resident_before))? * 1024;
    Ok(Weights { resting, working: each(after.saturating_sub(before)), resident: each(resident) })
}
