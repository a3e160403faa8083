//! The ledger as a server, with the one fault that its run is about.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::book::Book;
use super::{Answer, Ask, Line, Said};
use crate::script::{Call, Fault, Moment, Point, Script};

/// How much later a call lands whose answer never comes: later than any of the programs gives up and undoes.
pub const LATE: Duration = Duration::from_secs(8);

/// What workers and sweep see of each other.
#[derive(Debug)]
struct Shared {
    script: Script,
    book: Mutex<Book>,
    refused: Mutex<u32>,
    /// Whether a call has met the point of the script: only the first does.
    met: AtomicBool,
    /// Whether a worker has come to the point of the script.
    reached: watch::Sender<bool>,
    /// Whether what is held may go on.
    released: watch::Sender<bool>,
    /// Counts what was told.
    told: watch::Sender<usize>,
}

/// A ledger that listens.
#[derive(Debug)]
pub struct Server {
    shared: Arc<Shared>,
    address: SocketAddr,
    _serving: JoinSet<()>,
}

impl Server {
    /// Starts one with empty books.
    pub async fn start(script: Script) -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            script,
            book: Mutex::default(),
            refused: Mutex::default(),
            met: AtomicBool::new(false),
            reached: watch::Sender::new(false),
            released: watch::Sender::new(false),
            told: watch::Sender::new(0),
        });
        let (of_server, mut serving) = (shared.clone(), JoinSet::new());
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            // A connection that ends early was the worker's end.
            while let Ok((stream, _)) = listener.accept().await {
                let shared = of_server.clone();
                connections.spawn(async move { drop(shared.serve(stream).await) });
            }
        });
        Ok(Self { shared, address, _serving: serving })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits for a worker at the point of the script; false when none came in time.
    pub async fn reached(&self, patience: Duration) -> bool {
        let mut reached = self.shared.reached.subscribe();
        let came = tokio::time::timeout(patience, reached.wait_for(|reached| *reached)).await;
        came.is_ok_and(|came| came.is_ok())
    }

    /// Lets go on what is held.
    pub fn release(&self) {
        self.shared.released.send_replace(true);
    }

    /// Waits until this worker has told; false when it did not in time.
    pub async fn told_by(&self, worker: u32, patience: Duration) -> bool {
        let mut told = self.shared.told.subscribe();
        let by = |_: &usize| self.book().told.iter().any(|(who, ..)| *who == worker);
        let came = tokio::time::timeout(patience, told.wait_for(by)).await;
        came.is_ok_and(|came| came.is_ok())
    }

    /// The books.
    pub fn book(&self) -> MutexGuard<'_, Book> {
        self.shared.book()
    }
}

impl Shared {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn serve(self: Arc<Self>, stream: TcpStream) -> std::io::Result<()> {
        let mut stream = BufReader::new(stream);
        let mut text = String::new();
        stream.read_line(&mut text).await?;
        let line: Line = serde_json::from_str(&text)?;
        if let Some(point) = self.point_of(&line) {
            return self.at_point(stream, line, point.moment).await;
        }
        let said = match self.fault_of(&line) {
            Some(Fault::AnswersLost { .. }) => {
                self.act(&line);
                return self.silence(stream).await;
            }
            Some(Fault::Late { .. }) => {
                let shared = self.clone();
                tokio::spawn(async move {
                    tokio::time::sleep(LATE).await;
                    shared.act(&line);
                });
                return self.silence(stream).await;
            }
            Some(Fault::Declined) => Said::Declined,
            Some(Fault::UndoRefused { .. }) => Said::Refused,
            // Once was at the point of the script.
            Some(Fault::DeclinedOnce) | None => self.act(&line),
        };
        answer(&mut stream, said, false).await
    }

    /// The point of the script, when this is the first call there.
    fn point_of(&self, line: &Line) -> Option<Point> {
        let point = self.script.point?;
        let here = point.call == Call::of(&line.ask)?;
        (here && !self.met.swap(true, Ordering::SeqCst)).then_some(point)
    }

    async fn at_point(&self, mut stream: BufReader<TcpStream>, line: Line, moment: Moment) -> std::io::Result<()> {
        // What is declined has no effect, at no moment.
        let fault = self.script.fault_at(&line.ask);
        let declined = matches!(fault, Some(Fault::Declined | Fault::DeclinedOnce));
        let act = || if declined { Said::Declined } else { self.act(&line) };
        match moment {
            Moment::Before => {
                self.stand_still().await;
                if self.script.zombie {
                    let said = act();
                    return answer(&mut stream, said, false).await;
                }
                Ok(())
            }
            Moment::Effect => {
                let said = act();
                self.stand_still().await;
                answer(&mut stream, said, false).await
            }
            Moment::Answered => {
                let said = act();
                answer(&mut stream, said, true).await?;
                stream.read_line(&mut String::new()).await?;
                self.stand_still().await;
                stream.write_all(b"go\n").await
            }
            Moment::Later(after) => {
                let said = act();
                answer(&mut stream, said, false).await?;
                tokio::time::sleep(after).await;
                self.reached.send_replace(true);
                Ok(())
            }
        }
    }

    /// Tells the sweep, and waits for its word.
    async fn stand_still(&self) {
        self.reached.send_replace(true);
        // The sender is this.
        drop(self.released.subscribe().wait_for(|released| *released).await);
    }

    /// What goes wrong with this call. An undo that is refused for a while is refused twice.
    fn fault_of(&self, line: &Line) -> Option<Fault> {
        let fault = self.script.fault_at(&line.ask)?;
        if let Fault::UndoRefused { times: Some(times), .. } = fault {
            let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
            *refused += 1;
            return (*refused <= times).then_some(fault);
        }
        Some(fault)
    }

    /// Says nothing until the worker gives up.
    async fn silence(&self, mut stream: BufReader<TcpStream>) -> std::io::Result<()> {
        stream.read_line(&mut String::new()).await.map(drop)
    }

    fn act(&self, line: &Line) -> Said {
        let said = self.book().act(line.worker, &line.ask);
        if matches!(line.ask, Ask::Told { .. }) {
            self.told.send_modify(|told| *told += 1);
        }
        said
    }
}

async fn answer(stream: &mut BufReader<TcpStream>, said: Said, hold: bool) -> std::io::Result<()> {
    let mut text = serde_json::to_string(&Answer { said, hold })?;
    text.push('\n');
    stream.write_all(text.as_bytes()).await
}
