//! Faults of the server.

use crate::arena::Arena;
use crate::error::CampaignError;
use crate::traffic::connect;

/// F8: connections are terminated in storms; then the server is killed, or stopped without a checkpoint, and
/// started again.
pub(super) async fn kill(arena: &mut Arena) -> Result<(), CampaignError> {
    for _ in 0..arena.random.u32(8..20) {
        arena.pause(20..80).await;
        terminate(arena).await;
    }
    let before = arena.cluster.pid()?;
    if arena.random.bool() {
        arena.cluster.kill().await?;
    } else {
        arena.cluster.stop_immediately()?;
    }
    arena.pause(0..300).await;
    arena.cluster.start_again().await?;
    // What did not go down was not killed.
    if arena.cluster.pid()? != before {
        arena.fire("postgres_kills");
    }
    Ok(())
}

/// Terminates some of the workers' connections.
async fn terminate(arena: &mut Arena) {
    const STORM: &str = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
        WHERE application_name = 'saga-journal' AND random() < 0.5";
    let Ok(mut connection) = connect(arena.database.url()).await else { return };
    let terminated: Result<i64, _> = sqlx::query_scalar(STORM).fetch_one(&mut connection).await;
    let count = terminated.ok().and_then(|count| u64::try_from(count).ok()).unwrap_or(0);
    *arena.fired.entry("terminated_connections").or_default() += count;
    arena.progress.fired(&arena.fired);
}
