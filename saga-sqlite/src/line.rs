//! Group commit: starts and appends that come while another write is under way share one transaction.
//!
//! Whoever gets the connection next writes all that waits in line. There is no task, so a journal works in whatever
//! runtime its callers have. Sharing is only ever a short cut: where it fails, each caller writes by itself.

use std::sync::{Mutex, PoisonError};

use saga_core::journal::{Appended, JournalError, Lease, NewSaga, StartReceipt, Turn};
use sqlx::SqliteConnection;
use tokio::sync::oneshot;

use crate::append::append;
use crate::connection::{Slot, Taken};
use crate::start::start;

/// What waits to be written.
#[derive(Debug, Default)]
pub(crate) struct Line(Mutex<Vec<Job>>);

/// The answers to an append, and whether there is work now for a worker who waits for some.
pub(crate) type Appends = (Vec<Appended>, bool);

#[derive(Debug)]
pub(crate) enum Job {
    Start { lease: Option<Lease>, sagas: Vec<NewSaga>, reply: oneshot::Sender<Vec<StartReceipt>> },
    Append { lease: Lease, turns: Vec<Turn>, reply: oneshot::Sender<Appends> },
}

/// A job within a transaction that has not been committed yet.
enum Done {
    Started(oneshot::Sender<Vec<StartReceipt>>, Vec<StartReceipt>),
    Appended(oneshot::Sender<Appends>, Appends),
}

impl Line {
    /// Waits in line, and writes what waits when it is the first to get the connection. None when the caller has to
    /// write by itself: a job that shared its transaction failed, or whoever wrote gave up. Nothing is known then of
    /// what became of the job; to send it again is safe.
    pub(crate) async fn share<T>(
        &self,
        slot: &Slot,
        doing: &'static str,
        job: impl FnOnce(oneshot::Sender<T>) -> Job,
    ) -> Result<Option<T>, JournalError> {
        let (reply, mut answer) = oneshot::channel();
        self.jobs().push(job(reply));
        tokio::select! {
            // Looked at first: who was written by another has nothing to do with the connection.
            biased;
            answered = &mut answer => return Ok(answered.ok()),
            writing = slot.write(doing) => self.write(writing?).await,
        }
        Ok(answer.await.ok())
    }

    fn jobs(&self) -> std::sync::MutexGuard<'_, Vec<Job>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes all that waits, in one transaction.
    async fn write(&self, mut writing: Taken<'_>) {
        let mut jobs = std::mem::take(&mut *self.jobs());
        jobs.retain(|job| !job.is_abandoned());
        let mut done = Vec::with_capacity(jobs.len());
        for job in jobs {
            match job.run(writing.get()).await {
                Ok(answer) => done.push(answer),
                // Each of them writes by itself, and the one that fails learns why: the replies are dropped.
                Err(error) => return drop(writing.end::<()>(Err(error)).await),
            }
        }
        // Who waits for the connection finds the answer before it gets it.
        if writing.commit().await.is_ok() {
            done.into_iter().for_each(Done::tell);
            writing.put_back(Ok(())).ok();
        }
    }
}

impl Job {
    /// Whether nobody waits for the answer any more.
    fn is_abandoned(&self) -> bool {
        match self {
            Self::Start { reply, .. } => reply.is_closed(),
            Self::Append { reply, .. } => reply.is_closed(),
        }
    }

    async fn run(self, connection: &mut SqliteConnection) -> Result<Done, JournalError> {
        Ok(match self {
            Self::Start { lease, sagas, reply } => Done::Started(reply, start(connection, lease, &sagas).await?),
            Self::Append { lease, turns, reply } => Done::Appended(reply, append(connection, lease, &turns).await?),
        })
    }
}

impl Done {
    /// Whoever asked may have gone; it is written all the same.
    fn tell(self) {
        match self {
            Self::Started(reply, receipts) => drop(reply.send(receipts)),
            Self::Appended(reply, answers) => drop(reply.send(answers)),
        }
    }
}
