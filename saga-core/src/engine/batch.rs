//! Group commit: items that arrive while a commit is under way share the next one.

use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

/// How many commits are in flight at once: two keep the database busy while a third batch gathers;
/// more only make the batches smaller.
const AT_ONCE: usize = 2;
/// How far apart commits begin, at least, unless one carries as much as the one before. Each costs the same whatever it
/// carries, and where turns come one by one and often, two of them wait for a third. A lone saga never waits.
const APART: Duration = Duration::from_millis(2);
/// A commit that takes longer than this is not waited for: something is wrong with it, and perhaps not with the next.
const PATIENCE: Duration = Duration::from_millis(100);

/// Gathers items into batches and hands each item its own answer.
///
/// A lone item is flushed at once, and a batch is whatever has arrived while there was nothing to begin. The task
/// that writes is one that nobody aborts: whoever submits may go away, what was submitted is still written.
#[derive(Debug)]
pub(crate) struct Batcher<I, O> {
    queue: Arc<Queue<I, O>>,
}

/// What waits to be written.
#[derive(Debug)]
struct Queue<I, O> {
    waiting: Mutex<Waiting<I, O>>,
    /// Tells the task that writes.
    enough: Notify,
}

#[derive(Debug)]
struct Waiting<I, O> {
    batch: Batch<I, O>,
    /// How many items must wait before the task that writes has something to do. (Were it always woken for each, it would
    /// run as often as all sagas together.)
    wanted: usize,
    /// Nobody can submit any more.
    closed: bool,
    /// The task that writes is gone, with the runtime that it ran on.
    gone: bool,
}

/// Items that share a commit. Its room serves again: a batch of turns is so large that an allocator would hand it back
/// to the system, and fetch it anew, for each commit.
#[derive(Debug)]
struct Batch<I, O> {
    items: Vec<I>,
    replies: Vec<oneshot::Sender<O>>,
}

impl<I, O> Batch<I, O> {
    const fn new() -> Self {
        Self { items: Vec::new(), replies: Vec::new() }
    }

    fn len(&self) -> usize {
        self.items.len()
    }

    /// What came first, as far as one commit can carry it; what is left stays in `room`.
    fn take(&mut self, batch_max: usize, mut room: Self) -> Self {
        let most = self.len().min(batch_max);
        room.items.extend(self.items.drain(most..));
        room.replies.extend(self.replies.drain(most..));
        std::mem::replace(self, room)
    }
}

