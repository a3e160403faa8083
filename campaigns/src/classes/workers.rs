//! Faults of workers.

use std::time::Duration;

use crate::arena::Arena;
use crate::error::CampaignError;
use crate::worker::LEASE_TTL;

/// F5: one of them is killed as by a power failure, and another takes its place.
pub(super) async fn kill(arena: &mut Arena) -> Result<(), CampaignError> {
    arena.pause(50..500).await;
    let place = arena.random.usize(0..arena.workers.count());
    arena.workers.kill(place).await?;
    arena.fire("worker_kills");
    Ok(())
}

/// F6: one is stopped for longer than its lease is valid, while others take over, and then goes on where it was.
pub(super) async fn freeze(arena: &mut Arena) -> Result<(), CampaignError> {
    arena.pause(50..300).await;
    let place = arena.random.usize(0..arena.workers.count());
    arena.workers.signal(place, "STOP").await?;
    let ttl = u64::try_from(LEASE_TTL.as_millis()).unwrap_or(u64::MAX);
    let frozen = Duration::from_millis(arena.random.u64(ttl + 100..2 * ttl + 600));
    tokio::time::sleep(frozen).await;
    arena.workers.signal(place, "CONT").await?;
    arena.fire("worker_freezes");
    Ok(())
}
