//! Group commit: items that arrive while a commit is under way share the next one.

use std::future::Future;
use std::sync::Arc;

use tokio::sync::{Mutex, mpsc, oneshot};

/// How many commits are in flight at once: two keep the database busy while one batch gathers;
/// more only make the batches smaller.
const LANES: usize = 2;

/// Gathers items into batches and hands each item its own answer.
///
/// There is no artificial delay: a lone item is flushed at once, and a batch is whatever has arrived
/// while both lanes were busy. The lanes are tasks that nobody aborts: whoever submits may go away,
/// what was submitted is still written.
#[derive(Debug)]
pub(crate) struct Batcher<I, O> {
    queue: mpsc::UnboundedSender<(I, oneshot::Sender<O>)>,
}

impl<I: Send + 'static, O: Send + 'static> Batcher<I, O> {
    /// Starts the lanes. `flush` answers each item of a batch, in order.
    pub(crate) fn spawn<F, Fut>(batch_max: usize, flush: F) -> Self
    where
        F: Fn(Vec<I>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Vec<O>> + Send + 'static,
    {
        let (queue, items) = mpsc::unbounded_channel();
        let (items, flush) = (Arc::new(Mutex::new(items)), Arc::new(flush));
        for _ in 0..LANES {
            tokio::spawn(lane(items.clone(), flush.clone(), batch_max));
        }
        Self { queue }
    }

    /// Queues the item at once, whether or not the answer is waited for; an error for an answer says that the
    /// lanes are gone.
    ///
    /// There is no bound of its own: a saga has one turn on its way, and the sagas in flight are bounded.
    pub(crate) fn submit(&self, item: I) -> oneshot::Receiver<O> {
        let (reply, answer) = oneshot::channel();
        // Gone with the reply: the answer is an error.
        self.queue.send((item, reply)).ok();
        answer
    }
}

/// What has been submitted, shared by the lanes.
type Queue<I, O> = Mutex<mpsc::UnboundedReceiver<(I, oneshot::Sender<O>)>>;

async fn lane<I, O, F, Fut>(items: Arc<Queue<I, O>>, flush: Arc<F>, batch_max: usize)
where
    F: Fn(Vec<I>) -> Fut,
    Fut: Future<Output = Vec<O>>,
{
    loop {
        let mut batch = Vec::new();
        if items.lock().await.recv_many(&mut batch, batch_max).await == 0 {
            return;
        }
        let (batch, replies): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
        for (reply, answer) in replies.into_iter().zip(flush(batch).await) {
            // Whoever asked may have gone; what was asked for is done all the same.
            reply.send(answer).ok();
        }
    }
}