impl<I: Send + 'static, O: Send + 'static> Batcher<I, O> {
    /// Starts to gather. `flush` answers each item of a batch, in order, and gives the items back.
    pub(crate) fn spawn<F, Fut>(batch_max: usize, flush: F) -> Self
    where
        F: Fn(Vec<I>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = (Vec<I>, Vec<O>)> + Send + 'static,
    {
        let waiting = Mutex::new(Waiting { batch: Batch::new(), wanted: 1, closed: false, gone: false });
        let queue = Arc::new(Queue { waiting, enough: Notify::new() });
        tokio::spawn(gather(Writer(queue.clone()), flush, batch_max.max(1)));
        Self { queue }
    }

    /// Queues the item at once, whether or not the answer is waited for; an error for an answer says that the
    /// task is gone.
    ///
    /// There is no bound of its own: a saga has one turn on its way, and the sagas in flight are bounded.
    pub(crate) fn submit(&self, item: I) -> oneshot::Receiver<O> {
        let (reply, answer) = oneshot::channel();
        let mut waiting = self.queue.lock();
        if waiting.gone {
            return answer;
        }
        waiting.batch.items.push(item);
        waiting.batch.replies.push(reply);
        if waiting.batch.len() == waiting.wanted {
            drop(waiting);
            self.queue.enough.notify_one();
        }
        answer
    }
}

impl<I, O> Drop for Batcher<I, O> {
    fn drop(&mut self) {
        self.queue.lock().closed = true;
        self.queue.enough.notify_one();
    }
}

impl<I, O> Queue<I, O> {
    fn lock(&self) -> MutexGuard<'_, Waiting<I, O>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The task that writes. Whatever waits when it goes is told that nobody will write it.
struct Writer<I, O>(Arc<Queue<I, O>>);

impl<I, O> Drop for Writer<I, O> {
    fn drop(&mut self) {
        let left = {
            let mut waiting = self.0.lock();
            waiting.gone = true;
            std::mem::replace(&mut waiting.batch, Batch::new())
        };
        drop(left);
    }
}

/// Writes what arrives, for as long as somebody can submit.
async fn gather<I, O, F, Fut>(writer: Writer<I, O>, flush: F, batch_max: usize)
where
    F: Fn(Vec<I>) -> Fut,
    Fut: Future<Output = (Vec<I>, Vec<O>)>,
{
    let mut flights = FuturesUnordered::new();
    // How many items are being written; how many the last commit carried, and when it began.
    let (mut flying, mut last, mut began) = (0, 0, Instant::now());
    let mut spare = Vec::new();
    loop {
        let (since, may_begin) = (began.elapsed(), flights.len() < AT_ONCE);
        let held_back = {
            let mut waiting = writer.0.lock();
            let (count, enough) = (waiting.batch.len(), worth_it(flying, last, since).min(batch_max));
            if may_begin && count >= enough {
                let batch = waiting.batch.take(batch_max, spare.pop().unwrap_or(Batch::new()));
                (last, began) = (batch.len(), Instant::now());
                flying += last;
                flights.push(write(batch, &flush));
                continue;
            }
            if waiting.closed && count == 0 && flights.is_empty() {
                return;
            }
            waiting.wanted = match may_begin {
                // The first one sets the timer; and whatever comes may find that its time has passed, which the timer,
                // that counts in milliseconds, tells later.
                true if count == 0 || since < APART => count + 1,
                true => enough,
                false => usize::MAX,
            };
            may_begin && count > 0
        };
        let look_at = began + if since < APART { APART } else { PATIENCE };
        tokio::select! {
            biased;
            Some((written, room)) = flights.next() => {
                flying -= written;
                spare.push(room);
            }
            () = writer.0.enough.notified() => {}
            () = tokio::time::sleep_until(look_at), if held_back => {}
        }
    }
}

/// How many items a commit must carry to be worth its cost, beside one that carries `flying` items, and so long after
/// one of `last` items began.
fn worth_it(flying: usize, last: usize, since: Duration) -> usize {
    let apart = if since >= APART { 1 } else { last };
    let beside = if since >= PATIENCE { 1 } else { flying };
    apart.max(beside).max(1)
}

/// Writes a batch and hands out the answers. Tells how many items there were, and gives back the room.
async fn write<I, O, F, Fut>(batch: Batch<I, O>, flush: &F) -> (usize, Batch<I, O>)
where
    F: Fn(Vec<I>) -> Fut,
    Fut: Future<Output = (Vec<I>, Vec<O>)>,
{
    let Batch { items, mut replies } = batch;
    let size = items.len();
    let (mut items, answers) = flush(items).await;
    for (reply, answer) in replies.drain(..).zip(answers) {
        // Whoever asked may have gone; what was asked for is done all the same.
        reply.send(answer).ok();
    }
    items.clear();
    (size, Batch { items, replies })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What each commit carried, and when it began.
    type Commits = Arc<Mutex<Vec<(Vec<u32>, u64)>>>;

    /// Commits that take so many milliseconds each.
    fn taking(times: &[u64]) -> (Batcher<u32, u32>, Commits) {
        of_at_most(100, times)
    }

    fn of_at_most(batch_max: usize, times: &[u64]) -> (Batcher<u32, u32>, Commits) {
        let (written, times, opened) = (Commits::default(), times.to_vec(), Instant::now());
        let seen = written.clone();
        let batcher = Batcher::spawn(batch_max, move |items: Vec<u32>| {
            let mut seen = seen.lock().unwrap();
            let millis = times.get(seen.len()).copied().unwrap_or(1);
            seen.push((items.clone(), u64::try_from(opened.elapsed().as_millis()).unwrap()));
            async move {
                tokio::time::sleep(Duration::from_millis(millis)).await;
                (items.clone(), items)
            }
        });
        (batcher, written)
    }

    async fn answered(receipts: Vec<oneshot::Receiver<u32>>) {
        for (receipt, item) in receipts.into_iter().zip(0..) {
            assert_eq!(receipt.await, Ok(item));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_lone_item_is_written_at_once_and_a_second_one_beside_it() {
        let (batcher, written) = taking(&[10, 10]);
        let first = batcher.submit(0);
        tokio::time::sleep(Duration::from_millis(2)).await;
        answered(vec![first, batcher.submit(1)]).await;
        assert_eq!(*written.lock().unwrap(), [(vec![0], 0), (vec![1], 2)]);
    }

    #[tokio::test(start_paused = true)]
    async fn beside_a_full_commit_a_second_one_begins_once_it_carries_as_much() {
        let (batcher, written) = taking(&[50, 50]);
        let mut receipts: Vec<_> = (0..4).map(|item| batcher.submit(item)).collect();
        for item in 4..12 {
            tokio::time::sleep(Duration::from_millis(1)).await;
            receipts.push(batcher.submit(item));
        }
        answered(receipts).await;
        let carried = |batch: &(Vec<u32>, u64)| (batch.0.len(), batch.1);
        let written: Vec<_> = written.lock().unwrap().iter().map(carried).collect();
        // Two are under way then: the rest waits for the first of them.
        assert_eq!(written, [(4, 0), (4, 4), (4, 50)]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_smaller_commit_waits_a_little_for_more() {
        let (batcher, written) = taking(&[1, 1]);
        let mut receipts: Vec<_> = (0..4).map(|item| batcher.submit(item)).collect();
        tokio::time::sleep(Duration::from_millis(1)).await;
        for item in 4..6 {
            receipts.push(batcher.submit(item));
            tokio::task::yield_now().await;
        }
        answered(receipts).await;
        let apart = u64::try_from(APART.as_millis()).unwrap();
        assert_eq!(*written.lock().unwrap(), [(vec![0, 1, 2, 3], 0), (vec![4, 5], apart)]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_commit_that_hangs_holds_nobody_up_for_long() {
        let (batcher, written) = taking(&[5_000]);
        let mut receipts: Vec<_> = (0..4).map(|item| batcher.submit(item)).collect();
        tokio::time::sleep(Duration::from_millis(1)).await;
        receipts.push(batcher.submit(4));
        answered(receipts).await;
        let patience = u64::try_from(PATIENCE.as_millis()).unwrap();
        assert_eq!(*written.lock().unwrap(), [(vec![0, 1, 2, 3], 0), (vec![4], patience)]);
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_than_two_commits_are_under_way() {
        let (batcher, written) = taking(&[1_000, 1_000, 1]);
        let mut receipts = Vec::new();
        for (item, pause) in [(0, 5), (1, 5), (2, 5), (3, 300)] {
            tokio::time::sleep(Duration::from_millis(pause)).await;
            receipts.push(batcher.submit(item));
        }
        answered(receipts).await;
        assert_eq!(*written.lock().unwrap(), [(vec![0], 5), (vec![1], 10), (vec![2, 3], 1_005)]);
    }

    #[tokio::test(start_paused = true)]
    async fn no_commit_carries_more_than_it_may() {
        let (batcher, written) = of_at_most(3, &[1; 9]);
        answered((0..7).map(|item| batcher.submit(item)).collect()).await;
        let carried: Vec<_> = written.lock().unwrap().iter().map(|(items, _)| items.clone()).collect();
        assert_eq!(carried, [vec![0, 1, 2], vec![3, 4, 5], vec![6]]);
    }

    #[test]
    fn who_submits_and_is_not_written_since_the_runtime_is_gone_is_told() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let (batcher, early, under_way) = runtime.block_on(async {
            let (batcher, _) = of_at_most(1, &[1_000]);
            let under_way = batcher.submit(0);
            tokio::task::yield_now().await;
            let early = batcher.submit(1);
            (batcher, early, under_way)
        });
        drop(runtime);
        for receipt in [under_way, early, batcher.submit(2)] {
            assert!(receipt.blocking_recv().is_err());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_writer_is_woken_by_the_first_item_and_by_the_one_that_makes_a_commit_worth_its_cost() {
        let (batcher, _) = taking(&[50]);
        let wanted = || batcher.queue.lock().wanted;
        let receipts: Vec<_> = (0..4).map(|item| batcher.submit(item)).collect();
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert_eq!(wanted(), 1, "nothing waits");
        let later: Vec<_> = (4..6).map(|item| batcher.submit(item)).collect();
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert_eq!(wanted(), 4, "as many as are being written");
        answered(receipts).await;
        drop(later);
    }

    #[tokio::test(start_paused = true)]
    async fn a_commit_that_waits_for_its_time_begins_with_the_next_item_and_not_with_the_timers_next_millisecond() {
        let (batcher, written) = taking(&[1, 1]);
        let later = async |micros| {
            tokio::time::advance(Duration::from_micros(micros)).await;
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
        };
        later(500).await;
        let mut receipts: Vec<_> = (0..4).map(|item| batcher.submit(item)).collect();
        later(0).await;
        later(1_500).await;
        receipts.push(batcher.submit(4));
        later(0).await;
        later(600).await;
        assert_eq!(written.lock().unwrap().len(), 1, "its time has passed, and the timer counts in milliseconds");
        receipts.push(batcher.submit(5));
        later(0).await;
        assert_eq!(written.lock().unwrap().last(), Some(&(vec![4, 5], 2)));
        answered(receipts).await;
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_submitted_is_written_though_nobody_is_left_to_ask() {
        let (batcher, written) = taking(&[5]);
        drop((batcher.submit(0), batcher));
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert_eq!(*written.lock().unwrap(), [(vec![0], 0)]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_held_back_is_written_though_nobody_is_left_to_ask() {
        let (batcher, written) = taking(&[1, 1]);
        let receipts: Vec<_> = (0..4).map(|item| batcher.submit(item)).collect();
        answered(receipts).await;
        drop((batcher.submit(4), batcher));
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert_eq!(written.lock().unwrap().last(), Some(&(vec![4], 2)));
    }
}
