//! Transactional steps against transactions by hand, each of which writes the same business row and a row that says
//! that it was done.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use indicatif::ProgressBar;
use saga_core::{BuildError, Definition, StepContext, StepError, async_trait};
use saga_postgres::{Fence, Transactional, TransactionalCompensation, TransactionalStep};
use sqlx::postgres::{PgPool, PgPoolOptions};
use sqlx::{Executor as _, PgConnection};
use uuid::Uuid;

use super::arena::{Arena, GRACE, engine, saga};
use super::statistics::median;
use super::{Finding, Goal, Outcome, Settings};
use crate::{Load, RESULT, measure};

const NAME: &str = "transactional";
/// Of each saga, and transactions of each one by hand.
const STEPS: usize = 3;
const CALLERS: [usize; 2] = [64, 1_000];
/// Connections of each pool.
const CONNECTIONS: u32 = 20;
const OF_BY_HAND_MIN: f64 = 0.8;

const TABLES: &str = "
    CREATE TABLE business (id uuid PRIMARY KEY, what text NOT NULL);
    CREATE TABLE checkpoint (saga text NOT NULL, step integer NOT NULL, result text NOT NULL,
        PRIMARY KEY (saga, step))";
const BUSINESS: &str = "INSERT INTO business (id, what) VALUES ($1, $2)";
const CHECKPOINT: &str = "INSERT INTO checkpoint (saga, step, result) VALUES ($1, $2, $3)";

/// What was written. Callers that have begun together end their sagas together as well, so that in a few seconds all of
/// a wave's sagas are counted or none: rates go by the steps.
type Written = Arc<AtomicU64>;

/// The business: one row.
struct Insert {
    written: Written,
}

#[async_trait]
impl TransactionalStep for Insert {
    type Input = String;
    type Output = String;

    async fn run(&self, tx: &mut PgConnection, _: &StepContext, _: String) -> Result<String, StepError> {
        sqlx::query(BUSINESS).bind(Uuid::now_v7()).bind(RESULT).execute(tx).await?;
        self.written.fetch_add(1, Ordering::Relaxed);
        Ok(RESULT.to_owned())
    }
}

#[async_trait]
impl TransactionalCompensation for Insert {
    async fn compensate(&self, _: &mut PgConnection, _: &StepContext, _: String, _: String) -> Result<(), StepError> {
        Err(StepError::fatal("nothing is undone here"))
    }
}

fn definition(pool: &PgPool, written: &Written) -> Result<Definition<String, String>, BuildError> {
    Definition::build("transactional", 1, |saga, input| {
        let step = || Transactional::new(pool.clone(), Insert { written: written.clone() });
        let mut last = saga.compensatable("step-1", step(), input);
        for nth in 2..=STEPS {
            last = saga.compensatable(&format!("step-{nth}"), step(), last);
        }
        saga.returns(last)
    })
}

async fn by_hand(pool: &PgPool, written: &Written, key: &str) -> Result<(), sqlx::Error> {
    for nth in 1_i32..=3 {
        let mut tx = pool.begin().await?;
        sqlx::query(BUSINESS).bind(Uuid::now_v7()).bind(RESULT).execute(&mut *tx).await?;
        written.fetch_add(1, Ordering::Relaxed);
        sqlx::query(CHECKPOINT).bind(key).bind(nth).bind(RESULT).execute(&mut *tx).await?;
        tx.commit().await?;
    }
    Ok(())
}

async fn pool(url: &str) -> Result<PgPool, sqlx::Error> {
    PgPoolOptions::new().max_connections(CONNECTIONS).min_connections(CONNECTIONS).connect(url).await
}

pub(super) async fn run(settings: &Settings, bar: &ProgressBar) -> Outcome<Vec<Finding>> {
    let arena = Arena::start().await?;
    let url = arena.database().await?;
    let theirs = pool(&url).await?;
    theirs.execute(TABLES).await?;
    Fence::install(&mut *theirs.acquire().await?).await?;
    bar.set_length((2 * CALLERS.len() * settings.rounds()) as u64);
    let mut findings = Vec::new();
    for callers in CALLERS {
        let load = Load::new(callers, settings.lasting());
        let (mut ours, mut by_hands) = (Vec::new(), Vec::new());
        for _ in 0..settings.rounds() {
            bar.set_message(format!("by hand, {callers} callers"));
            let (pool, written) = (theirs.clone(), Written::default());
            let counted = written.clone();
            let transactions = move |key: String| {
                let (pool, written) = (pool.clone(), written.clone());
                async move { by_hand(&pool, &written, &key).await.map_err(|error| error.to_string()) }
            };
            by_hands.push(rate(transactions, load, &counted).await?);
            bar.inc(1);
            bar.set_message(format!("steps, {callers} callers"));
            ours.push(steps(&url, load).await?);
            bar.inc(1);
        }
        let ratios: Vec<f64> = ours.iter().zip(&by_hands).map(|(ours, by_hand)| ours / by_hand).collect();
        let told = |what: &str, value, unit| Finding::told(NAME, format!("{callers} callers: {what}"), value, unit);
        findings.push(told("transactions by hand", median(&by_hands), "steps/s"));
        findings.push(told("transactional steps", median(&ours), "steps/s"));
        findings.push(told("steps / by hand", median(&ratios), "ratio").aims(Goal::AtLeast(OF_BY_HAND_MIN)));
    }
    Ok(findings)
}

/// Steps per second.
async fn rate<Fut: Future<Output = Result<(), String>> + Send + 'static>(
    saga: impl Fn(String) -> Fut + Clone + Send + 'static,
    load: Load,
    written: &Written,
) -> Result<f64, String> {
    let mut marks = Vec::new();
    let measured = measure(saga, load, async || {
        marks.push(written.load(Ordering::Relaxed));
        Ok(())
    });
    let took = measured.await?.took;
    let &[before, after] = &marks[..] else { return Err("a measurement has a begin and an end".to_owned()) };
    Ok((after - before) as f64 / took.as_secs_f64())
}

/// Ours, in steps per second.
async fn steps(url: &str, load: Load) -> Outcome<f64> {
    let pool = pool(url).await?;
    let written = Written::default();
    let definition = definition(&pool, &written)?;
    let engine = engine(url, load.at_once).await?.register(&definition).open().await?;
    let steps_per_s = rate(saga(&engine, &definition), load, &written).await?;
    engine.shutdown(GRACE).await;
    pool.close().await;
    Ok(steps_per_s)
}
