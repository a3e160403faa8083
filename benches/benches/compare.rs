//! The engine beside its floor (the same rows in the same transactions, written by no engine), beside the same rows
//! with a commit for each step, and, if asked for, beside other engines.
//!
//! `cargo bench -p benches --bench compare -- [--journal postgres,sqlite] [--steps 3,9] [--at-once 1,64,1000]
//! [--seconds 3] [--rounds 3] [--peers] [--out target/compare]`. All run in turns, on one private Postgres with its
//! default durability, and on SQLite files; what is told is the median of the rounds. Writes `compare.md`,
//! `compare.json` and the charts.

#![allow(missing_docs, reason = "a program")]

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use benches::{
    COMMIT_PER_STEP, Case, Counting, FLOOR, Figures, Floor, Load, OURS, Pace, Peer, Peers, Probe, compared, noop,
    report, run_saga, start_server,
};
use clap::{Parser, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use mimalloc::MiMalloc;
use saga_core::journal::Journal;
use saga_core::{Engine, Limits};
use saga_postgres::PostgresJournal;
use saga_sqlite::SqliteJournal;
use saga_testkit::postgres::Cluster;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};

#[derive(Clone, Copy, ValueEnum)]
enum On {
    Postgres,
    Sqlite,
}

/// As hosts that care run: all contenders have the same allocator.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

#[derive(Parser)]
struct Args {
    /// On which journals.
    #[arg(long, value_delimiter = ',', default_values_t = [On::Postgres, On::Sqlite])]
    journal: Vec<On>,
    /// Steps of each saga.
    #[arg(long, value_delimiter = ',', default_values_t = [3, 9])]
    steps: Vec<usize>,
    /// Callers at once.
    #[arg(long = "at-once", value_delimiter = ',', default_values_t = [1, 64, 1000])]
    at_once: Vec<usize>,
    /// How long each round of each contender is measured, in seconds.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// How often each is measured.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Also measure other engines, on databases of the same server. Builds `benches/peers` first.
    #[arg(long)]
    peers: bool,
    /// Where the results go.
    #[arg(long, default_value = "target/compare")]
    out: PathBuf,
    /// What `cargo bench` passes.
    #[arg(long, hide = true)]
    bench: bool,
}

impl std::fmt::Display for On {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl On {
    fn name(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Sqlite => "sqlite",
        }
    }
}

/// Where all of it happens.
struct Arena {
    on: On,
    cluster: Cluster,
    /// Of the floor and of ours.
    url: String,
    files: tempfile::TempDir,
    peers: Option<Peers>,
    probe: Probe,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    let peers = if args.peers { Some(Peers::build().await?) } else { None };
    let bar = ProgressBar::new((args.journal.len() * args.steps.len() * args.at_once.len() * args.rounds) as u64);
    bar.set_style(ProgressStyle::with_template("{bar:40} {pos}/{len} {msg}")?);
    let note = format!("Medians; rounds: {}, of {} s each.", args.rounds, args.seconds);
    let (mut records, mut text) = (Vec::new(), String::new());
    for &on in &args.journal {
        let mut arena = Arena::open(on, peers.clone()).await?;
        for &steps in &args.steps {
            let floors = arena.floors(steps).await?;
            for &at_once in &args.at_once {
                bar.set_message(format!("{on}: {steps} steps, {at_once} at once"));
                let load = Load::new(at_once, Duration::from_secs_f64(args.seconds));
                records.extend(arena.case(&floors, steps, load, args.rounds, &bar).await?);
                // A run takes minutes: what is ended early has told what it knew.
                text = report(&args.out, &note, &records)?;
            }
        }
    }
    bar.finish_and_clear();
    println!("{text}");
    Ok(())
}

impl Arena {
    async fn open(on: On, peers: Option<Peers>) -> Result<Self, Box<dyn Error>> {
        let cluster = start_server().await?;
        let url = cluster.database().await?.url().to_owned();
        let server = match on {
            On::Postgres => Some(PgConnection::connect(&url).await?),
            On::Sqlite => None,
        };
        Ok(Self { on, cluster, url, files: tempfile::tempdir()?, peers, probe: Probe { server, trips: None } })
    }

