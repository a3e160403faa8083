//! The engine beside its floor (the same rows in the same transactions, written by no engine) and, if asked for,
//! beside other engines.
//!
//! `cargo bench -p benches --bench compare -- [--steps 3,9] [--at-once 1,64,1000] [--seconds 3] [--rounds 3]
//! [--peers] [--out target/compare]`. All run in turns on one private Postgres with its default durability; what is
//! told is the median of the rounds. Writes `compare.md`, `compare.json` and `compare.svg`.

#![allow(missing_docs, reason = "a program")]

use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;

use benches::{Case, Contender, Figures, Floor, Load, Peer, Peers, noop, report, run_saga};
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use saga_core::{Engine, Limits};
use saga_postgres::PostgresJournal;
use saga_testkit::postgres::Cluster;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};

#[derive(Parser)]
struct Args {
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

/// Where all of it happens.
struct Arena {
    cluster: Cluster,
    /// Of the floor and of ours.
    url: String,
    /// To the server whose CPU time counts.
    probe: PgConnection,
    peers: Option<Peers>,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    let peers = if args.peers { Some(Peers::build().await?) } else { None };
    let cluster = Cluster::start_private().await?;
    let url = cluster.database().await?.url().to_owned();
    let probe = PgConnection::connect(&url).await?;
    let mut arena = Arena { cluster, url, probe, peers };
    let bar = ProgressBar::new((args.steps.len() * args.at_once.len() * args.rounds) as u64);
    bar.set_style(ProgressStyle::with_template("{bar:40} {pos}/{len} {msg}")?);
    let note = format!("Medians; rounds: {}, of {} s each.", args.rounds, args.seconds);
    let (mut cases, mut text) = (Vec::new(), String::new());
    for &steps in &args.steps {
        let floor = Floor::open(&arena.url, steps).await?;
        for &at_once in &args.at_once {
            bar.set_message(format!("{steps} steps, {at_once} at once"));
            let load = Load::new(at_once, Duration::from_secs_f64(args.seconds));
            cases.push(arena.case(&floor, steps, load, args.rounds, &bar).await?);
            // A run takes minutes: what is ended early has told what it knew.
            text = report(&args.out, &note, &cases)?;
        }
    }
    bar.finish_and_clear();
    println!("{text}");
    Ok(())
}

impl Arena {
    /// All contenders in turns, so often.
    async fn case(
        &mut self,
        floor: &Floor,
        steps: usize,
        load: Load,
        rounds: usize,
        bar: &ProgressBar,
    ) -> Result<Case, Box<dyn Error>> {
        let peers = self.peers.as_ref().map(|peers| peers.all().to_vec()).unwrap_or_default();
        let (mut floors, mut ours, mut theirs) = (Vec::new(), Vec::new(), vec![Vec::new(); peers.len()]);
        for _ in 0..rounds {
            floors.push(self.floor(floor, load).await?);
            ours.push(self.ours(steps, load).await?);
            for (peer, theirs) in peers.iter().zip(&mut theirs) {
                match self.peer(peer, steps, load).await {
                    Ok(figures) => theirs.push(figures),
                    // Their failure is a result as well, and no reason to end.
                    Err(error) => eprintln!("{}, {steps} steps, {} at once: {error}", peer.label(), load.at_once),
                }
            }
            bar.inc(1);
        }
        let peers = peers.iter().zip(&theirs).map(|(peer, rounds)| Contender::new(&peer.label(), rounds)).collect();
        let (floor, ours) = (Contender::new("floor", &floors), Contender::new("saga-postgres", &ours));
        Ok(Case::new(steps, load.at_once, floor, ours, peers))
    }

    async fn floor(&mut self, floor: &Floor, load: Load) -> Result<Figures, Box<dyn Error>> {
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
        let journal = PostgresJournal::connect(&self.url).await?;
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

    /// On a fresh database, gone afterwards.
    async fn peer(&mut self, peer: &Peer, steps: usize, load: Load) -> Result<Figures, Box<dyn Error>> {
        let peers = self.peers.as_ref().ok_or("no peers were built")?;
        let database = self.cluster.database().await?;
        let figures = peers.run(peer, database.url(), steps, load).await;
        let drop = format!("DROP DATABASE {} WITH (FORCE)", database.name());
        self.probe.execute(AssertSqlSafe(drop)).await?;
        figures
    }
}
