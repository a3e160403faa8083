//! Who waits in this process for a saga that runs in this process.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

use super::Inner;
use super::saga::Saga;
use crate::id::SagaId;

/// Handles of sagas that were started here.
#[derive(Debug, Default)]
pub(crate) struct Watchers(Mutex<HashMap<SagaId, oneshot::Sender<Box<Saga>>>>);

impl Watchers {
    /// Whoever waits is to ask the journal.
    pub(crate) fn forget(&self, saga: SagaId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&saga);
    }

    /// The worker lets go of the saga, for whatever reason.
    pub(crate) fn settled(&self, saga: Box<Saga>) {
        let watcher = self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&saga.id);
        if let Some(watcher) = watcher {
            // The handle may have been dropped: nobody waits then.
            watcher.send(saga).ok();
        }
    }
}

/// What a handle waits for: the saga as it is when this worker lets go of it, if all of that is durable then.
pub(crate) struct Watch {
    inner: Arc<Inner>,
    saga: SagaId,
    news: oneshot::Receiver<Box<Saga>>,
    runs_here: bool,
}

impl Watch {
    /// Watches a saga before it is started. `runs_here` when no other worker may run it before there are news.
    pub(crate) fn new(inner: &Arc<Inner>, saga: SagaId, runs_here: bool) -> Self {
        let (sender, news) = oneshot::channel();
        inner.watchers.0.lock().unwrap_or_else(PoisonError::into_inner).insert(saga, sender);
        Self { inner: inner.clone(), saga, news, runs_here }
    }

    /// Whether there are certainly news here of what becomes of the saga, so that the journal need not be asked.
    pub(crate) fn runs_here(&self) -> bool {
        self.runs_here
    }

    /// The saga, if this worker runs it to its end.
    pub(crate) async fn ended(mut self) -> Option<Box<Saga>> {
        (&mut self.news).await.ok().filter(|saga| saga.state().direction().is_end())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if !self.news.is_terminated() {
            self.inner.watchers.forget(self.saga);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use crate::definition::Definition;
    use crate::engine::Engine;
    use crate::journal::MemoryJournal;
    use crate::step::step_fn;

    #[tokio::test]
    async fn of_a_saga_that_another_process_runs_nothing_is_kept_once_nobody_waits() {
        let same = step_fn(|_, n: i64| async move { Ok(n) });
        let definition = Definition::build("idle", 1, |saga, n| {
            let n = saga.query("same", same, n);
            saga.returns(n)
        });
        let definition = definition.unwrap();
        let client = Engine::builder(MemoryJournal::new()).register(&definition).client_only().open().await.unwrap();
        let watched = || client.inner.watchers.0.lock().unwrap().len();
        let saga = client.start(&definition, "a", 1).await.unwrap();
        let again = client.start(&definition, "a", 1).await.unwrap();
        assert_eq!(watched(), 1, "the second start has found the saga of the first");
        tokio::select! {
            biased;
            outcome = saga.outcome() => panic!("nobody runs it: {outcome:?}"),
            () = tokio::task::yield_now() => {}
        }
        assert_eq!(watched(), 0, "who has given up waiting asks the journal the next time");
        drop((saga, again));
        drop(client.start(&definition, "b", 1).await.unwrap());
        assert_eq!(watched(), 0);
    }
}
