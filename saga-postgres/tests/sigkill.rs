//! Promise 3, the hard way: worker processes are killed with SIGKILL at random moments, and every write of
//! a transactional step happens exactly once.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::process::{Command, Stdio};
use std::time::Duration;

use saga_core::{
    Definition, Engine, RetryPolicy, SagaOutcome, Source as _, StepContext, StepError, async_trait, step_fn,
};
use saga_postgres::{Fence, PostgresJournal, Transactional, TransactionalCompensation, TransactionalStep};
use sqlx::{Executor as _, PgConnection};

const URL: &str = "SAGA_SIGKILL_TEST_URL";
const SAGAS: i64 = 60;
const KILLS: u64 = 25;

/// Adds to one counter per order, so that what is written twice, or undone twice, shows.
struct Count;

#[async_trait]
impl TransactionalStep for Count {
    type Input = i64;
    type Output = i64;

    async fn run(&self, tx: &mut PgConnection, _: &StepContext, order: i64) -> Result<i64, StepError> {
        sqlx::query("UPDATE counted SET times = times + 1 WHERE n = $1").bind(order).execute(&mut *tx).await?;
        tokio::time::sleep(Duration::from_millis(2)).await;
        Ok(order)
    }
}

#[async_trait]
impl TransactionalCompensation for Count {
    async fn compensate(&self, tx: &mut PgConnection, _: &StepContext, order: i64, _: i64) -> Result<(), StepError> {
        sqlx::query("UPDATE counted SET times = times - 1, undone = undone + 1 WHERE n = $1")
            .bind(order)
            .execute(tx)
            .await?;
        Ok(())
    }
}

fn definition(pool: &sqlx::PgPool) -> Definition<i64, i64> {
    Definition::build("counting", 1, |saga, order| {
        let quick = RetryPolicy::fixed(Duration::from_millis(2)).unbounded();
        let first = saga.compensatable("first", Transactional::new(pool.clone(), Count), order).retry(quick.clone());
        let first = first.compensation_retry(quick.clone());
        let second = saga.compensatable("second", Transactional::new(pool.clone(), Count), first).retry(quick.clone());
        let second = second.compensation_retry(quick);
        // Odd orders are undone.
        let judge = step_fn(async |_, order: i64| match order % 2 {
            1 => Err(StepError::rejected("odd")),
            _ => Ok(order),
        });
        let judged = saga.query("judge", judge, second.map(|order: i64| order));
        saga.returns(judged)
    })
    .unwrap()
}

async fn engine(url: &str) -> (Engine, Definition<i64, i64>) {
    let pool = sqlx::PgPool::connect(url).await.unwrap();
    let definition = definition(&pool);
    let mut limits = saga_core::Limits::default();
    limits.crashes_max = 10_000;
    let engine = Engine::builder(PostgresJournal::connect(url).await.unwrap()).register(&definition).limits(limits);
    let engine = engine.lease_ttl(Duration::from_millis(150)).poll_interval(Duration::from_millis(10));
    (engine.open().await.unwrap(), definition)
}

/// What a worker process does until it is killed.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a worker process, started by the test below"]
async fn worker_process() {
    let Ok(url) = std::env::var(URL) else { return };
    let _engine = engine(&url).await;
    std::future::pending::<()>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_killed_every_write_happens_once_and_is_undone_once() {
    let database = saga_testkit::postgres::Cluster::shared().await.unwrap().database().await.unwrap();
    let pool = sqlx::PgPool::connect(database.url()).await.unwrap();
    Fence::install(&mut pool.acquire().await.unwrap()).await.unwrap();
    pool.execute("CREATE TABLE counted (n BIGINT PRIMARY KEY, times INT NOT NULL, undone INT NOT NULL)").await.unwrap();
    sqlx::query("INSERT INTO counted SELECT n, 0, 0 FROM generate_series(0, $1) n")
        .bind(SAGAS)
        .execute(&pool)
        .await
        .unwrap();
    let definition = definition(&pool);
    let client = Engine::builder(PostgresJournal::connect(database.url()).await.unwrap()).register(&definition);
    let client = client.client_only().open().await.unwrap();
    for order in 0..SAGAS {
        client.start(&definition, &format!("order-{order}"), order).await.unwrap();
    }
    let seed = std::env::var("SAGA_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
    println!("SAGA_SEED={seed}");
    let mut rng = fastrand::Rng::with_seed(seed);
    for _ in 0..KILLS {
        let mut worker = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "worker_process", "--ignored", "--nocapture"])
            .env(URL, database.url())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        tokio::time::sleep(Duration::from_millis(rng.u64(60..240))).await;
        worker.kill().unwrap();
        worker.wait().unwrap();
    }
    let (last, definition) = engine(database.url()).await;
    for order in 0..SAGAS {
        let saga = last.find(&definition, &format!("order-{order}")).await.unwrap().unwrap();
        match saga.outcome().await.unwrap() {
            SagaOutcome::Completed(_) => assert_eq!(order % 2, 0),
            SagaOutcome::RolledBack(_) => assert_eq!(order % 2, 1),
            waits @ SagaOutcome::NeedsAttention(_) => panic!("{waits:?}"),
        }
    }
    let counted: Vec<(i64, i32, i32)> = sqlx::query_as("SELECT n, times, undone FROM counted WHERE n < $1 ORDER BY n")
        .bind(SAGAS)
        .fetch_all(&pool)
        .await
        .unwrap();
    for (order, times, undone) in counted {
        let expected = if order % 2 == 0 { (2, 0) } else { (0, 2) };
        assert_eq!((times, undone), expected, "order {order}");
    }
    let taken_over: i64 =
        sqlx::query_scalar("SELECT count(DISTINCT epoch) FROM saga.turn").fetch_one(&pool).await.unwrap();
    println!("{taken_over} leases wrote");
}
