//! The journal's own connections. A call takes one out and puts it back only after it has finished
//! cleanly; whatever else happens, the connection is dropped and the server rolls back. So a cancelled
//! call can leave no open transaction behind.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use saga_core::Epoch;
use saga_core::journal::JournalError;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, Executor as _, PgConnection};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::debug;

use crate::error::Failure;

/// How often a transaction that lost against another one is run again at once.
const AGAIN_MAX: u32 = 8;

/// Where connections come from: asked anew for each, so that a rotated password is picked up.
pub(crate) type Source = Arc<dyn Fn() -> PgConnectOptions + Send + Sync>;

pub(crate) type Call<'c, T> = Pin<Box<dyn Future<Output = Result<T, sqlx::Error>> + Send + 'c>>;

/// What becomes of an answer that was lost with a connection that had been idle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Loss {
    /// The call is repeated, over a fresh connection.
    Repaired,
    /// The caller is told.
    Told,
}

/// A few connections for one kind of call.
pub(crate) struct Lane {
    source: Source,
    idle: Mutex<Vec<PgConnection>>,
    slots: Arc<Semaphore>,
    /// Wrap each call in a transaction, so that it stays on one server connection of a proxy.
    pooling: bool,
    /// After this time a call that hangs is given up, and its connection with it.
    call_timeout: Duration,
}

impl Lane {
    pub(crate) fn new(source: Source, connections: usize, pooling: bool, call_timeout: Duration) -> Self {
        let slots = Arc::new(Semaphore::new(connections.max(1)));
        Self { source, idle: Mutex::new(Vec::new()), slots, pooling, call_timeout }
    }

    /// Runs the call on a connection of the lane. All calls can be repeated (promise J7), so what is
    /// known to have left nothing, or failed on a connection that had been idle, is repeated here.
    pub(crate) async fn call<T: Send>(
        &self,
        doing: &'static str,
        epoch: Option<Epoch>,
        call: impl for<'c> Fn(&'c mut PgConnection) -> Call<'c, T> + Send + Sync,
    ) -> Result<T, JournalError> {
        self.attempt(doing, call).await.map_err(|failure| failure.into_journal_error(doing, epoch))
    }

    /// As [`Lane::call`], for a call whose second answer does not tell what the first one did: the caller learns
    /// of a lost answer.
    pub(crate) async fn call_telling_loss<T: Send>(
        &self,
        doing: &'static str,
        epoch: Option<Epoch>,
        call: impl for<'c> Fn(&'c mut PgConnection) -> Call<'c, T> + Send + Sync,
    ) -> Result<T, JournalError> {
        let done = self.attempt_as(doing, Loss::Told, call).await;
        done.map_err(|failure| failure.into_journal_error(doing, epoch))
    }

    /// As [`Lane::call`], with the failure as it is.
    pub(crate) async fn attempt<T: Send>(
        &self,
        doing: &'static str,
        call: impl for<'c> Fn(&'c mut PgConnection) -> Call<'c, T> + Send + Sync,
    ) -> Result<T, Failure> {
        self.attempt_as(doing, Loss::Repaired, call).await
    }

    async fn attempt_as<T: Send>(
        &self,
        doing: &'static str,
        loss: Loss,
        call: impl for<'c> Fn(&'c mut PgConnection) -> Call<'c, T> + Send + Sync,
    ) -> Result<T, Failure> {
        let mut again = 0;
        loop {
            let (mut connection, was_idle) = self.take().await?;
            let running = self.run(connection.get(), &call);
            let failure = match tokio::time::timeout(self.call_timeout, running).await {
                Ok(Ok(answer)) => {
                    connection.put_back();
                    return Ok(answer);
                }
                Ok(Err(error)) => Failure::from(error),
                Err(_) => Failure::Broken(sqlx::Error::Io(std::io::Error::new(
                    std::io::ErrorKind::TimedOut,
                    format!("no answer within {} ms", self.call_timeout.as_millis()),
                ))),
            };
            // In a transaction of its own the failed call has been rolled back by dropping it.
            if failure.keeps_connection() && !self.pooling {
                connection.put_back();
            }
            let retry = match &failure {
                Failure::Again(_) => again < AGAIN_MAX,
                // The server was restarted while the connection lay idle: a fresh one may do.
                Failure::Broken(_) => loss == Loss::Repaired && was_idle && again == 0,
                Failure::Fenced | Failure::Unread(_) | Failure::Busy(_) | Failure::Refused(_) => false,
            };
            if !retry {
                return Err(failure);
            }
            debug!(doing, ?failure, again, "running the call again");
            again += 1;
        }
    }

    async fn run<T: Send>(
        &self,
        connection: &mut PgConnection,
        call: &(impl for<'c> Fn(&'c mut PgConnection) -> Call<'c, T> + Send + Sync),
    ) -> Result<T, sqlx::Error> {
        if !self.pooling {
            return call(connection).await;
        }
        connection.execute("BEGIN").await?;
        let answer = call(&mut *connection).await?;
        connection.execute("COMMIT").await?;
        Ok(answer)
    }

    /// A connection, and whether it had been used before.
    async fn take(&self) -> Result<(Taken<'_>, bool), Failure> {
        let slot = self.slots.clone().acquire_owned().await;
        let slot = slot.map_err(|_| Failure::Broken(sqlx::Error::PoolClosed))?;
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let was_idle = idle.is_some();
        let connection = match idle {
            Some(connection) => connection,
            None => {
                let connecting = (self.source)();
                let connected = tokio::time::timeout(self.call_timeout, connecting.connect()).await;
                connected.map_err(|_| Failure::Broken(sqlx::Error::PoolTimedOut))??
            }
        };
        Ok((Taken { lane: self, connection: Some(connection), _slot: slot }, was_idle))
    }

    /// Closes the idle connections politely.
    pub(crate) async fn close(&self) {
        let idle = std::mem::take(&mut *self.idle.lock().unwrap_or_else(PoisonError::into_inner));
        for connection in idle {
            if let Err(error) = connection.close().await {
                debug!(%error, "a connection was not closed politely");
            }
        }
    }
}

impl std::fmt::Debug for Lane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lane").field("free", &self.slots.available_permits()).finish_non_exhaustive()
    }
}

/// A connection in use. Dropped without `put_back`, it is closed.
struct Taken<'l> {
    lane: &'l Lane,
    connection: Option<PgConnection>,
    _slot: OwnedSemaphorePermit,
}

impl Taken<'_> {
    #[expect(clippy::expect_used, reason = "taken only by put_back, which consumes self")]
    fn get(&mut self) -> &mut PgConnection {
        self.connection.as_mut().expect("the connection is there until it is put back")
    }

    fn put_back(mut self) {
        if let Some(connection) = self.connection.take() {
            self.lane.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        }
    }
}
