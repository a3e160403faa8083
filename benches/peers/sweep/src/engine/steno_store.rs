//! What steno asks its consumer for: a store. Each event is durable before the call returns. The trait has no way to
//! report an error, so that a write is repeated until it is done; an event that is there already stays as it is.

use std::time::Duration;

use async_trait::async_trait;
use sqlx::postgres::PgPoolOptions;
use sqlx::{PgPool, Row as _};
use steno::{SagaCachedState, SagaCreateParams, SagaId, SagaNodeEvent, SecStore};

use super::Failure;

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS steno_saga (id text PRIMARY KEY, dag text NOT NULL, state text NOT NULL);
    CREATE TABLE IF NOT EXISTS steno_event (
        saga text NOT NULL, node text NOT NULL, kind text NOT NULL, event text NOT NULL,
        PRIMARY KEY (saga, node, kind)
    );";
const BETWEEN: Duration = Duration::from_millis(50);

/// The store.
#[derive(Debug)]
pub struct Store {
    pool: PgPool,
}

impl Store {
    /// Opens it, with its tables.
    pub async fn open(url: &str) -> Result<Self, Failure> {
        let pool = PgPoolOptions::new().max_connections(4).connect(url).await?;
        sqlx::raw_sql(SCHEMA).execute(&pool).await?;
        Ok(Self { pool })
    }

    /// The graph and the log of a saga that was created.
    pub async fn load(&self, id: &str) -> Result<Option<(serde_json::Value, Vec<SagaNodeEvent>)>, Failure> {
        let saga = sqlx::query("SELECT dag FROM steno_saga WHERE id = $1").bind(id);
        let Some(saga) = saga.fetch_optional(&self.pool).await? else { return Ok(None) };
        let events = sqlx::query("SELECT event FROM steno_event WHERE saga = $1").bind(id);
        let events = events.fetch_all(&self.pool).await?;
        let events = events.iter().map(|row| Ok(serde_json::from_str(row.try_get::<&str, _>(0)?)?));
        let events = events.collect::<Result<Vec<SagaNodeEvent>, Failure>>()?;
        Ok(Some((serde_json::from_str(saga.try_get::<&str, _>(0)?)?, events)))
    }

    async fn record(&self, event: &SagaNodeEvent) -> Result<(), Failure> {
        let insert = "INSERT INTO steno_event (saga, node, kind, event) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING";
        let insert = sqlx::query(insert).bind(event.saga_id.to_string()).bind(event.node_id.to_string());
        let insert = insert.bind(event.event_type.label()).bind(serde_json::to_string(event)?);
        insert.execute(&self.pool).await?;
        Ok(())
    }

    async fn update(&self, id: SagaId, state: SagaCachedState) -> Result<(), Failure> {
        let update = sqlx::query("UPDATE steno_saga SET state = $2 WHERE id = $1");
        update.bind(id.to_string()).bind(state.to_string()).execute(&self.pool).await?;
        Ok(())
    }
}

#[async_trait]
impl SecStore for Store {
    async fn saga_create(&self, saga: SagaCreateParams) -> Result<(), anyhow::Error> {
        let insert = sqlx::query("INSERT INTO steno_saga (id, dag, state) VALUES ($1, $2, $3)");
        let insert = insert.bind(saga.id.to_string()).bind(saga.dag.to_string()).bind(saga.state.to_string());
        insert.execute(&self.pool).await?;
        Ok(())
    }

    async fn record_event(&self, event: SagaNodeEvent) {
        while let Err(error) = self.record(&event).await {
            eprintln!("an event is not recorded yet: {error}");
            tokio::time::sleep(BETWEEN).await;
        }
    }

    async fn saga_update(&self, id: SagaId, update: SagaCachedState) {
        while let Err(error) = self.update(id, update).await {
            eprintln!("a state is not recorded yet: {error}");
            tokio::time::sleep(BETWEEN).await;
        }
    }
}
