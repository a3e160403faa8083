//! A worker process is killed with sagas in flight: how soon another has them all running, and how much is repeated.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use indicatif::ProgressBar;
use saga_core::{BuildError, Definition, Engine, RetryPolicy, StepContext, step_fn};
use sqlx::{Connection as _, PgConnection};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::arena::{Arena, GRACE, engine};
use super::child::Child;
use super::statistics::median;
use super::{Finding, Goal, Outcome, Role, Settings};

const NAME: &str = "recovery";
const HOLDER: &str = "holder";
const RUNNING_MAX_S: f64 = 2.0;
/// Callers that start the sagas.
const CALLERS: usize = 200;
/// For what takes as long as the machine is slow.
const PATIENCE: Duration = Duration::from_secs(180);

/// What the steps of a process share.
pub(super) struct Gate {
    attempts: AtomicUsize,
    open: watch::Sender<bool>,
}

impl Gate {
    pub(super) fn closed() -> Arc<Self> {
        Arc::new(Self { attempts: AtomicUsize::new(0), open: watch::Sender::new(false) })
    }

    pub(super) fn open(&self) {
        self.open.send_replace(true);
    }

    /// Waits until so many attempts have begun.
    pub(super) async fn until_begun(&self, attempts: usize) -> Outcome<()> {
        let begun = async {
            while self.attempts.load(Ordering::Relaxed) < attempts {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        Ok(tokio::time::timeout(PATIENCE, begun).await.map_err(|_| "not all sagas run in time")?)
    }

    /// What a step does there.
    pub(super) async fn pass(&self) {
        self.attempts.fetch_add(1, Ordering::Relaxed);
        // An error says that the gate is gone, and nobody waits for the saga.
        self.open.subscribe().wait_for(|open| *open).await.ok();
    }
}

/// A saga that waits in its step until the gate of its process is open.
fn definition(gate: &Arc<Gate>) -> Result<Definition<String, String>, BuildError> {
    Definition::build("held", 1, |saga, input| {
        let gate = gate.clone();
        let step = step_fn(move |_: StepContext, input: String| {
            let gate = gate.clone();
            async move {
                gate.pass().await;
                Ok(input)
            }
        });
        let held = saga.query("waits", step, input).timeout(2 * PATIENCE);
        // At once: what is measured is the engine, and not a policy.
        let held = held.retry(RetryPolicy::fixed(Duration::ZERO));
        saga.returns(held)
    })
}

/// Starts so many sagas, which wait; returns when all of them run.
pub(super) async fn hold(url: &str, sagas: usize) -> Outcome<Engine> {
    let gate = Gate::closed();
    let definition = definition(&gate)?;
    let engine = engine(url, sagas).await?.worker_name(HOLDER).lease_ttl(ttl(sagas)).register(&definition);
    let engine = engine.open().await?;
    start_named(&engine, &definition, sagas, 0).await?;
    gate.until_begun(sagas).await?;
    Ok(engine)
}

/// Starts so many sagas, and waits for none. Their keys are new for each name.
pub(super) async fn start_named(
    engine: &Engine,
    definition: &Definition<String, String>,
    sagas: usize,
    name: usize,
) -> Outcome<()> {
    let next = Arc::new(AtomicUsize::new(0));
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS.min(sagas) {
        let (engine, definition, next) = (engine.clone(), definition.clone(), next.clone());
        callers.spawn(async move {
            loop {
                let nth = next.fetch_add(1, Ordering::Relaxed);
                if nth >= sagas {
                    return Ok::<_, saga_core::engine::StartError>(());
                }
                engine.start(&definition, &format!("{name}-{nth}"), String::new()).await?;
            }
        });
    }
    while let Some(done) = callers.join_next().await {
        done??;
    }
    Ok(())
}

/// The default, unless there are so few sagas that this is but a trial.
fn ttl(sagas: usize) -> Duration {
    Duration::from_secs(if sagas < 1_000 { 2 } else { 15 })
}

pub(super) async fn run(settings: &Settings, bar: &ProgressBar) -> Outcome<Vec<Finding>> {
    let arena = Arena::start().await?;
    let sagas = settings.or_short(10_000, 500);
    bar.set_length(settings.rounds() as u64);
    let mut rounds = Vec::new();
    for _ in 0..settings.rounds() {
        rounds.push(round(&arena.database().await?, sagas, bar).await?);
        bar.inc(1);
    }
    let each = |of: fn(&[f64; 4]) -> f64| median(&rounds.iter().map(of).collect::<Vec<_>>());
    let most = |of: fn(&[f64; 4]) -> f64| rounds.iter().map(of).fold(0.0, f64::max);
    let told = |measured: &str, value, unit| Finding::told(NAME, measured, value, unit);
    let in_flight = sagas as f64;
    Ok(vec![
        told("in flight at the kill", in_flight, "sagas"),
        told("lease expired to lease fenced", each(|round| round[0]), "s"),
        told("lease fenced to all running", each(|round| round[1] - round[0]), "s"),
        told("lease expired to all running", each(|round| round[1]), "s").aims(Goal::AtMost(RUNNING_MAX_S)),
        told("attempts repeated", most(|round| round[2]), "attempts").aims(Goal::AtMost(in_flight)),
        told("sagas that did not complete", most(|round| round[3]), "sagas").aims(Goal::AtMost(0.0)),
    ])
}

/// From the lease's expiry to its fencing, and to all running, in seconds; attempts repeated; sagas not completed.
async fn round(url: &str, sagas: usize, bar: &ProgressBar) -> Outcome<[f64; 4]> {
    bar.set_message("a worker takes them in flight");
    let mut holder = Child::start(&Role::Holds { url: url.to_owned(), sagas })?;
    holder.hear::<String>(PATIENCE).await?;
    let gate = Gate::closed();
    let heir = engine(url, sagas).await?.worker_name("heir").lease_ttl(ttl(sagas)).register(&definition(&gate)?);
    let heir = heir.open().await?;
    bar.set_message("it is killed");
    holder.kill().await?;
    gate.until_begun(sagas).await?;
    let mut probe = PgConnection::connect(url).await?;
    let spans = sqlx::query_as(
        "SELECT extract(epoch FROM fenced_at - lease_until)::float8,
            extract(epoch FROM clock_timestamp() - lease_until)::float8 FROM saga.lease WHERE worker = $1",
    );
    let (fenced, running): (f64, f64) = spans.bind(HOLDER).fetch_one(&mut probe).await?;
    bar.set_message("all run to their end");
    gate.open();
    let ended = async {
        while heir.in_flight() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, ended).await.map_err(|_| "not all sagas end in time")?;
    let counted = sqlx::query_as(
        "SELECT (SELECT count(*) FROM saga.record WHERE record ? 'begun') - count(*),
            count(*) - (SELECT count(*) FROM saga.turn WHERE ends = 1) FROM saga.saga",
    );
    let (repeated, open): (i64, i64) = counted.fetch_one(&mut probe).await?;
    heir.shutdown(GRACE).await;
    Ok([fenced, running, repeated as f64, open as f64])
}
