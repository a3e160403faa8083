//! Another engine for durable workflows, measured as `cargo bench -p benches --bench compare` measures ours.
//!
//! `peers --engine dbos --url postgres://… [--steps 3] [--at-once 64] [--seconds 3]` runs sagas that do nothing on a
//! database that should be fresh, and prints one row of JSON. How each engine is set up, and after which document
//! of its own, stands in the head of its file.

#![allow(missing_docs, reason = "a program")]

#[path = "../../src/cpu.rs"]
mod cpu;
#[path = "../../src/figures.rs"]
mod figures;
#[path = "../../src/load.rs"]
mod load;
#[path = "../../src/payload.rs"]
mod payload;
#[path = "../../src/probe.rs"]
mod probe;

mod dbos;
mod durare;
mod duroxide;
mod engine;
mod underway;

use std::error::Error;
use std::time::Duration;

use clap::Parser;
use cpu::Cpu;
use engine::Name;
use figures::Figures;
use load::{Load, measure};
use mimalloc::MiMalloc;
use payload::RESULT;
use probe::Probe;
use sqlx::{Connection as _, PgConnection};

/// As hosts that care run: all contenders have the same allocator.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

#[derive(Parser)]
struct Args {
    /// Who.
    #[arg(long)]
    engine: Name,
    /// A fresh database; for an engine with an embedded journal, `sqlite:` and the path of a new file.
    #[arg(long)]
    url: String,
    /// Steps of each saga.
    #[arg(long, default_value_t = 3)]
    steps: usize,
    /// Callers at once.
    #[arg(long, default_value_t = 64)]
    at_once: usize,
    /// How long to measure.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    let engine = engine::open(args.engine, &args.url, args.steps).await.map_err(|failure| failure as Box<dyn Error>)?;
    let server = match args.engine.has_server() {
        true => Some(PgConnection::connect(&args.url).await?),
        false => None,
    };
    let mut probe = Probe { server, trips: None };
    // The process ends after the row, and the database with it.
    let load = Load { drain: false, ..Load::new(args.at_once, Duration::from_secs_f64(args.seconds)) };
    let saga = move |key: String| {
        let engine = engine.clone();
        async move { engine.saga(key).await.map_err(|error| error.to_string()) }
    };
    let figures = Figures::measure(saga, load, &mut probe).await?;
    println!("{}", serde_json::to_string(&figures)?);
    Ok(())
}
