//! A worker process: runs the one saga, tells what became of it, and waits until it is ended.

use std::net::SocketAddr;

use tokio::io::AsyncReadExt as _;

use crate::engine::{self, Failure, Name};
use crate::ledger::Ledger;

/// What a worker is told.
#[derive(clap::Args, Clone, Debug)]
pub struct Work {
    #[arg(long)]
    pub engine: Name,
    /// The database.
    #[arg(long)]
    pub url: String,
    /// The saga.
    #[arg(long)]
    pub id: String,
    /// The participant.
    #[arg(long)]
    pub ledger: SocketAddr,
    /// Which worker of the run this is.
    #[arg(long)]
    pub worker: u32,
}

/// Works until standard input ends.
pub async fn work(work: &Work) -> Result<(), Failure> {
    let ledger = Ledger::at(work.ledger, work.worker);
    engine::provide(ledger);
    let told = async {
        let (end, text) = engine::run(work.engine, &work.url, &work.id, ledger).await?;
        ledger.told(end, text).await?;
        std::future::pending::<Result<(), Failure>>().await
    };
    let mut byte = [0_u8; 1];
    let mut parent = tokio::io::stdin();
    tokio::select! {
        told = told => told,
        _ = parent.read(&mut byte) => Ok(()),
    }
}
