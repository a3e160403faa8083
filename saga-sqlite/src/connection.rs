//! A connection that a call takes out while it runs, and puts back only after it has finished
//! cleanly. A dropped call drops its connection with it, and SQLite rolls back.

use std::time::{Duration, Instant};

use saga_core::journal::JournalError;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Executor as _, SqliteConnection};
use tokio::sync::{Mutex, MutexGuard};

use crate::error::journal_error;

/// How long a call waits while another process writes.
pub(crate) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
const BUSY_PAUSE: Duration = Duration::from_millis(5);

/// The place of one connection. One call at a time uses it.
pub(crate) struct Slot {
    options: SqliteConnectOptions,
    connection: Mutex<Option<SqliteConnection>>,
}

impl Slot {
    pub(crate) fn new(options: SqliteConnectOptions) -> Self {
        Self { options, connection: Mutex::new(None) }
    }

    /// Takes the connection out, to read.
    pub(crate) async fn read(&self, doing: &'static str) -> Result<Taken<'_>, JournalError> {
        let mut place = self.connection.lock().await;
        let connection = match place.take() {
            Some(connection) => connection,
            None => self.connect(doing).await?,
        };
        Ok(Taken { place, connection, doing })
    }

    /// Connecting sets the file's journal mode, and while several do so on a new file SQLite turns all
    /// but one away at once, whatever their busy time-out.
    async fn connect(&self, doing: &'static str) -> Result<SqliteConnection, JournalError> {
        let began = Instant::now();
        loop {
            match self.options.connect().await.map_err(journal_error(doing)) {
                Err(error) if error.is_unavailable() && began.elapsed() < BUSY_TIMEOUT => {
                    tokio::time::sleep(BUSY_PAUSE).await;
                }
                connected => return connected,
            }
        }
    }

    /// Whether nobody uses the connection.
    pub(crate) fn is_free(&self) -> bool {
        self.connection.try_lock().is_ok()
    }

    /// Takes the connection out, and begins a transaction that holds the write lock from its beginning.
    pub(crate) async fn write(&self, doing: &'static str) -> Result<Taken<'_>, JournalError> {
        let mut taken = self.read(doing).await?;
        taken.connection.execute("BEGIN IMMEDIATE").await.map_err(journal_error(doing))?;
        Ok(taken)
    }
}

impl std::fmt::Debug for Slot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Slot")
    }
}

/// A connection in use. Dropped, it is closed, and what it had begun is rolled back.
pub(crate) struct Taken<'s> {
    place: MutexGuard<'s, Option<SqliteConnection>>,
    connection: SqliteConnection,
    doing: &'static str,
}

impl Taken<'_> {
    pub(crate) fn get(&mut self) -> &mut SqliteConnection {
        &mut self.connection
    }

    /// Puts the connection back, if the reading went well.
    pub(crate) fn put_back<T>(self, answer: Result<T, JournalError>) -> Result<T, JournalError> {
        let Self { mut place, connection, .. } = self;
        if answer.is_ok() {
            *place = Some(connection);
        }
        answer
    }

    /// Commits; the connection stays out. After an error it must not be put back: nobody knows what was written.
    pub(crate) async fn commit(&mut self) -> Result<(), JournalError> {
        self.connection.execute("COMMIT").await.map_err(journal_error(self.doing)).map(drop)
    }

    /// Commits what went well, and takes back what did not: after an error nothing of it remains.
    pub(crate) async fn end<T>(mut self, answer: Result<T, JournalError>) -> Result<T, JournalError> {
        match answer {
            Ok(_) => {
                self.commit().await?;
                self.put_back(answer)
            }
            Err(error) => {
                // If even this fails the connection is dropped, which rolls back as well.
                if self.connection.execute("ROLLBACK").await.is_ok() {
                    self.put_back(Ok(())).ok();
                }
                Err(error)
            }
        }
    }
}
