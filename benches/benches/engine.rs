//! Throughput, latency and cost of sagas that do nothing, on each journal.
//!
//! `cargo bench -p benches -- [--journal memory|sqlite|postgres] [--steps 3,9] [--at-once 1,64,1000]
//! [--seconds 3] [--json FILE]`. Postgres is a private server of its own with its default durability,
//! unless `SAGA_TEST_POSTGRES_URL` names one.

#![allow(missing_docs, reason = "a program")]

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use benches::{Counting, Load, Row, measure, noop, print_json, print_table, run_saga};
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use mimalloc::MiMalloc;
use saga_core::journal::{Journal, MemoryJournal};
use saga_core::{Engine, Limits};
use saga_postgres::PostgresJournal;
use saga_sqlite::SqliteJournal;
use sqlx::{Connection as _, PgConnection, Row as _};

/// As hosts that care run: all contenders have the same allocator.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

#[derive(Parser)]
struct Args {
    /// Only this journal.
    #[arg(long)]
    journal: Option<String>,
    /// Steps of each saga.
    #[arg(long, value_delimiter = ',', default_values_t = [3, 9])]
    steps: Vec<usize>,
    /// Callers at once.
    #[arg(long = "at-once", value_delimiter = ',', default_values_t = [1, 64, 1000])]
    at_once: Vec<usize>,
    /// How long each line is measured, in seconds.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Also write the rows as JSON.
    #[arg(long)]
    json: Option<std::path::PathBuf>,
    /// What `cargo bench` passes.
    #[arg(long, hide = true)]
    bench: bool,
}

/// What Postgres itself counts.
#[derive(Clone, Copy, Default)]
struct ServerCounts {
    commits: i64,
    wal_bytes: i64,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    let wanted = |name: &str| args.journal.as_deref().is_none_or(|journal| journal == name);
    let bar = ProgressBar::new((3 * args.steps.len() * args.at_once.len()) as u64);
    bar.set_style(ProgressStyle::with_template("{bar:40} {pos}/{len} {msg}")?);
    let mut rows = Vec::new();
    if wanted("memory") {
        run("memory", Arc::new(MemoryJournal::new()), None, &args, &bar, &mut rows).await?;
    }
    if wanted("sqlite") {
        let dir = tempfile::tempdir()?;
        let journal = SqliteJournal::open(dir.path().join("bench.db")).await?;
        run("sqlite", Arc::new(journal), None, &args, &bar, &mut rows).await?;
    }
    if wanted("postgres") {
        let cluster = saga_testkit::postgres::Cluster::start().await?;
        let database = cluster.database().await?;
        let journal = PostgresJournal::connect(database.url()).await?;
        let probe = PgConnection::connect(database.url()).await?;
        run("postgres", Arc::new(journal), Some(probe), &args, &bar, &mut rows).await?;
    }
    bar.finish_and_clear();
    println!("{}", print_table(&rows));
    if let Some(path) = &args.json {
        std::fs::write(path, print_json(&rows)?)?;
    }
    Ok(())
}

async fn run(
    name: &'static str,
    journal: Arc<dyn Journal>,
    mut probe: Option<PgConnection>,
    args: &Args,
    bar: &ProgressBar,
    rows: &mut Vec<Row>,
) -> Result<(), Box<dyn Error>> {
    for &steps in &args.steps {
        for &concurrency in &args.at_once {
            bar.set_message(format!("{name}: {steps} steps, {concurrency} at once"));
            let definition = noop(steps)?;
            let counting = Counting::new(journal.clone());
            let calls = counting.calls();
            let mut limits = Limits::default();
            limits.in_flight_max = concurrency.max(limits.in_flight_max);
            let engine = Engine::builder(counting).register(&definition).limits(limits).open().await?;
            let mut marks = Vec::new();
            let measured = measure(
                {
                    let (engine, definition) = (engine.clone(), definition.clone());
                    move |key: String| {
                        let (engine, definition) = (engine.clone(), definition.clone());
                        async move { run_saga(&engine, &definition, &key).await }
                    }
                },
                Load::new(concurrency, Duration::from_secs_f64(args.seconds)),
                async || {
                    let server = server_counts(probe.as_mut()).await.map_err(|error| error.to_string())?;
                    marks.push((calls.calls(), calls.turns(), server));
                    Ok(())
                },
            )
            .await?;
            engine.shutdown(Duration::from_secs(10)).await;
            let [before, after] = &marks[..] else { return Err("the run was not marked twice".into()) };
            #[expect(clippy::cast_precision_loss, reason = "counts of a few seconds")]
            let row = {
                let sagas = measured.sagas.max(1) as f64;
                let per_second = measured.sagas as f64 / measured.took.as_secs_f64();
                let on_server = |count: fn(&ServerCounts) -> i64| {
                    probe.is_some().then(|| (count(&after.2) - count(&before.2)) as f64 / sagas)
                };
                Row {
                    engine: "ours",
                    journal: name,
                    steps,
                    concurrency,
                    sagas_per_s: per_second,
                    steps_per_s: per_second * steps as f64,
                    p50_ms: measured.p50.as_secs_f64() * 1e3,
                    p99_ms: measured.p99.as_secs_f64() * 1e3,
                    round_trips_per_saga: (after.0 - before.0) as f64 / sagas,
                    turns_per_saga: (after.1 - before.1) as f64 / sagas,
                    commits_per_saga: on_server(|counts| counts.commits),
                    wal_bytes_per_saga: on_server(|counts| counts.wal_bytes),
                }
            };
            rows.push(row);
            bar.inc(1);
        }
    }
    Ok(())
}

async fn server_counts(probe: Option<&mut PgConnection>) -> Result<ServerCounts, sqlx::Error> {
    let Some(probe) = probe else { return Ok(ServerCounts::default()) };
    // Backends report their counts with a delay of up to a second; the run is long beside it.
    let row = sqlx::query(
        "SELECT xact_commit AS commits, (pg_current_wal_lsn() - '0/0'::pg_lsn)::bigint AS wal \
         FROM pg_stat_database WHERE datname = current_database()",
    )
    .fetch_one(probe)
    .await?;
    Ok(ServerCounts { commits: row.try_get("commits")?, wal_bytes: row.try_get("wal")? })
}
