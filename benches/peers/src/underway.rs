//! `underway`. A job of typed steps as in its README; its worker with `set_concurrency_limit(32)`, the example of
//! that method (its default is the number of cores), and a pool of connections for so many at once.
//!
//! Two things are done for it that its documents do not show, as it would not finish a measurement otherwise. In
//! 0.2.0 a job remembers the step that any of its runs reached last, and the next `enqueue` starts there: here each
//! saga is enqueued through a job of its own on the same queue. And nothing tells when a job is done: here the last
//! step tells, which is before its own commit, in underway's favour. What the last step leaves is not stored either.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgPoolOptions;
use tokio::sync::oneshot;
use underway::job::Context;
use underway::{Job, Queue, To};

use crate::RESULT;
use crate::engine::{Engine, Failure};

/// Tasks at once, and so transactions.
const TASKS: usize = 32;
/// Two for each task (the transaction, the heartbeat), and some for listening and starting.
const CONNECTIONS: u32 = 80;

/// Who waits, by the saga's key.
type Waiting = Arc<Mutex<HashMap<String, oneshot::Sender<()>>>>;

/// What goes from step to step.
#[derive(Deserialize, Serialize)]
struct Saga {
    key: String,
    last: String,
}

pub struct Underway {
    steps: usize,
    queue: Queue<Job<Saga, Waiting>>,
    waiting: Waiting,
}

impl Underway {
    pub async fn open(url: &str, steps: usize) -> Result<Self, Failure> {
        if steps < 2 {
            return Err("a job of one step has no result".into());
        }
        let pool = PgPoolOptions::new().max_connections(CONNECTIONS).connect(url).await?;
        underway::run_migrations(&pool).await?;
        let queue = Queue::builder().name("noop").pool(pool).build().await?;
        let peer = Self { steps, queue, waiting: Waiting::default() };
        let mut worker = peer.job().worker();
        worker.set_concurrency_limit(TASKS);
        tokio::spawn(async move {
            if let Err(error) = worker.run().await {
                eprintln!("the worker ended: {error}");
            }
        });
        Ok(peer)
    }

    fn job(&self) -> Job<Saga, Waiting> {
        let mut job = Job::<Saga, Waiting>::builder().state(self.waiting.clone()).step(step);
        for _ in 2..self.steps {
            job = job.step(step);
        }
        job.step(last).queue(self.queue.clone()).build()
    }
}

async fn step(_cx: Context<Waiting>, saga: Saga) -> underway::task::Result<To<Saga>> {
    To::next(Saga { key: saga.key, last: RESULT.to_owned() })
}

async fn last(cx: Context<Waiting>, saga: Saga) -> underway::task::Result<To<()>> {
    if let Some(waiting) = cx.state.lock().unwrap_or_else(PoisonError::into_inner).remove(&saga.key) {
        waiting.send(()).ok();
    }
    To::done()
}

#[async_trait]
impl Engine for Underway {
    async fn saga(&self, key: String) -> Result<(), Failure> {
        let (ends, ended) = oneshot::channel();
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone(), ends);
        self.job().enqueue(&Saga { key, last: String::new() }).await?;
        Ok(ended.await?)
    }
}
