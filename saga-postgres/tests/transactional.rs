//! Promise 3: the writes of a transactional step happen exactly once.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use saga_core::journal::MemoryJournal;
use saga_core::{
    Definition, Engine, RetryPolicy, SagaOutcome, Source as _, Step, StepContext, StepError, async_trait, step_fn,
};
use saga_postgres::{Fence, Transactional, TransactionalCompensation, TransactionalStep};
use sqlx::{Executor as _, PgConnection};

/// Writes a row, and takes a moment over it; negative orders are refused after the write.
struct Insert;

#[async_trait]
impl TransactionalStep for Insert {
    type Input = i64;
    type Output = String;

    async fn run(&self, tx: &mut PgConnection, _: &StepContext, order: i64) -> Result<String, StepError> {
        sqlx::query("INSERT INTO rows (n) VALUES ($1)").bind(order).execute(&mut *tx).await?;
        tokio::time::sleep(Duration::from_millis(3)).await;
        if order < 0 { Err(StepError::fatal("refused, after the write")) } else { Ok(format!("row {order}")) }
    }
}

#[async_trait]
impl TransactionalCompensation for Insert {
    async fn compensate(
        &self,
        tx: &mut PgConnection,
        _: &StepContext,
        order: i64,
        left: String,
    ) -> Result<(), StepError> {
        assert_eq!(left, format!("row {order}"));
        sqlx::query("DELETE FROM rows WHERE n = $1").bind(order).execute(tx).await?;
        Ok(())
    }
}

fn definition(pool: &sqlx::PgPool) -> Definition<i64, String> {
    Definition::build("rows", 1, |saga, order| {
        let quick = RetryPolicy::fixed(Duration::from_millis(2)).unbounded();
        let row = saga.compensatable("insert", Transactional::new(pool.clone(), Insert), order).retry(quick.clone());
        let row = row.timeout(Duration::from_secs(5)).compensation_retry(quick);
        // Odd orders are undone.
        let judge = step_fn(
            async |_, (row, order): (String, i64)| {
                if order % 2 == 1 { Err(StepError::rejected("odd")) } else { Ok(row) }
            },
        );
        let judged = saga.query("judge", judge, (row, order.map(|order: i64| order)));
        saga.returns(judged)
    })
    .unwrap()
}

async fn rows(pool: &sqlx::PgPool) -> Vec<i64> {
    sqlx::query_scalar("SELECT n FROM rows ORDER BY n").fetch_all(pool).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_crashes_every_row_is_written_once_and_undone_once() {
    let database = saga_testkit::postgres::Cluster::shared().await.unwrap().database().await.unwrap();
    let pool = sqlx::PgPool::connect(database.url()).await.unwrap();
    Fence::install(&mut pool.acquire().await.unwrap()).await.unwrap();
    // Without a key: a row that is written twice is there twice.
    pool.execute("CREATE TABLE rows (n BIGINT NOT NULL)").await.unwrap();
    let (definition, journal) = (definition(&pool), MemoryJournal::new());
    let engine = || {
        let engine = Engine::builder(journal.clone()).register(&definition).lease_ttl(Duration::from_millis(60));
        let mut limits = saga_core::Limits::default();
        limits.crashes_max = 10_000;
        engine.limits(limits).poll_interval(Duration::from_millis(5))
    };
    let first = engine().open().await.unwrap();
    for order in 0..40 {
        first.start(&definition, &format!("order-{order}"), order).await.unwrap();
    }
    // Workers die in the middle of everything, one after the other.
    let mut alive = first;
    for nth in 0..25_u64 {
        tokio::time::sleep(Duration::from_millis(1 + nth % 7)).await;
        drop(alive);
        alive = engine().open().await.unwrap();
    }
    for order in 0..40 {
        let saga = alive.find(&definition, &format!("order-{order}")).await.unwrap().unwrap();
        match saga.outcome().await.unwrap() {
            SagaOutcome::Completed(left) => assert_eq!(left, format!("row {order}")),
            SagaOutcome::RolledBack(_) => assert_eq!(order % 2, 1),
            waits @ SagaOutcome::NeedsAttention(_) => panic!("{waits:?}"),
        }
    }
    assert_eq!(rows(&pool).await, (0..40).step_by(2).collect::<Vec<i64>>());
}

#[tokio::test]
async fn an_error_rolls_back_and_has_certainly_had_no_effect() {
    let database = saga_testkit::postgres::Cluster::shared().await.unwrap().database().await.unwrap();
    let pool = sqlx::PgPool::connect(database.url()).await.unwrap();
    Fence::install(&mut pool.acquire().await.unwrap()).await.unwrap();
    pool.execute("CREATE TABLE rows (n BIGINT NOT NULL)").await.unwrap();
    let definition = definition(&pool);
    let engine = Engine::builder(MemoryJournal::new()).register(&definition).open().await.unwrap();
    let saga = engine.start(&definition, "k", -2).await.unwrap();
    let SagaOutcome::RolledBack(failure) = saga.outcome().await.unwrap() else { panic!("not rolled back") };
    assert_eq!(failure.to_string(), "insert failed: refused, after the write");
    assert_eq!(failure.fault.effect, saga_core::Effect::NotApplied);
    assert_eq!(rows(&pool).await, [0_i64; 0]);
}

/// Loses the answer of each step's first attempt.
struct Forgetful(Transactional<Insert>);

#[async_trait]
impl Step for Forgetful {
    type Input = i64;
    type Output = String;

    async fn run(&self, cx: &StepContext, order: i64) -> Result<String, StepError> {
        let left = self.0.run(cx, order).await?;
        if cx.attempt() == 1 { Err(StepError::retry("the answer is lost")) } else { Ok(left) }
    }
}

#[tokio::test]
async fn who_comes_again_is_answered_as_before_even_where_its_own_writes_stand_in_the_way() {
    let database = saga_testkit::postgres::Cluster::shared().await.unwrap().database().await.unwrap();
    let pool = sqlx::PgPool::connect(database.url()).await.unwrap();
    Fence::install(&mut pool.acquire().await.unwrap()).await.unwrap();
    let definition = Definition::build("rows", 1, |saga, order| {
        let row = saga.pivot("insert", Forgetful(Transactional::new(pool.clone(), Insert)), order);
        saga.returns(row.retry(RetryPolicy::fixed(Duration::from_millis(2))))
    });
    let definition = definition.unwrap();
    let engine = Engine::builder(MemoryJournal::new()).register(&definition).open().await.unwrap();
    for table in ["CREATE TABLE rows (n BIGINT NOT NULL)", "CREATE TABLE rows (n BIGINT PRIMARY KEY)"] {
        pool.execute(table).await.unwrap();
        let saga = engine.start(&definition, table, 4).await.unwrap();
        let SagaOutcome::Completed(left) = saga.outcome().await.unwrap() else { panic!("not completed") };
        assert_eq!(left, "row 4");
        assert_eq!(rows(&pool).await, [4]);
        pool.execute("DROP TABLE rows").await.unwrap();
    }
}
