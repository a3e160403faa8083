//! Wake-ups across processes. Correctness never depends on them: when LISTEN does not work, workers
//! find their sagas at the poll interval.

use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::{PgListener, PgPoolOptions};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tracing::debug;

use crate::connections::Source;

/// How long the listener waits before it connects again.
const RECONNECT: Duration = Duration::from_secs(2);

/// Listens in a task of its own, which ends with this value.
#[derive(Debug)]
pub(crate) struct Listener {
    work: Arc<Notify>,
    task: JoinHandle<()>,
}

impl Listener {
    pub(crate) fn spawn(source: Source, channel: String) -> Self {
        let work = Arc::new(Notify::new());
        let task = tokio::spawn(listen(source, channel, work.clone()));
        Self { work, task }
    }

    /// Returns when somebody may have left work.
    pub(crate) async fn notified(&self) {
        self.work.notified().await;
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn listen(source: Source, channel: String, work: Arc<Notify>) {
    loop {
        if let Err(error) = listen_once(&source, &channel, &work).await {
            debug!(%error, "not listening for wake-ups; connecting again");
        }
        tokio::time::sleep(RECONNECT).await;
    }
}

async fn listen_once(source: &Source, channel: &str, work: &Notify) -> Result<(), sqlx::Error> {
    let pool = PgPoolOptions::new().max_connections(1).connect_lazy_with(source());
    let mut listener = PgListener::connect_with(&pool).await?;
    listener.ignore_pool_close_event(true);
    listener.listen(channel).await?;
    // Something may have come before we listened.
    work.notify_one();
    while listener.try_recv().await?.is_some() {
        work.notify_one();
    }
    Ok(())
}
