//! What a saga costs that does not depend on the machine: requests, commits, rows, bytes of write-ahead log, and
//! allocations. Held against `benches/costs.json`; `UPDATE_EXPECT=1` writes it anew.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use benches::{Counting, noop, run_saga};
use saga_core::Engine;
use saga_core::engine::EngineBuilder;
use saga_core::journal::{Journal, MemoryJournal};
use saga_postgres::PostgresJournal;
use saga_testkit::postgres::Cluster;
use serde::{Deserialize, Serialize};
use sqlx::{Connection as _, Executor as _, PgConnection, Row as _};

#[global_allocator]
static ALLOCATIONS: dhat::Alloc = dhat::Alloc;

const STEPS: [usize; 2] = [3, 9];
/// One after the other, so that none shares a commit.
const SAGAS: u32 = 300;
/// To count allocations is slow, and each saga has the same.
const COUNTED: u32 = 15;
/// Heartbeats and polls fall into the count as they please.
const TOLERANCE: f64 = 1.04;

/// For each saga, with its steps.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Costs {
    /// Requests to the journal.
    round_trips: f64,
    /// Transactions, as Postgres counts them.
    commits: f64,
    /// Rows inserted, updated and deleted.
    rows: f64,
    /// Bytes of write-ahead log, without full pages.
    wal_bytes: f64,
    /// Allocations of everything in the process, with the journal in memory.
    allocations: f64,
}

impl Costs {
    fn each(&self) -> [(&'static str, f64); 5] {
        let Self { round_trips, commits, rows, wal_bytes, allocations } = *self;
        [
            ("round trips", round_trips),
            ("commits", commits),
            ("rows", rows),
            ("WAL bytes", wal_bytes),
            ("allocations", allocations),
        ]
    }
}

#[test]
fn a_saga_costs_no_more_than_it_did() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let costs: BTreeMap<String, Costs> = runtime.block_on(async {
        let cluster = quiet_cluster().await;
        let mut all = BTreeMap::new();
        for steps in STEPS {
            let mut costs = on_postgres(&cluster, steps).await;
            costs.allocations = allocations(steps).await;
            all.insert(format!("{steps} steps"), costs);
        }
        all
    });
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("costs.json");
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        return std::fs::write(file, format!("{}\n", serde_json::to_string_pretty(&costs).unwrap())).unwrap();
    }
    let known: BTreeMap<String, Costs> = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    for (case, costs) in &costs {
        println!("{case}: {costs:?}");
        for ((what, now), (_, then)) in costs.each().into_iter().zip(known[case].each()) {
            assert!(now <= then * TOLERANCE, "{case}: {now:.1} {what} a saga, and it was {then:.1}");
        }
    }
}

/// One that writes nothing by itself while the sagas run.
async fn quiet_cluster() -> Cluster {
    let cluster = Cluster::start_private().await.unwrap();
    let database = cluster.database().await.unwrap();
    let mut connection = PgConnection::connect(database.url()).await.unwrap();
    for setting in ["full_page_writes = off", "autovacuum = off", "checkpoint_timeout = '1h'"] {
        connection.execute(sqlx::AssertSqlSafe(format!("ALTER SYSTEM SET {setting}"))).await.unwrap();
    }
    connection.execute("SELECT pg_reload_conf()").await.unwrap();
    cluster
}

async fn on_postgres(cluster: &Cluster, steps: usize) -> Costs {
    let database = cluster.database().await.unwrap();
    // Its tables are there from here on.
    run(Arc::new(PostgresJournal::connect(database.url()).await.unwrap()), steps, 20).await;
    let before = counts(database.url()).await;
    let round_trips = run(Arc::new(PostgresJournal::connect(database.url()).await.unwrap()), steps, SAGAS).await;
    let after = counts(database.url()).await;
    let per_saga = |which: usize| (after[which] - before[which]) / f64::from(SAGAS);
    Costs { round_trips, commits: per_saga(0), rows: per_saga(1), wal_bytes: per_saga(2), allocations: 0.0 }
}

/// Runs so many sagas one after the other, and tells the requests of each.
async fn run(journal: Arc<dyn Journal>, steps: usize, sagas: u32) -> f64 {
    let definition = noop(steps).unwrap();
    let journal = Counting::new(journal);
    let calls = journal.calls();
    let engine = quiet(Engine::builder(journal)).register(&definition).open().await.unwrap();
    run_saga(&engine, &definition, &format!("first of {sagas}")).await.unwrap();
    let before = calls.calls();
    for nth in 0..sagas {
        run_saga(&engine, &definition, &format!("{nth} of {sagas}")).await.unwrap();
    }
    #[expect(clippy::cast_precision_loss, reason = "a few hundred")]
    let trips = (calls.calls() - before) as f64 / f64::from(sagas);
    engine.shutdown(Duration::from_secs(10)).await;
    trips
}

/// Heartbeats and polls stay out of the count.
fn quiet(engine: EngineBuilder) -> EngineBuilder {
    engine.lease_ttl(Duration::from_secs(120)).poll_interval(Duration::from_secs(120))
}

/// Commits, rows and bytes of write-ahead log so far.
async fn counts(url: &str) -> [f64; 3] {
    let mut connection = PgConnection::connect(url).await.unwrap();
    // What a backend has counted it tells when it goes, at the latest.
    for _ in 0..500 {
        let others = "SELECT count(*) FROM pg_stat_activity \
                      WHERE datname = current_database() AND pid <> pg_backend_pid()";
        let others: i64 = sqlx::query_scalar(others).fetch_one(&mut connection).await.unwrap();
        if others == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let counts = "SELECT xact_commit::float8 AS commits, \
                  (SELECT sum(n_tup_ins + n_tup_upd + n_tup_del)::float8 FROM pg_stat_user_tables) AS rows, \
                  (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::float8 AS wal \
                  FROM pg_stat_database WHERE datname = current_database()";
    let row = sqlx::query(counts).fetch_one(&mut connection).await.unwrap();
    ["commits", "rows", "wal"].map(|column| row.get::<Option<f64>, _>(column).unwrap_or_default())
}

async fn allocations(steps: usize) -> f64 {
    let definition = noop(steps).unwrap();
    let engine = quiet(Engine::builder(MemoryJournal::new())).register(&definition).open().await.unwrap();
    let profiler = dhat::Profiler::builder().testing().build();
    let mut of_each = Vec::new();
    for nth in 0..COUNTED {
        let before = dhat::HeapStats::get().total_blocks;
        run_saga(&engine, &definition, &nth.to_string()).await.unwrap();
        #[expect(clippy::cast_precision_loss, reason = "some hundreds")]
        of_each.push((dhat::HeapStats::get().total_blocks - before) as f64);
    }
    drop(profiler);
    engine.shutdown(Duration::from_secs(10)).await;
    // A heartbeat falls into some of them.
    of_each.sort_by(f64::total_cmp);
    of_each[of_each.len() / 2]
}
