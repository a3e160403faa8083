//! What wakes the loop that claims sagas.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// Tells the claiming loop that there may be something to do.
#[derive(Debug, Default)]
pub(crate) struct Claims {
    due: Notify,
    reconcile: AtomicBool,
}

impl Claims {
    /// There may be sagas to claim.
    pub(crate) fn wake(&self) {
        self.due.notify_one();
    }

    /// There may be sagas that the journal says are ours and that nobody here works on: compare.
    pub(crate) fn ask_to_reconcile(&self) {
        self.reconcile.store(true, Ordering::Release);
        self.due.notify_one();
    }

    /// As [`Claims::ask_to_reconcile`], with the next round: for the loop itself.
    pub(crate) fn reconcile_next_round(&self) {
        self.reconcile.store(true, Ordering::Release);
    }

    /// Whether somebody asked to compare since the last time.
    pub(crate) fn take_reconcile(&self) -> bool {
        self.reconcile.swap(false, Ordering::AcqRel)
    }

    /// Returns when there may be something to do.
    pub(crate) async fn woken(&self) {
        self.due.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_wakes_before_anybody_listens_is_heard_once() {
        let claims = Claims::default();
        claims.wake();
        claims.woken().await;
        assert!(!claims.take_reconcile(), "to claim is not to compare");
        claims.ask_to_reconcile();
        claims.woken().await;
        assert_eq!([claims.take_reconcile(), claims.take_reconcile()], [true, false]);
    }

    #[tokio::test(start_paused = true)]
    async fn the_loop_asks_itself_to_compare_without_waking_itself() {
        let claims = Claims::default();
        claims.reconcile_next_round();
        let woken = tokio::time::timeout(std::time::Duration::from_secs(1), claims.woken()).await;
        assert!(woken.is_err(), "it would go round and round");
        assert!(claims.take_reconcile());
    }
}
