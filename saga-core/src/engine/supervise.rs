//! The worker's loops outlive a panic in what they call: a journal or an archive of the host's own. A loop that ended
//! silently would leave a worker that renews no lease, claims no saga or deletes nothing, and looks alive.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt as _;
use tracing::error;

use super::Inner;
use super::attempt::panic_message;
use super::incarnation::outage_delay;

/// Runs a loop until it ends by itself, and begins it anew after a panic.
pub(crate) async fn supervise<F: Future<Output = ()>>(
    inner: Arc<Inner>,
    name: &'static str,
    mut begin: impl FnMut(Arc<Inner>) -> F,
) {
    for tries in 0.. {
        let Err(panic) = AssertUnwindSafe(begin(inner.clone())).catch_unwind().await else { return };
        error!(name, panic = panic_message(&*panic), "a loop of the worker panicked; beginning it anew");
        tokio::select! {
            biased;
            () = inner.alive.cancelled() => return,
            () = tokio::time::sleep(outage_delay(tries)) => {}
        }
    }
}
