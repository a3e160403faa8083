//! What a contender costs, read off before and after. The peers are measured by this very file.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sqlx::{PgConnection, Row as _};

use crate::Cpu;

/// Where the costs are read off.
#[derive(Debug, Default)]
pub struct Probe {
    /// To the server; none where there is none.
    pub server: Option<PgConnection>,
    /// What counts the contender's round trips, if something does.
    pub trips: Option<Arc<AtomicU64>>,
}

/// All costs so far.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    /// CPU time.
    pub cpu: Cpu,
    /// Of the server.
    pub server: Option<ServerCounts>,
    /// Round trips.
    pub trips: Option<u64>,
}

/// What a server counts.
#[derive(Clone, Copy, Debug)]
pub struct ServerCounts {
    /// Transactions committed in the database. Backends tell it up to a second late.
    pub commits: i64,
    /// Bytes of write-ahead log, of the whole server.
    pub wal_bytes: i64,
}

impl Probe {
    /// Everything as it is now.
    ///
    /// # Errors
    /// When the server does not answer, or the machine is not Linux.
    pub async fn mark(&mut self) -> Result<Mark, Box<dyn std::error::Error>> {
        Ok(Mark {
            cpu: Cpu::now(self.server.as_mut()).await?,
            server: match self.server.as_mut() {
                Some(server) => Some(ServerCounts::now(server).await?),
                None => None,
            },
            trips: self.trips.as_ref().map(|trips| trips.load(Ordering::Relaxed)),
        })
    }
}

impl ServerCounts {
    /// As the server has them now.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn now(server: &mut PgConnection) -> Result<Self, sqlx::Error> {
        let row = sqlx::query(
            "SELECT xact_commit AS commits, (pg_current_wal_lsn() - '0/0'::pg_lsn)::bigint AS wal \
             FROM pg_stat_database WHERE datname = current_database()",
        )
        .fetch_one(server)
        .await?;
        Ok(Self { commits: row.try_get("commits")?, wal_bytes: row.try_get("wal")? })
    }
}
