//! A payment gateway that stands in for a real one, see `examples::gateway`.

use std::path::PathBuf;

use clap::Parser;
use examples::gateway::{Faults, Ledger, serve};

#[derive(Parser)]
#[command(about = "A payment gateway with a ledger of its own, and faults on request")]
struct Args {
    /// The port on the loopback interface; 0 takes a free one.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// The ledger's file.
    #[arg(long, default_value = "gateway-ledger.db")]
    ledger: PathBuf,
    /// The share of calls that lose their answer, and of those that get 503.
    #[arg(long, default_value_t = 0.0)]
    fault_rate: f64,
    /// The seed of the faults.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args = Args::parse();
    let ledger = Ledger::open(&args.ledger).await?;
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", args.port)).await?;
    println!("http://{}", listener.local_addr()?);
    serve(listener, ledger, Faults::new(args.fault_rate, args.seed)).await?;
    Ok(())
}
