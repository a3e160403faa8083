//! Events on their way to a broker, and entity locks: what workers and operators ask about them.

use saga_core::Timestamp;
use saga_core::journal::{DeadEvent, EventFate, JournalError, Lease, LockEntry, OutboxBatch, SettledEvent};
use sqlx::Row as _;
use uuid::Uuid;

use crate::journal::{PostgresJournal, micros, read};
use crate::rows;

impl PostgresJournal {
    pub(crate) async fn relay(&self, lease: Lease, limit: usize) -> Result<OutboxBatch, JournalError> {
        const DOING: &str = "reading the outbox";
        let limit = i32::try_from(limit).unwrap_or(i32::MAX);
        let bind = || self.query(&self.sql.relay).bind(lease.epoch.0).bind(limit);
        let found = self.rows(&self.traffic, DOING, Some(lease.epoch), bind).await?;
        let mut batch = OutboxBatch::default();
        for row in &found {
            if row.try_get::<Option<Uuid>, _>("saga_id").or_else(read(DOING))?.is_some() {
                batch.events.push(rows::event(row).or_else(read(DOING))?);
            } else {
                let next: Option<i64> = row.try_get("next_due_at").or_else(read(DOING))?;
                batch.next_due_at = next.map(Timestamp::from_micros);
            }
        }
        Ok(batch)
    }

    pub(crate) async fn settle(&self, lease: Lease, settled: &[SettledEvent]) -> Result<(), JournalError> {
        let (mut published, mut dead) = (Vec::new(), (Vec::new(), Vec::new()));
        let mut retry = (Vec::new(), Vec::new(), Vec::new());
        let text = |text: &str| text.replace('\0', "\u{fffd}");
        for SettledEvent { id, fate } in settled {
            match fate {
                EventFate::Published => published.push(id.clone()),
                EventFate::Retry { after, error } => {
                    retry.0.push(id.clone());
                    retry.1.push(micros(*after));
                    retry.2.push(text(error));
                }
                EventFate::Dead { error } => {
                    dead.0.push(id.clone());
                    dead.1.push(text(error));
                }
            }
        }
        let bind = || {
            self.query(&self.sql.settle)
                .bind(lease.epoch.0)
                .bind(published.clone())
                .bind(retry.0.clone())
                .bind(retry.1.clone())
                .bind(retry.2.clone())
                .bind(dead.0.clone())
                .bind(dead.1.clone())
        };
        self.rows(&self.traffic, "settling events", Some(lease.epoch), bind).await.map(drop)
    }

    pub(crate) async fn dead(&self, limit: usize) -> Result<Vec<DeadEvent>, JournalError> {
        const DOING: &str = "listing dead events";
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = self.rows(&self.traffic, DOING, None, || self.query(&self.sql.dead_events).bind(limit)).await?;
        let dead = |row: &sqlx::postgres::PgRow| {
            Ok(DeadEvent {
                event: rows::event(row).or_else(read(DOING))?,
                error: row.try_get("error").or_else(read(DOING))?,
            })
        };
        rows.iter().map(dead).collect()
    }

    pub(crate) async fn revive(&self, id: &str, again: bool) -> Result<bool, JournalError> {
        const DOING: &str = "reviving an event";
        let bind = || self.query(&self.sql.revive).bind(id.to_owned()).bind(again);
        let rows = self.rows(&self.traffic, DOING, None, bind).await?;
        rows.first().map_or(Ok(false), |row| row.try_get("revived")).or_else(read(DOING))
    }

    pub(crate) async fn lines(&self, limit: usize) -> Result<Vec<LockEntry>, JournalError> {
        const DOING: &str = "listing locks";
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = self.rows(&self.traffic, DOING, None, || self.query(&self.sql.locks).bind(limit)).await?;
        rows.iter().map(|row| rows::lock(row).or_else(read(DOING))).collect()
    }
}
