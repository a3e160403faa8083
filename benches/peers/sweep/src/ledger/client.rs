//! The ledger, as the programs call it.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

use super::{Answer, Ask, End, Line, Op, Said};

/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(1);

/// A client of the ledger.
#[derive(Clone, Copy, Debug)]
pub struct Ledger {
    address: SocketAddr,
    worker: u32,
}

/// Why a call did not do what it was to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// Nobody knows whether it happened.
    #[error("no answer")]
    NoAnswer,
    /// Certainly nothing happened.
    #[error("declined")]
    Declined,
    /// The participant cannot, now.
    #[error("refused")]
    Refused,
}

impl Ledger {
    /// The ledger at this address, as this worker.
    pub fn at(address: SocketAddr, worker: u32) -> Self {
        Self { address, worker }
    }

    /// Has an effect.
    pub async fn perform(&self, op: Op, key: String) -> Result<(), Trouble> {
        self.done(Ask::Perform { op, key }).await
    }

    /// Undoes one.
    pub async fn undo(&self, op: Op, key: String) -> Result<(), Trouble> {
        self.done(Ask::Undo { op, key }).await
    }

    /// Whether it happened. If not, it never will.
    pub async fn probe(&self, op: Op, key: String) -> Result<bool, Trouble> {
        match self.ask(Ask::Probe { op, key }).await? {
            Said::Happened => Ok(true),
            Said::NotHappened => Ok(false),
            Said::Done | Said::Declined | Said::Refused => Err(Trouble::NoAnswer),
        }
    }

    /// Tells what became of the saga.
    pub async fn told(&self, end: End, text: String) -> Result<(), Trouble> {
        self.done(Ask::Told { end, text }).await
    }

    async fn done(&self, ask: Ask) -> Result<(), Trouble> {
        match self.ask(ask).await? {
            Said::Done => Ok(()),
            Said::Declined => Err(Trouble::Declined),
            Said::Refused | Said::Happened | Said::NotHappened => Err(Trouble::Refused),
        }
    }

    async fn ask(&self, ask: Ask) -> Result<Said, Trouble> {
        let asked = tokio::time::timeout(TIMEOUT, self.exchange(ask)).await;
        let (answer, mut stream) = asked.map_err(|_| Trouble::NoAnswer)?.map_err(|_| Trouble::NoAnswer)?;
        if answer.hold {
            // The sweep stops or kills this process here: the answer has come, and no checkpoint was written.
            stream.write_all(b"came\n").await.map_err(|_| Trouble::NoAnswer)?;
            stream.read_line(&mut String::new()).await.map_err(|_| Trouble::NoAnswer)?;
        }
        Ok(answer.said)
    }

    async fn exchange(&self, ask: Ask) -> std::io::Result<(Answer, BufReader<TcpStream>)> {
        let mut stream = BufReader::new(TcpStream::connect(self.address).await?);
        let mut text = serde_json::to_string(&Line { worker: self.worker, ask })?;
        text.push('\n');
        stream.write_all(text.as_bytes()).await?;
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        Ok((serde_json::from_str(&line)?, stream))
    }
}
