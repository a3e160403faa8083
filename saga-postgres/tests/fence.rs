//! S05: repeated, late and early calls of a step and its compensation have no effect, or one.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use saga_core::{IdempotencyKey, Op, SagaId, StepName};
use saga_postgres::{Closed, Entry, Fence, Undo};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    Step,
    Again,
    Compensation,
}

fn key() -> IdempotencyKey {
    IdempotencyKey::of(SagaId::new(), &StepName::from("reserve"), Op::Run, 0)
}

async fn call(pool: &sqlx::PgPool, key: IdempotencyKey, call: Call) {
    let mut tx = pool.begin().await.unwrap();
    let change = match call {
        Call::Step | Call::Again if Fence::enter(&mut tx, key).await.unwrap() == Entry::Fresh => 1_i64,
        Call::Compensation if Fence::undo(&mut tx, key).await.unwrap() == Undo::Applied => -1,
        Call::Step | Call::Again | Call::Compensation => 0,
    };
    sqlx::query("UPDATE effect SET n = n + $1").bind(change).execute(&mut *tx).await.unwrap();
    tx.commit().await.unwrap();
}

async fn net(pool: &sqlx::PgPool) -> i64 {
    sqlx::query_scalar("SELECT n FROM effect").fetch_one(pool).await.unwrap()
}

async fn prepared(pool: &sqlx::PgPool) {
    let mut connection = pool.acquire().await.unwrap();
    Fence::install(&mut connection).await.unwrap();
    Fence::install(&mut connection).await.unwrap();
    sqlx::query("CREATE TABLE effect (n BIGINT NOT NULL)").execute(&mut *connection).await.unwrap();
    sqlx::query("INSERT INTO effect VALUES (0)").execute(&mut *connection).await.unwrap();
}

#[tokio::test]
async fn in_whatever_order_the_calls_come_nothing_is_left_after_the_compensation() {
    let database = saga_testkit::postgres::Cluster::shared().await.unwrap().database().await.unwrap();
    let pool = sqlx::PgPool::connect(database.url()).await.unwrap();
    prepared(&pool).await;
    use Call::{Again, Compensation, Step};
    for order in [
        [Step, Again, Compensation],
        [Step, Compensation, Again],
        [Again, Step, Compensation],
        [Again, Compensation, Step],
        [Compensation, Step, Again],
        [Compensation, Again, Step],
    ] {
        let key = key();
        for next in order {
            call(&pool, key, next).await;
        }
        assert_eq!(net(&pool).await, 0, "{order:?}");
        call(&pool, key, Compensation).await;
        assert_eq!(net(&pool).await, 0, "{order:?}, and compensated again");
    }
    let alone = key();
    call(&pool, alone, Step).await;
    call(&pool, alone, Again).await;
    assert_eq!(net(&pool).await, 1, "without a compensation, once");
    let mut connection = pool.acquire().await.unwrap();
    assert_eq!(Fence::forget(&mut connection, Duration::from_secs(3600)).await.unwrap(), 0);
    assert_eq!(Fence::forget(&mut connection, Duration::ZERO).await.unwrap(), 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_and_its_compensation_at_the_same_time_leave_nothing() {
    let database = saga_testkit::postgres::Cluster::shared().await.unwrap().database().await.unwrap();
    let pool = sqlx::PgPool::connect(database.url()).await.unwrap();
    prepared(&pool).await;
    for _ in 0..30 {
        let key = key();
        let calls = [Call::Step, Call::Compensation, Call::Again].map(|next| {
            let pool = pool.clone();
            tokio::spawn(async move { call(&pool, key, next).await })
        });
        for next in calls {
            next.await.unwrap();
        }
        assert_eq!(net(&pool).await, 0);
    }
}

#[tokio::test]
async fn what_a_probe_has_been_told_stays_true() {
    let database = saga_testkit::postgres::Cluster::shared().await.unwrap().database().await.unwrap();
    let pool = sqlx::PgPool::connect(database.url()).await.unwrap();
    prepared(&pool).await;
    let mut connection = pool.acquire().await.unwrap();
    let (done, never) = (key(), key());
    assert_eq!(Fence::enter(&mut connection, done).await.unwrap(), Entry::Fresh);
    for _ in 0..2 {
        assert_eq!(Fence::close(&mut connection, done).await.unwrap(), Closed::Applied);
        assert_eq!(Fence::close(&mut connection, never).await.unwrap(), Closed::NotApplied);
    }
    assert_eq!(Fence::enter(&mut connection, never).await.unwrap(), Entry::Undone, "it comes too late");
    assert_eq!(Fence::enter(&mut connection, done).await.unwrap(), Entry::Repeated);
    assert_eq!(Fence::undo(&mut connection, done).await.unwrap(), Undo::Applied);
    assert_eq!(Fence::close(&mut connection, done).await.unwrap(), Closed::NotApplied, "it is undone");
}
