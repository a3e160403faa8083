//! Faults between workers and the server.

use std::time::Duration;

use crate::arena::Arena;
use crate::proxy::Knobs;

/// F7: answers to commits are lost, and now and then the statement itself.
pub(super) async fn lose_commits(arena: &mut Arena) {
    arena.proxy.set(Knobs { cut_after_commit: 0.25, cut_before_apply: 0.05, ..Knobs::default() });
    tokio::time::sleep(Duration::from_millis(100)).await;
    arena.note_proxy();
}

/// F10: a second or two of one kind of trouble, then none.
pub(super) async fn interval(arena: &mut Arena) {
    let nth = arena.count("intervals");
    let knobs = match nth % 5 {
        0 => Knobs { no_requests: true, ..Knobs::default() },
        1 => Knobs { no_answers: true, ..Knobs::default() },
        2 => Knobs { delay_max: Duration::from_millis(40), ..Knobs::default() },
        3 => Knobs { half_close: 0.1, ..Knobs::default() },
        // Resets alone.
        _ => Knobs::default(),
    };
    arena.proxy.set(knobs);
    for _ in 0..arena.random.u32(5..15) {
        if nth % 5 == 4 || arena.random.u8(0..20) == 0 {
            arena.proxy.reset_all();
        }
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
    arena.proxy.set(Knobs::default());
    arena.fire("intervals");
    arena.note_proxy();
    arena.pause(200..600).await;
}
