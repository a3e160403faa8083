//! The ledger as a server: a line of JSON each way, over TCP on this machine.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::book::{Book, Delivery};
use super::faults::{Faults, Planned, Rates};
use super::{Answer, Ask};

/// A ledger that listens; it lives in the campaign's own process, which no fault touches.
#[derive(Debug)]
pub struct LedgerServer {
    book: Arc<Mutex<Book>>,
    address: SocketAddr,
    _serving: JoinSet<()>,
}

impl LedgerServer {
    /// Starts one with empty books.
    ///
    /// # Errors
    /// When no port is to be had.
    pub async fn start(rates: Rates, seed: u64) -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (address, book) = (listener.local_addr()?, Arc::<Mutex<Book>>::default());
        let (books, faults) = (book.clone(), Arc::new(Faults::new(rates, seed)));
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            // A connection that could not be taken was the caller's trouble.
            while let Ok((stream, _)) = listener.accept().await {
                let (book, faults) = (books.clone(), faults.clone());
                connections.spawn(async move { serve(stream, book, faults).await });
                while connections.try_join_next().is_some() {}
            }
        });
        Ok(Self { book, address, _serving: serving })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The books, as they stand.
    #[must_use]
    pub fn book(&self) -> Book {
        locked(&self.book).clone()
    }
}

fn locked(book: &Mutex<Book>) -> MutexGuard<'_, Book> {
    book.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Answers one connection until it closes, or is to be cut.
async fn serve(stream: TcpStream, book: Arc<Mutex<Book>>, faults: Arc<Faults>) {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    loop {
        line.clear();
        match stream.read_line(&mut line).await {
            Ok(1..) => {}
            Ok(0) | Err(_) => return,
        }
        let Ok(ask) = serde_json::from_str::<Ask>(&line) else { return };
        let answer = match faults.plan(&ask) {
            Planned::Answer => act(&mut locked(&book), &ask),
            Planned::LoseAnswer => {
                let mut book = locked(&book);
                act(&mut book, &ask);
                book.faults[0] += 1;
                return;
            }
            Planned::LoseCall => {
                locked(&book).faults[1] += 1;
                return;
            }
            Planned::Late(after) => {
                locked(&book).faults[2] += 1;
                // It happens although nobody listens any more.
                tokio::spawn(async move {
                    tokio::time::sleep(after).await;
                    act(&mut locked(&book), &ask);
                });
                return;
            }
            Planned::Decline => Answer::Declined,
        };
        let Ok(mut text) = serde_json::to_string(&answer) else { return };
        text.push('\n');
        if stream.write_all(text.as_bytes()).await.is_err() {
            return;
        }
    }
}

fn act(book: &mut Book, ask: &Ask) -> Answer {
    match ask {
        Ask::Apply(apply) if book.apply(apply) => Answer::Done,
        Ask::Apply(_) => Answer::Closed,
        Ask::Undo(undo) => {
            book.undo(undo);
            Answer::Done
        }
        Ask::Close { key } if book.close(*key) => Answer::Applied,
        Ask::Close { .. } => Answer::NotApplied,
        Ask::Deliver { saga, id, topic } => {
            book.deliveries.push(Delivery { saga: *saga, id: id.clone(), topic: topic.clone() });
            Answer::Done
        }
    }
}
