//! Counts what sagas in flight take, for the bench `reach`: a program of its own, because counting slows down every
//! allocation.

use std::path::PathBuf;

use clap::Parser;

#[global_allocator]
static COUNTING: dhat::Alloc = dhat::Alloc;

#[derive(Parser)]
struct Args {
    /// The database.
    #[arg(long)]
    url: String,
    /// How many sagas are in flight.
    #[arg(long)]
    sagas: usize,
    /// Where to write what is on the heap, and who put it there.
    #[arg(long)]
    heap_profile: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args = Args::parse();
    let builder = dhat::Profiler::builder();
    let _counting = match &args.heap_profile {
        Some(path) => builder.file_name(path).trim_backtraces(Some(24)).build(),
        None => builder.testing().build(),
    };
    let weights = benches::reach::measure_memory(&args.url, args.sagas, || dhat::HeapStats::get().curr_bytes).await?;
    println!("{}", serde_json::to_string(&weights)?);
    Ok(())
}
