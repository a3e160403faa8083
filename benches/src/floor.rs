//! The floor: the same rows in the same transactions, and no engine. One queue gathers what has arrived, two
//! connections write it, each batch as one statement, and say so.
//!
//! Rows: a saga inserted, a row for each turn with the engine's own body, the saga finished by an update, and
//! the lease's row held in each batch. The plan is pinned to the primary keys.

use std::sync::Arc;

use saga_core::SagaId;
use saga_core::journal::{Journal as _, MemoryJournal};
use saga_core::{Engine, SagaOutcome};
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, Executor as _, PgConnection};
use tokio::sync::{Mutex, mpsc, oneshot};
use uuid::Uuid;

use crate::noop;

const SCHEMA: &str = "
    CREATE SCHEMA floor;
    CREATE TABLE floor.lease (epoch bigint PRIMARY KEY, fenced_at timestamptz);
    CREATE TABLE floor.saga (saga_id uuid PRIMARY KEY, definition text NOT NULL, key text NOT NULL,
        created_at timestamptz NOT NULL, ended smallint, UNIQUE (definition, key)) WITH (fillfactor = 80);
    CREATE TABLE floor.turn (saga_id uuid NOT NULL, seq integer NOT NULL, epoch bigint NOT NULL,
        nonce bigint NOT NULL, at timestamptz NOT NULL, body text NOT NULL, PRIMARY KEY (saga_id, seq));
    INSERT INTO floor.lease VALUES (1)";

const WRITE: &str = "
    WITH held AS (SELECT 1 FROM floor.lease WHERE epoch = 1 AND fenced_at IS NULL FOR KEY SHARE),
    begun AS (INSERT INTO floor.saga (saga_id, definition, key, created_at)
        SELECT saga, 'noop', key, clock_timestamp() FROM unnest($1::uuid[], $2::text[]) AS b(saga, key)),
    written AS (INSERT INTO floor.turn (saga_id, seq, epoch, nonce, at, body)
        SELECT saga, seq, 1, nonce, clock_timestamp(), body
        FROM unnest($3::uuid[], $4::integer[], $5::bigint[], $6::text[]) AS t(saga, seq, nonce, body)),
    ended AS (UPDATE floor.saga s SET ended = 1 FROM unnest($7::uuid[]) AS e(saga) WHERE s.saga_id = e.saga)
    SELECT count(*) FROM held";

/// How many statements are under way at a time: more make the batches smaller.
const WRITERS: usize = 2;
const BATCH_MAX: usize = 1_000;

/// One row to write, and what goes with it.
#[derive(Debug)]
struct Write {
    saga: Uuid,
    seq: i32,
    /// With the first turn: the key.
    begins: Option<String>,
    ends: bool,
    body: Arc<str>,
}

type Queue = mpsc::Receiver<(Write, oneshot::Sender<()>)>;

/// Writers without an engine.
#[derive(Clone, Debug)]
pub struct Floor {
    queue: mpsc::Sender<(Write, oneshot::Sender<()>)>,
    bodies: Arc<[Arc<str>]>,
}

impl Floor {
    /// Creates the tables if need be, and starts the writers for sagas of so many steps.
    ///
    /// # Errors
    /// When the database cannot be reached, or the engine that shows its rows fails.
    pub async fn open(url: &str, steps: usize) -> Result<Self, Box<dyn std::error::Error>> {
        let mut connection = PgConnection::connect(url).await?;
        let there: bool =
            sqlx::query_scalar("SELECT to_regnamespace('floor') IS NOT NULL").fetch_one(&mut connection).await?;
        if !there {
            connection.execute(SCHEMA).await?;
        }
        let (queue, items) = mpsc::channel(2 * BATCH_MAX);
        let items = Arc::new(Mutex::new(items));
        let pinned = [("enable_seqscan", "off"), ("enable_hashjoin", "off"), ("enable_mergejoin", "off")];
        let options = url.parse::<PgConnectOptions>()?.options(pinned);
        for _ in 0..WRITERS {
            tokio::spawn(write_all(PgConnection::connect_with(&options).await?, items.clone()));
        }
        Ok(Self { queue, bodies: bodies(steps).await? })
    }

    /// One saga: each of its rows is durable before the next is written.
    ///
    /// # Errors
    /// When the writers are gone.
    pub async fn saga(&self, key: String) -> Result<(), String> {
        let (saga, last) = (SagaId::new().as_uuid(), self.bodies.len() - 1);
        let mut key = Some(key);
        for (nth, body) in self.bodies.iter().enumerate() {
            let seq = i32::try_from(nth).map_err(|error| error.to_string())?;
            let write = Write { saga, seq, begins: key.take(), ends: nth == last, body: body.clone() };
            let (reply, durable) = oneshot::channel();
            self.queue.send((write, reply)).await.map_err(|_| "the writers are gone".to_owned())?;
            durable.await.map_err(|_| "a batch failed".to_owned())?;
        }
        Ok(())
    }
}

async fn write_all(mut connection: PgConnection, items: Arc<Mutex<Queue>>) {
    let mut batch = Vec::new();
    loop {
        if items.lock().await.recv_many(&mut batch, BATCH_MAX).await == 0 {
            return;
        }
        let (writes, replies): (Vec<Write>, Vec<_>) = batch.drain(..).unzip();
        let begun: (Vec<Uuid>, Vec<String>) =
            writes.iter().filter_map(|write| Some((write.saga, write.begins.clone()?))).unzip();
        let query = sqlx::query(WRITE)
            .bind(begun.0)
            .bind(begun.1)
            .bind(writes.iter().map(|write| write.saga).collect::<Vec<_>>())
            .bind(writes.iter().map(|write| write.seq).collect::<Vec<_>>())
            .bind(writes.iter().map(|write| i64::from(write.seq)).collect::<Vec<_>>())
            .bind(writes.iter().map(|write| &*write.body).collect::<Vec<_>>())
            .bind(writes.iter().filter(|write| write.ends).map(|write| write.saga).collect::<Vec<_>>());
        // Dropped replies tell the callers.
        if query.execute(&mut connection).await.is_ok() {
            for reply in replies {
                reply.send(()).ok();
            }
        }
    }
}

/// What the engine writes for a saga of so many steps.
async fn bodies(steps: usize) -> Result<Arc<[Arc<str>]>, Box<dyn std::error::Error>> {
    let (journal, definition) = (MemoryJournal::new(), noop(steps)?);
    let engine = Engine::builder(journal.clone()).register(&definition).open().await?;
    let saga = engine.start(&definition, "bodies", String::new()).await?;
    let SagaOutcome::Completed(_) = saga.outcome().await? else { return Err("a saga that does nothing failed".into()) };
    let histories = journal.load(&[saga.id()]).await?;
    let turns = histories.first().map(|history| history.turns.iter().map(|turn| turn.body.as_str().into()).collect());
    turns.ok_or_else(|| "the saga left no history".into())
}
