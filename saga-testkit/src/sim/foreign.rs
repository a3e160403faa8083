//! Real I/O under virtual time.

use std::cell::RefCell;
use std::future::Future;
use std::sync::mpsc;
use std::time::Duration;

tokio::task_local! {
    /// Gone once time may pass on for the code that runs.
    static HELD: RefCell<Option<mpsc::Sender<()>>>;
}

/// The code that runs waits for nothing but time, from now on.
pub(crate) fn let_go() {
    // Outside of what is held there is nothing to let go.
    HELD.try_with(|held| drop(held.take())).ok();
}

/// Virtual time jumps ahead as soon as every task waits: also when one waits for a thread or a socket
/// outside. Where the user's code does such real I/O, time is held still for as long as that code runs: at
/// most for this long, in real time, so that a step that truly sleeps goes on as well.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Foreign(Option<Duration>);

impl Foreign {
    pub(crate) const NONE: Self = Self(None);

    pub(crate) fn patient(patience: Duration) -> Self {
        Self(Some(patience))
    }

    /// Runs the future while virtual time stands still.
    pub(crate) async fn hold<T>(self, future: impl Future<Output = T>) -> T {
        let Some(patience) = self.0 else { return future.await };
        let (done, wait) = mpsc::channel::<()>();
        // The runtime does not advance its paused clock while a blocking task is under way.
        drop(tokio::task::spawn_blocking(move || wait.recv_timeout(patience)));
        HELD.scope(RefCell::new(Some(done)), future).await
    }
}
