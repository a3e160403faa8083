//! Full tables: what an installation has after some years, and what a worker has in the middle of its work.

use std::time::Duration;

use saga_core::journal::{Journal as _, Lease};
use saga_postgres::PostgresJournal;
use sqlx::{Connection as _, Executor as _, PgConnection};

/// The name of the definition of all sagas.
pub(crate) const DEFINITION: &str = "order";

/// In one transaction, so that all of it was written at the same time. Most sagas have ended; one in eight is live:
/// parked for a signal, parked until a time, and a few in flight, here or at a worker that is gone.
const FILL: &str = "
CREATE FUNCTION pg_temp.id(n bigint) RETURNS uuid LANGUAGE sql IMMUTABLE
    RETURN (lpad(to_hex(1700000000000 + n), 12, '0') || '7000' || '8' || right(md5(n::text), 15))::uuid;
INSERT INTO saga.saga
    SELECT pg_temp.id(n), 'order', 1, 'order-' || n, decode(md5(n::text), 'hex'), now()
    FROM generate_series(1, 100000) n;
INSERT INTO saga.turn
    SELECT pg_temp.id(n), seq, 1, n, now() - (100000 - n) * interval '1 second',
        CASE WHEN n % 8 <> 0 AND seq = 1 THEN 1 WHEN n % 32 = 16 AND seq = 1 THEN 0 END, '[]'
    FROM generate_series(1, 100000) n, generate_series(0, 1) seq;
INSERT INTO saga.live
    SELECT pg_temp.id(n), 'order', 1,
        CASE n % 320 WHEN 0 THEN $1 WHEN 8 THEN $2 END,
        CASE n % 32 WHEN 16 THEN now() + (n - 25600) * interval '1 second' END, 0
    FROM generate_series(8, 100000, 8) n;
INSERT INTO saga.ended
    SELECT now() - (100000 - n) * interval '1 second', pg_temp.id(n)
    FROM generate_series(1, 100000) n WHERE n % 8 <> 0;
INSERT INTO saga.message (definition, key, message_id, sent_at, read_seq, body)
    SELECT 'order', 'order-' || n, 'message-' || n, now(), CASE WHEN n % 320 <> 24 THEN 1 END, '[]'
    FROM generate_series(1, 100000, 1) n;
INSERT INTO saga.outbox
    SELECT pg_temp.id(n), seq, 0, 'event-' || n || '-' || seq, 'orders', '{}', '1',
        CASE WHEN n % 2 = 0 THEN $1 ELSE $3 END, now(), now(), 0, NULL, n % 100 = 99
    FROM generate_series(1, 10000) n, generate_series(0, 1) seq;
INSERT INTO saga.lock
    SELECT 'cart-' || n, pg_temp.id(n * 8), 'lock', n, n, now(), CASE WHEN n % 500 <> 0 THEN 1 END
    FROM generate_series(1, 12000) n;
INSERT INTO saga.dead_letter (saga_id, step, op, seq, reason, error, attempts, opened_at, alerted_at, closed_at)
    SELECT pg_temp.id(n), 'capture', 'run', 1, 'failed', 'refused', 5, now(), now(),
        CASE WHEN n % 100 <> 0 THEN now() END
    FROM generate_series(1, 20000) n;
ANALYZE";

/// What the planner knows of tables that were empty when they were last vacuumed, and have filled since: nothing is in
/// them. Plans that are made then are kept.
const TAKE_FOR_EMPTY: &str = "
UPDATE pg_class SET reltuples = 0, relpages = greatest(relpages, 1) WHERE relnamespace = 'saga'::regnamespace;
DELETE FROM pg_statistic WHERE starelid IN (SELECT oid FROM pg_class WHERE relnamespace = 'saga'::regnamespace)";

/// Has the planner take the tables for empty, whatever is in them.
pub(crate) async fn take_for_empty(url: &str) {
    let mut connection = PgConnection::connect(url).await.unwrap();
    let tables = "SELECT format('ALTER TABLE saga.%I SET (autovacuum_enabled = off)', relname) FROM pg_class \
        WHERE relnamespace = 'saga'::regnamespace AND relkind = 'r'";
    for unattended in sqlx::query_scalar::<_, String>(tables).fetch_all(&mut connection).await.unwrap() {
        connection.execute(sqlx::AssertSqlSafe(unattended)).await.unwrap();
    }
    connection.execute(TAKE_FOR_EMPTY).await.unwrap();
}

/// Fills the tables, and gives the lease of the worker that the sagas in flight belong to.
pub(crate) async fn fill(url: &str) -> Lease {
    let journal = PostgresJournal::connect(url).await.unwrap();
    let (lease, _) = journal.open_lease("ours", Duration::from_secs(600)).await.unwrap();
    let (other, _) = journal.open_lease("another", Duration::from_secs(600)).await.unwrap();
    let (gone, _) = journal.open_lease("gone", Duration::from_millis(1)).await.unwrap();
    journal.fence_lapsed().await.unwrap();
    let mut connection = PgConnection::connect(url).await.unwrap();
    let fill = FILL
        .replace("$1", &lease.epoch.0.to_string())
        .replace("$2", &gone.epoch.0.to_string())
        .replace("$3", &other.epoch.0.to_string());
    connection.execute(sqlx::AssertSqlSafe(fill)).await.unwrap();
    lease
}
