//! Fencing on Postgres, with a real process that is frozen.

#![allow(clippy::unwrap_used, reason = "tests")]

use saga_postgres::PostgresJournal;
use saga_testkit::postgres::Cluster;
use saga_testkit::zombie;

async fn open(url: &str) -> PostgresJournal {
    PostgresJournal::connect(url).await.unwrap()
}

#[tokio::test]
async fn zombie_process() {
    zombie::process(open).await;
}

#[tokio::test]
async fn a_frozen_worker_is_fenced() {
    let database = Cluster::shared().await.unwrap().database().await.unwrap();
    zombie::a_frozen_worker_is_fenced(database.url(), open).await;
}
