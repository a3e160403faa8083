//! F16: there are no connections left, and those that workers have are terminated.

use std::time::Duration;

use crate::arena::Arena;
use crate::traffic::connect;

/// More than the server lets in.
const TOO_MANY: usize = 220;

/// Takes all connections for a while.
pub(super) async fn exhaust(arena: &mut Arena) {
    let mut taken = Vec::with_capacity(TOO_MANY);
    let mut refused = 0;
    for _ in 0..TOO_MANY {
        match connect(arena.database.url()).await {
            Ok(connection) => taken.push(connection),
            Err(_) => refused += 1,
        }
        if refused > 3 {
            break;
        }
    }
    *arena.fired.entry("refused_connections").or_default() += refused;
    const TERMINATE: &str = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
        WHERE application_name = 'saga-journal' AND random() < 0.7";
    for _ in 0..5 {
        if let Some(connection) = taken.first_mut() {
            let count: Result<i64, _> = sqlx::query_scalar(TERMINATE).fetch_one(connection).await;
            let count = count.ok().and_then(|count| u64::try_from(count).ok()).unwrap_or(0);
            *arena.fired.entry("terminated_connections").or_default() += count;
        }
        // The places that became free are taken as well.
        taken.extend(connect(arena.database.url()).await.ok());
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
    drop(taken);
    arena.fire("exhaustions");
    arena.pause(300..900).await;
}
