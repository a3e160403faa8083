//! A private, real NATS server with JetStream for tests: on a random loopback port, in a directory of
//! its own, gone with the test process whatever ends that.

use std::fs;
use std::io::{self, Write as _};
use std::net::TcpListener;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;

/// How long the server may take to answer after its start.
const START_MAX: Duration = Duration::from_secs(30);
/// How long one greeting may take.
const GREETING_MAX: Duration = Duration::from_secs(2);
/// How far apart the server is looked for.
const LOOK_PAUSE: Duration = Duration::from_millis(10);
/// What makes the watchdog leave the data where it is.
const KEEP: &[u8] = b"keep\n";
/// Debian keeps servers where not everyone looks for programs.
const BEYOND_PATH: [&str; 3] = ["/usr/sbin", "/usr/local/sbin", "/usr/local/bin"];

/// Why there is no NATS server for the tests.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NatsError {
    /// No server binary was found. The message says what to install.
    #[error("no nats-server in PATH, /usr/sbin or /usr/local: install it (Debian: apt-get install nats-server)")]
    NoBinary,
    /// A command or file operation failed.
    #[error("{doing} failed")]
    Io {
        /// What was tried.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The server did not come up.
    #[error("the NATS server did not answer within {START_MAX:?}; its log:\n{log}")]
    NotUp {
        /// What it logged.
        log: String,
    },
}

fn io_failed(doing: &'static str) -> impl FnOnce(io::Error) -> NatsError {
    move |source| NatsError::Io { doing, source }
}

/// A NATS server with JetStream.
#[derive(Debug)]
pub struct NatsServer {
    binary: PathBuf,
    dir: PathBuf,
    port: u16,
    /// None while the server is killed.
    watchdog: Mutex<Option<Child>>,
}

impl NatsServer {
    /// The server that all tests of this process share; started at the first call.
    ///
    /// # Errors
    /// See [`NatsError`].
    pub async fn shared() -> Result<&'static Self, NatsError> {
        static SHARED: OnceCell<NatsServer> = OnceCell::const_new();
        SHARED.get_or_try_init(Self::start).await
    }

    /// A server of one's own, to be stopped and started at will.
    ///
    /// # Errors
    /// See [`NatsError`].
    pub async fn start() -> Result<Self, NatsError> {
        let binary = find_binary().ok_or(NatsError::NoBinary)?;
        let dir =
            tempfile::Builder::new().prefix("saga-nats-").tempdir().map_err(io_failed("making a directory"))?.keep();
        let server = Self { binary, dir, port: free_port()?, watchdog: Mutex::default() };
        server.launch()?;
        server.wait_until_up().await?;
        Ok(server)
    }

    /// Where it listens.
    #[must_use]
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Kills the server. What it has acknowledged stays on its disk.
    ///
    /// # Errors
    /// When the server cannot be killed.
    pub fn kill(&self) -> Result<(), NatsError> {
        let Some(mut watchdog) = self.watchdog().take() else { return Ok(()) };
        let mut told = watchdog.stdin.take();
        let told = told.as_mut().map_or(Ok(()), |pipe| pipe.write_all(KEEP));
        told.and_then(|()| watchdog.wait()).map(drop).map_err(io_failed("killing the server"))
    }

    /// Starts a killed server again, on the same port and data.
    ///
    /// # Errors
    /// When the server does not come up.
    pub async fn start_again(&self) -> Result<(), NatsError> {
        self.launch()?;
        self.wait_until_up().await
    }

    fn watchdog(&self) -> MutexGuard<'_, Option<Child>> {
        self.watchdog.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts the server under a shell that reads a pipe which this process holds open. However this
    /// process ends, the pipe closes with it, and the shell stops the server and clears up; told to keep
    /// the data, it only stops the server.
    fn launch(&self) -> Result<(), NatsError> {
        const WATCHDOG: &str = r#"
            "$1" -a 127.0.0.1 -p "$3" -js -sd "$2/data" >>"$2/log" 2>&1 </dev/null &
            server=$!
            read -r told
            kill -KILL "$server" 2>/dev/null
            wait "$server" 2>/dev/null
            [ "$told" = keep ] || rm -rf "$2"
        "#;
        let mut command = Command::new("/bin/sh");
        command.arg("-c").arg(WATCHDOG).arg("watchdog").arg(&self.binary).arg(&self.dir).arg(self.port.to_string());
        command.current_dir(&self.dir).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        // A group of its own, so that an interrupt at the terminal reaches it through the pipe alone.
        command.process_group(0);
        let watchdog = command.spawn().map_err(io_failed("starting the server"))?;
        *self.watchdog() = Some(watchdog);
        Ok(())
    }

    async fn wait_until_up(&self) -> Result<(), NatsError> {
        let began = Instant::now();
        while began.elapsed() < START_MAX {
            if let Ok(Ok(greeting)) = tokio::time::timeout(GREETING_MAX, greeting(self.port)).await
                && greeting.starts_with("INFO ")
                && greeting.contains("\"jetstream\":true")
            {
                return Ok(());
            }
            tokio::time::sleep(LOOK_PAUSE).await;
        }
        Err(NatsError::NotUp { log: fs::read_to_string(self.dir.join("log")).unwrap_or_default() })
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        if let Some(mut watchdog) = self.watchdog().take() {
            drop(watchdog.stdin.take());
            // It is on its way out either way.
            watchdog.wait().ok();
        }
        // Gone already, unless the server was killed and not started again.
        fs::remove_dir_all(&self.dir).ok();
    }
}

/// What the server says first to whoever connects.
async fn greeting(port: u16) -> io::Result<String> {
    let mut line = String::new();
    BufReader::new(TcpStream::connect(("127.0.0.1", port)).await?).read_line(&mut line).await?;
    Ok(line)
}

/// The server binary on this machine.
#[must_use]
pub fn find_binary() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = std::env::split_paths(&path).chain(BEYOND_PATH.map(|dir| Path::new(dir).to_owned()));
    dirs.map(|dir| dir.join("nats-server")).find(|binary| binary.is_file())
}

fn free_port() -> Result<u16, NatsError> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(io_failed("finding a port"))?;
    listener.local_addr().map(|address| address.port()).map_err(io_failed("finding a port"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_server_survives_a_kill_and_goes_with_whoever_holds_it() {
        let server = NatsServer::start().await.unwrap();
        let (dir, port) = (server.dir.clone(), server.port);
        server.kill().unwrap();
        assert!(greeting(port).await.is_err());
        server.start_again().await.unwrap();
        assert!(greeting(port).await.unwrap().starts_with("INFO "));
        // The pipe closes as it would with the death of this process.
        drop(server);
        assert!(greeting(port).await.is_err());
        assert!(!dir.exists());
    }
}
