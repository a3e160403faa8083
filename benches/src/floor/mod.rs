//! The floor: the same rows in the same transactions, and no engine. One queue gathers what has arrived, writers take
//! it in batches, each batch one transaction, and say so. What the machine can do.

mod postgres;
mod sqlite;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use saga_core::journal::{Journal as _, MemoryJournal};
use saga_core::{Engine, SagaId, SagaOutcome};
use tokio::sync::{Mutex, mpsc, oneshot};
use uuid::Uuid;

use crate::noop;

/// How what has arrived is written.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// How many transactions are under way at a time.
    pub writers: usize,
    /// How many rows one of them takes at most.
    pub batch_max: usize,
}

impl Pace {
    /// Whatever has arrived is one commit. More writers only make the batches smaller.
    pub const GROUP_COMMIT: Self = Self { writers: 2, batch_max: 1_000 };
    /// Each row is a commit of its own, as engines do it that do not share commits.
    pub const COMMIT_PER_STEP: Self = Self { writers: 16, batch_max: 1 };
}

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

/// Writes and their answers.
type Queue = Arc<Mutex<mpsc::UnboundedReceiver<(Write, oneshot::Sender<()>)>>>;

/// Writers without an engine.
#[derive(Clone, Debug)]
pub struct Floor {
    queue: mpsc::UnboundedSender<(Write, oneshot::Sender<()>)>,
    bodies: Arc<[Arc<str>]>,
    trips: Arc<AtomicU64>,
}

impl Floor {
    /// On Postgres: creates the tables if need be, and starts the writers for sagas of so many steps.
    ///
    /// # Errors
    /// When the database cannot be reached, or the engine that shows its rows fails.
    pub async fn on_postgres(url: &str, steps: usize, pace: Pace) -> Result<Self, Box<dyn std::error::Error>> {
        let (floor, items) = Self::new(steps).await?;
        for connection in postgres::connect(url, pace.writers).await? {
            tokio::spawn(postgres::write_all(connection, items.clone(), floor.trips.clone(), pace.batch_max));
        }
        Ok(floor)
    }

    /// In an SQLite file (write-ahead log, `synchronous=FULL`), which takes one writer at a time.
    ///
    /// # Errors
    /// When the file cannot be written, or the engine that shows its rows fails.
    pub async fn on_sqlite(file: &Path, steps: usize, pace: Pace) -> Result<Self, Box<dyn std::error::Error>> {
        let (floor, items) = Self::new(steps).await?;
        let connection = sqlite::connect(file).await?;
        tokio::spawn(sqlite::write_all(connection, items, floor.trips.clone(), pace.batch_max));
        Ok(floor)
    }

    async fn new(steps: usize) -> Result<(Self, Queue), Box<dyn std::error::Error>> {
        let (queue, items) = mpsc::unbounded_channel();
        let floor = Self { queue, bodies: bodies(steps).await?, trips: Arc::default() };
        Ok((floor, Arc::new(Mutex::new(items))))
    }

    /// Counts the transactions.
    #[must_use]
    pub fn trips(&self) -> Arc<AtomicU64> {
        self.trips.clone()
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
            self.queue.send((write, reply)).map_err(|_| "the writers are gone".to_owned())?;
            durable.await.map_err(|_| "a batch failed".to_owned())?;
        }
        Ok(())
    }
}

/// The next batch, as soon as there is one; none when nobody can send any more.
async fn next_batch(items: &Queue, batch_max: usize) -> Option<(Vec<Write>, Vec<oneshot::Sender<()>>)> {
    let mut batch = Vec::new();
    match items.lock().await.recv_many(&mut batch, batch_max).await {
        0 => None,
        _ => Some(batch.into_iter().unzip()),
    }
}

/// Tells the callers. Those whose batch failed are told by their dropped replies.
fn answer(replies: Vec<oneshot::Sender<()>>, trips: &AtomicU64) {
    trips.fetch_add(1, Ordering::Relaxed);
    for reply in replies {
        reply.send(()).ok();
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
