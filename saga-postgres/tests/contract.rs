//! The journal on Postgres keeps the contract.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use saga_core::async_trait;
use saga_postgres::PostgresJournal;
use saga_testkit::contract::Fixture;
use saga_testkit::postgres::Cluster;
use tokio::sync::Mutex;

/// Journals in one database, each in a schema of its own.
struct Postgres;

static URLS: Mutex<Vec<(String, String)>> = Mutex::const_new(Vec::new());

async fn open(url: &str, schema: &str) -> PostgresJournal {
    let builder = saga_postgres::PostgresBuilder::from_url(url).unwrap();
    // Behind a proxy that pools transactions: with its address in SAGA_TEST_POSTGRES_URL.
    let pooling = std::env::var_os("SAGA_TEST_TRANSACTION_POOLING").is_some();
    builder.schema(schema).listen(false).transaction_pooling(pooling).open().await.unwrap()
}

#[async_trait]
impl Fixture for Postgres {
    type Journal = PostgresJournal;

    async fn fresh(&self) -> PostgresJournal {
        let mut urls = URLS.lock().await;
        if urls.is_empty() {
            let database = Cluster::shared().await.unwrap().database().await.unwrap();
            urls.push((database.url().to_owned(), String::new()));
        }
        let (url, schema) = (urls[0].0.clone(), format!("j{}", urls.len()));
        urls.push((url.clone(), schema.clone()));
        drop(urls);
        open(&url, &schema).await
    }

    async fn reopen(&self, journal: &PostgresJournal) -> PostgresJournal {
        let url = URLS.lock().await[0].0.clone();
        open(&url, journal.schema_name()).await
    }

    async fn pass(&self, by: Duration) {
        tokio::time::sleep(by).await;
    }
}

saga_testkit::journal_contract!(Postgres, flavor = "multi_thread");
