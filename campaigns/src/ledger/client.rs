//! The ledger, as workers call it.

use std::net::SocketAddr;
use std::time::Duration;

use saga_core::publish::{EventPublisher, OutgoingEvent, PublishError};
use saga_core::{IdempotencyKey, Probe, StepError, async_trait};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

use super::{Answer, Apply, Ask, Undo};

/// How long a call may take: shorter than a late effect may be late.
const TIMEOUT: Duration = Duration::from_secs(2);

/// A client of the ledger.
#[derive(Clone, Copy, Debug)]
pub struct Ledger {
    address: SocketAddr,
}

/// What the ledger did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answered {
    /// What was asked.
    Done,
    /// Nothing, now and for ever.
    Refused,
}

impl Ledger {
    /// The ledger at this address.
    #[must_use]
    pub fn at(address: SocketAddr) -> Self {
        Self { address }
    }

    /// Has an effect.
    ///
    /// # Errors
    /// As a step: unknown when no answer came, rejected when the ledger refused.
    pub async fn apply(&self, apply: Apply) -> Result<(), StepError> {
        match self.ask(&Ask::Apply(apply)).await? {
            Answer::Done => Ok(()),
            Answer::Declined => Err(StepError::rejected("declined")),
            answer => Err(StepError::rejected(format!("refused: {answer:?}"))),
        }
    }

    /// Undoes an effect.
    ///
    /// # Errors
    /// As a compensation: to be tried again when no answer came, fatal when the ledger refused.
    pub async fn undo(&self, undo: Undo) -> Result<(), StepError> {
        match self.ask(&Ask::Undo(undo)).await? {
            Answer::Done => Ok(()),
            answer => Err(StepError::fatal(format!("not undone: {answer:?}"))),
        }
    }

    /// Asks whether something happened, and closes the key if not.
    ///
    /// # Errors
    /// When no answer came.
    pub async fn probe<T>(&self, key: IdempotencyKey, applied: T) -> Result<Probe<T>, StepError> {
        match self.ask(&Ask::Close { key }).await? {
            Answer::Applied => Ok(Probe::Applied(applied)),
            Answer::NotApplied => Ok(Probe::NotApplied),
            _ => Ok(Probe::Unknown),
        }
    }

    async fn ask(&self, ask: &Ask) -> Result<Answer, StepError> {
        let connecting = tokio::time::timeout(TIMEOUT, TcpStream::connect(self.address)).await;
        let stream = match connecting {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(StepError::unsent(error)),
            Err(_) => return Err(StepError::unsent("no connection in time")),
        };
        tokio::time::timeout(TIMEOUT, exchange(stream, ask)).await.map_err(|_| StepError::retry("no answer in time"))?
    }
}

async fn exchange(stream: TcpStream, ask: &Ask) -> Result<Answer, StepError> {
    let mut stream = BufReader::new(stream);
    let mut text = serde_json::to_string(ask)?;
    text.push('\n');
    stream.write_all(text.as_bytes()).await?;
    let mut line = String::new();
    match stream.read_line(&mut line).await? {
        0 => Err(StepError::retry("the connection was closed without an answer")),
        _ => Ok(serde_json::from_str(&line)?),
    }
}

/// Events go to the ledger as well.
#[async_trait]
impl EventPublisher for Ledger {
    async fn publish(&self, event: &OutgoingEvent) -> Result<(), PublishError> {
        let (id, topic) = (event.id.clone(), event.topic.clone());
        match self.ask(&Ask::Deliver { saga: event.saga, id, topic }).await {
            Ok(Answer::Done) => Ok(()),
            Ok(answer) => Err(PublishError::transient(format!("{answer:?}"))),
            Err(error) => Err(PublishError::transient(error)),
        }
    }
}
