//! `durare`. Set up as its guide to production (`durare::operations`) shows: a pool of 24 connections of one's own
//! (its default of 8 suits "development and modest services"), with `search_path` set to the schema of the system
//! tables; then `recover`, and workflows started by typed reference with the caller's key as their id, as in its
//! README. The wait is in the process, without a query. On SQLite, its provider's own connection (write-ahead log,
//! `synchronous=NORMAL`: a power cut may lose what was acknowledged, which ours does not).

use std::str::FromStr as _;
use std::sync::Arc;

use async_trait::async_trait;
use durare::{DurableContext, DurableEngine, PostgresProvider, SqliteProvider, StateProvider, WorkflowOptions};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use crate::RESULT;
use crate::engine::{Engine, Failure};

const SCHEMA: &str = "dbos";

pub struct Durare {
    steps: usize,
    engine: DurableEngine,
}

impl Durare {
    pub async fn on_postgres(url: &str, steps: usize) -> Result<Self, Failure> {
        let options = PgConnectOptions::from_str(url)?.options([("search_path", SCHEMA)]);
        let pool = PgPoolOptions::new().max_connections(24).connect_with(options).await?;
        Self::open(Arc::new(PostgresProvider::from_pool_with_schema(pool, SCHEMA)?), steps).await
    }

    pub async fn on_sqlite(url: &str, steps: usize) -> Result<Self, Failure> {
        Self::open(Arc::new(SqliteProvider::connect(url).await?), steps).await
    }

    async fn open(provider: Arc<dyn StateProvider>, steps: usize) -> Result<Self, Failure> {
        let engine = DurableEngine::new(provider).await?;
        engine.recover().await?;
        Ok(Self { steps, engine })
    }
}

#[durare::step]
async fn step(ctx: &DurableContext) -> durare::Result<String> {
    Ok(RESULT.to_owned())
}

#[durare::workflow]
async fn noop(ctx: DurableContext, steps: usize) -> durare::Result<String> {
    let mut last = String::new();
    for _ in 0..steps {
        last = step(&ctx).await?;
    }
    Ok(last)
}

#[async_trait]
impl Engine for Durare {
    async fn saga(&self, key: String) -> Result<(), Failure> {
        let handle = self.engine.start_with(Noop, self.steps, WorkflowOptions::with_id(key)).await?;
        handle.await?;
        Ok(())
    }
}
