//! The proxy before a real server: what it says was committed was, and what it says was not was not.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::net::SocketAddr;
use std::time::Duration;

use campaigns::proxy::{Knobs, Proxy, journal_commits};
use saga_testkit::postgres::{Cluster, TestDatabase};
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, Executor as _, PgConnection};

async fn world() -> (TestDatabase, Proxy, PgConnection, PgConnectOptions) {
    let database = Cluster::shared().await.unwrap().database().await.unwrap();
    let options: PgConnectOptions = database.url().parse().unwrap();
    let upstream: SocketAddr = format!("127.0.0.1:{}", options.get_port()).parse().unwrap();
    let proxy = Proxy::start(upstream, 1, journal_commits).await.unwrap();
    let through = options.clone().host("127.0.0.1").port(proxy.address().port());
    let mut direct = options.connect().await.unwrap();
    direct.execute("CREATE TABLE t (n INT)").await.unwrap();
    (database, proxy, direct, through)
}

async fn count(direct: &mut PgConnection) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM t").fetch_one(direct).await.unwrap()
}

#[tokio::test]
async fn a_lost_answer_belongs_to_a_commit_that_was_made() {
    let (_database, proxy, mut direct, through) = world().await;
    proxy.set(Knobs { cut_after_commit: 1.0, ..Knobs::default() });
    for nth in 1..=5 {
        let mut client = through.connect().await.unwrap();
        assert!(sqlx::query("INSERT INTO t VALUES ($1)").bind(1).execute(&mut client).await.is_err());
        assert_eq!(count(&mut direct).await, nth);
        assert_eq!(proxy.counts().lost(), u64::try_from(nth).unwrap());
    }
    let mut client = through.connect().await.unwrap();
    client.execute("BEGIN").await.unwrap();
    sqlx::query("INSERT INTO t VALUES ($1)").bind(1).execute(&mut client).await.unwrap();
    assert_eq!(count(&mut direct).await, 5);
    assert!(client.execute("COMMIT").await.is_err());
    assert_eq!((count(&mut direct).await, proxy.counts().lost_commits["commit"]), (6, 1));
}

#[tokio::test]
async fn a_statement_that_is_lost_before_the_server_leaves_nothing() {
    let (_database, proxy, mut direct, through) = world().await;
    proxy.set(Knobs { cut_before_apply: 1.0, ..Knobs::default() });
    let mut client = through.connect().await.unwrap();
    assert!(sqlx::query("INSERT INTO t VALUES ($1)").bind(1).execute(&mut client).await.is_err());
    assert_eq!((count(&mut direct).await, proxy.counts().lost_requests, proxy.counts().lost()), (0, 1, 0));
}

#[tokio::test]
async fn a_statement_that_failed_is_answered() {
    let (_database, proxy, mut direct, through) = world().await;
    proxy.set(Knobs { cut_after_commit: 1.0, ..Knobs::default() });
    let mut client = through.connect().await.unwrap();
    let refused = sqlx::query("INSERT INTO nowhere VALUES (1)").execute(&mut client).await.unwrap_err();
    assert!(refused.as_database_error().is_some(), "{refused}");
    assert_eq!((count(&mut direct).await, proxy.counts().lost()), (0, 0));
}

#[tokio::test]
async fn silence_delay_and_reset() {
    let (_database, proxy, mut direct, through) = world().await;
    let mut client = through.connect().await.unwrap();
    proxy.set(Knobs { no_requests: true, ..Knobs::default() });
    let short = Duration::from_millis(100);
    {
        let insert = client.execute("INSERT INTO t VALUES (1)");
        tokio::pin!(insert);
        assert!(tokio::time::timeout(short, &mut insert).await.is_err());
        assert_eq!(count(&mut direct).await, 0);
        proxy.set(Knobs { delay_max: Duration::from_millis(2), ..Knobs::default() });
        insert.await.unwrap();
    }
    assert!(proxy.counts().delayed > 0);
    proxy.set(Knobs { half_close: 1.0, ..Knobs::default() });
    assert!(tokio::time::timeout(short, client.execute("INSERT INTO t VALUES (1)")).await.is_err());
    assert_eq!((count(&mut direct).await, proxy.counts().silent), (2, 1));
    proxy.set(Knobs::default());
    let mut client = through.connect().await.unwrap();
    client.ping().await.unwrap();
    proxy.reset_all();
    assert!(client.ping().await.is_err());
}