    /// That with shared commits, and that with a commit for each step.
    async fn floors(&self, steps: usize) -> Result<[(&'static str, Floor); 2], Box<dyn Error>> {
        let open = async |name: &str, pace| match self.on {
            On::Postgres => Floor::on_postgres(&self.url, steps, pace).await,
            On::Sqlite => Floor::on_sqlite(&self.files.path().join(format!("{name}.db")), steps, pace).await,
        };
        Ok([
            (FLOOR, open(FLOOR, Pace::GROUP_COMMIT).await?),
            (COMMIT_PER_STEP, open(COMMIT_PER_STEP, Pace::COMMIT_PER_STEP).await?),
        ])
    }

    /// All contenders in turns, so often.
    async fn case(
        &mut self,
        floors: &[(&'static str, Floor)],
        steps: usize,
        load: Load,
        rounds: usize,
        bar: &ProgressBar,
    ) -> Result<Vec<benches::Record>, Box<dyn Error>> {
        let case = Case { journal: self.on.name(), steps, at_once: load.at_once };
        let peers = self.peers.as_ref().map(|peers| peers.on(case.journal)).unwrap_or_default();
        let names = floors.iter().map(|(name, _)| (*name).to_owned()).chain([OURS.to_owned()]);
        let mut all: Vec<(String, Vec<Figures>)> =
            names.chain(peers.iter().map(Peer::label)).map(|name| (name, Vec::new())).collect();
        for _ in 0..rounds {
            for (nth, (_, floor)) in floors.iter().enumerate() {
                all[nth].1.push(self.floor(floor, load).await?);
            }
            all[floors.len()].1.push(self.ours(steps, load).await?);
            for (peer, theirs) in peers.iter().zip(&mut all[floors.len() + 1..]) {
                match self.peer(peer, steps, load).await {
                    Ok(figures) => theirs.1.push(figures),
                    // Their failure is a result as well, and no reason to end.
                    Err(error) => eprintln!("{}, {steps} steps, {} at once: {error}", peer.label(), load.at_once),
                }
            }
            bar.inc(1);
        }
        Ok(compared(case, &all))
    }

    async fn floor(&mut self, floor: &Floor, load: Load) -> Result<Figures, Box<dyn Error>> {
        self.probe.trips = Some(floor.trips());
        let floor = floor.clone();
        let saga = move |key: String| {
            let floor = floor.clone();
            async move { floor.saga(key).await }
        };
        Figures::measure(saga, load, &mut self.probe).await
    }

    async fn ours(&mut self, steps: usize, load: Load) -> Result<Figures, Box<dyn Error>> {
        let definition = noop(steps)?;
        let mut limits = Limits::default();
        limits.in_flight_max = load.at_once.max(limits.in_flight_max);
        let journal: Arc<dyn Journal> = match self.on {
            On::Postgres => Arc::new(PostgresJournal::connect(&self.url).await?),
            On::Sqlite => Arc::new(SqliteJournal::open(self.files.path().join("ours.db")).await?),
        };
        let journal = Counting::new(journal);
        self.probe.trips = Some(journal.calls().counter());
        let engine = Engine::builder(journal).register(&definition).limits(limits).open().await?;
        let saga = {
            let engine = engine.clone();
            move |key: String| {
                let (engine, definition) = (engine.clone(), definition.clone());
                async move { run_saga(&engine, &definition, &key).await }
            }
        };
        let figures = Figures::measure(saga, load, &mut self.probe).await;
        engine.shutdown(Duration::from_secs(10)).await;
        figures
    }

    /// On a fresh database or file, gone afterwards.
    async fn peer(&mut self, peer: &Peer, steps: usize, load: Load) -> Result<Figures, Box<dyn Error>> {
        let peers = self.peers.as_ref().ok_or("no peers were built")?;
        match &mut self.probe.server {
            Some(server) => {
                let database = self.cluster.database().await?;
                let figures = peers.run(peer, database.url(), steps, load).await;
                let drop = format!("DROP DATABASE {} WITH (FORCE)", database.name());
                server.execute(AssertSqlSafe(drop)).await?;
                figures
            }
            None => {
                let folder = tempfile::tempdir_in(self.files.path())?;
                let url = format!("sqlite:{}?mode=rwc", folder.path().join("peer.db").display());
                peers.run(peer, &url, steps, load).await
            }
        }
    }
}
