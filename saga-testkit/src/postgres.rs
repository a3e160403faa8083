//! A private, real Postgres for tests: its own cluster on a random loopback port, with the default
//! durability, gone with the test process whatever ends that.

use std::fs;
use std::io;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use tokio::sync::OnceCell;

/// The environment variable that names a server to use instead of a private one.
pub const URL_VARIABLE: &str = "SAGA_TEST_POSTGRES_URL";

/// How long the server may take to answer after its start.
const START_MAX: Duration = Duration::from_secs(60);

/// Why there is no Postgres for the tests.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClusterError {
    /// No server binaries were found. The message says what to install.
    #[error(
        "no PostgreSQL server binaries (initdb, postgres) in /usr/lib/postgresql/*/bin, /usr/local/bin or PATH: \
         install them (Debian: apt-get install postgresql), or name a server in {URL_VARIABLE}"
    )]
    NoBinaries,
    /// Postgres does not run as root, and no other user was found to run it as.
    #[error("PostgreSQL does not run as root and there is neither a user postgres nor nobody to run it as")]
    NoUser,
    /// A command or file operation failed.
    #[error("{doing} failed")]
    Io {
        /// What was tried.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// `initdb` failed.
    #[error("initdb failed: {output}")]
    Initdb {
        /// What it printed.
        output: String,
    },
    /// The server did not come up.
    #[error("the server did not answer within {START_MAX:?}; its log:\n{log}")]
    NotUp {
        /// The end of its log.
        log: String,
    },
    /// The server refused.
    #[error("the test server refused")]
    Sql {
        /// What it said.
        #[from]
        source: sqlx::Error,
    },
}

fn io_failed(doing: &'static str) -> impl FnOnce(io::Error) -> ClusterError {
    move |source| ClusterError::Io { doing, source }
}

/// A Postgres cluster of its own, or the server that [`URL_VARIABLE`] names.
#[derive(Debug)]
pub struct Cluster {
    base_url: String,
    private: Option<Private>,
}

#[derive(Debug)]
struct Private {
    bin: PathBuf,
    dir: PathBuf,
    port: u16,
    run_as: Option<(u32, u32)>,
    /// What the server finds in its environment, beside what is there.
    environment: Vec<(String, String)>,
    watchdogs: Mutex<Vec<Child>>,
}

/// A fresh database.
#[derive(Clone, Debug)]
pub struct TestDatabase {
    url: String,
    name: String,
}

impl TestDatabase {
    /// Where it is, with a user who may do everything in it.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Cluster {
    /// The cluster that all tests of this process share; started at the first call.
    ///
    /// # Errors
    /// See [`ClusterError`].
    pub async fn shared() -> Result<&'static Self, ClusterError> {
        static SHARED: OnceCell<Cluster> = OnceCell::const_new();
        SHARED.get_or_try_init(Self::start).await
    }

    /// A cluster of one's own, to be stopped and started at will.
    ///
    /// # Errors
    /// See [`ClusterError`].
    pub async fn start() -> Result<Self, ClusterError> {
        if let Ok(base_url) = std::env::var(URL_VARIABLE) {
            return Ok(Self { base_url, private: None });
        }
        Self::start_private().await
    }

    /// A private cluster, even when a server is named in the environment.
    ///
    /// # Errors
    /// See [`ClusterError`].
    pub async fn start_private() -> Result<Self, ClusterError> {
        Self::start_private_with(Vec::new()).await
    }

    /// As [`Cluster::start_private`], with these variables in the server's environment: a library to load first, for
    /// one.
    ///
    /// # Errors
    /// See [`ClusterError`].
    pub async fn start_private_with(environment: Vec<(String, String)>) -> Result<Self, ClusterError> {
        let bin = find_binaries().ok_or(ClusterError::NoBinaries)?;
        let run_as = other_user()?;
        let dir = tempfile::Builder::new()
            .prefix("saga-postgres-")
            .tempdir()
            .map_err(io_failed("making a directory"))?
            .keep();
        if let Some((uid, gid)) = run_as {
            chown(&dir, Some(uid), Some(gid)).map_err(io_failed("giving the directory away"))?;
        }
        let private = Private { bin, dir, port: free_port()?, run_as, environment, watchdogs: Mutex::default() };
        private.initdb()?;
        private.launch()?;
        let base_url = format!("postgres://postgres@127.0.0.1:{}/postgres", private.port);
        let cluster = Self { base_url, private: Some(private) };
        cluster.wait_until_up().await?;
        Ok(cluster)
    }

    /// A new, empty database.
    ///
    /// # Errors
    /// When the server refuses.
    pub async fn database(&self) -> Result<TestDatabase, ClusterError> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("test_{}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let mut connection = PgConnection::connect(&self.base_url).await?;
        connection.execute(AssertSqlSafe(format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"))).await?;
        connection.execute(AssertSqlSafe(format!("CREATE DATABASE {name} ENCODING 'UTF8' TEMPLATE template0"))).await?;
        connection.close().await?;
        Ok(TestDatabase { url: with_database(&self.base_url, &name), name })
    }

    /// The server's own database, for looking at all the others.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.base_url
    }

    /// Stops a private server as a power failure would: without a checkpoint.
    ///
    /// # Errors
    /// When the server is not private, or does not stop.
    pub fn stop_immediately(&self) -> Result<(), ClusterError> {
        let private = self.private()?;
        let status = private
            .command("pg_ctl")
            .args(["-w", "-m", "immediate", "stop", "-D"])
            .arg(private.data())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        status.map(drop).map_err(io_failed("stopping the server"))
    }

    /// Kills a private server's first process (SIGKILL), and waits until its others have gone as well: they
    /// notice by themselves, and are not asked.
    ///
    /// # Errors
    /// When the server is not private, or does not run.
    pub async fn kill(&self) -> Result<(), ClusterError> {
        let private = self.private()?;
        let pid = private.pid()?;
        let killed = Command::new("kill").args(["-KILL", &pid.to_string()]).stderr(Stdio::null()).status();
        killed.map_err(io_failed("killing the server"))?;
        let began = Instant::now();
        // Each of them holds the segment of memory that a new server must not find in use.
        while private.is_in_use() && began.elapsed() < START_MAX {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    /// The process id of a private server.
    ///
    /// # Errors
    /// When the server is not private, or does not run.
    pub fn pid(&self) -> Result<u32, ClusterError> {
        self.private()?.pid()
    }

    /// Starts a stopped private server again, on the same port and data.
    ///
    /// # Errors
    /// When the server is not private, or does not come up.
    pub async fn start_again(&self) -> Result<(), ClusterError> {
        self.private()?.launch()?;
        self.wait_until_up().await
    }

    fn private(&self) -> Result<&Private, ClusterError> {
        let missing = || io::Error::other(format!("{URL_VARIABLE} names a server that is not ours to stop"));
        self.private.as_ref().ok_or_else(missing).map_err(io_failed("stopping or starting the server"))
    }

    async fn wait_until_up(&self) -> Result<(), ClusterError> {
        let began = Instant::now();
        while began.elapsed() < START_MAX {
            if let Ok(connection) = PgConnection::connect(&self.base_url).await {
                connection.close().await?;
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
        let log = self.private.as_ref().map(Private::log).unwrap_or_default();
        Err(ClusterError::NotUp { log })
    }
}

impl Drop for Private {
    fn drop(&mut self) {
        for watchdog in self.watchdogs.lock().unwrap_or_else(PoisonError::into_inner).iter_mut() {
            drop(watchdog.stdin.take());
            // It is on its way out either way.
            watchdog.wait().ok();
        }
    }
}

impl Private {
    fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// The first process of the server.
    fn pid(&self) -> Result<u32, ClusterError> {
        let doing = "reading the server's process id";
        let text = fs::read_to_string(self.data().join("postmaster.pid")).map_err(io_failed(doing))?;
        let pid = text.lines().next().and_then(|line| line.trim().parse().ok());
        pid.ok_or_else(|| io::Error::other("postmaster.pid has no process id")).map_err(io_failed(doing))
    }

    /// Whether a process is left whose working directory is this server's data.
    fn is_in_use(&self) -> bool {
        let data = self.data();
        let works_here = |entry: fs::DirEntry| {
            let is_process = entry.file_name().to_str().is_some_and(|name| name.parse::<u32>().is_ok());
            is_process && fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd == data)
        };
        fs::read_dir("/proc").into_iter().flatten().flatten().any(works_here)
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.bin.join(program));
        self.as_other_user(&mut command);
        command.current_dir(&self.dir);
        command
    }

    fn as_other_user(&self, command: &mut Command) {
        if let Some((uid, gid)) = self.run_as {
            command.uid(uid).gid(gid);
        }
    }

    fn initdb(&self) -> Result<(), ClusterError> {
        let output = self
            .command("initdb")
            .args(["--no-sync", "-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C", "-D"])
            .arg(self.data())
            .output()
            .map_err(io_failed("running initdb"))?;
        if output.status.success() {
            return Ok(());
        }
        Err(ClusterError::Initdb { output: String::from_utf8_lossy(&output.stderr).into_owned() })
    }

    /// Starts the server under a shell that reads a pipe which this process holds open. However this
    /// process ends, the pipe closes with it, and the shell stops the server and clears up.
    fn launch(&self) -> Result<(), ClusterError> {
        const WATCHDOG: &str = r#"
            bin=$1 dir=$2 port=$3
            shift 3
            env "$@" "$bin/postgres" -D "$dir/data" -p "$port" -c listen_addresses=127.0.0.1 -c unix_socket_directories="$dir" \
                -c max_connections=200 -c log_min_messages=fatal -c logging_collector=off >>"$dir/log" 2>&1 </dev/null &
            server=$!
            cat >/dev/null
            kill -QUIT "$server" 2>/dev/null
            wait "$server" 2>/dev/null
            rm -rf "$dir"
        "#;
        let mut command = Command::new("/bin/sh");
        command.arg("-c").arg(WATCHDOG).arg("watchdog").arg(&self.bin).arg(&self.dir).arg(self.port.to_string());
        command.args(self.environment.iter().map(|(name, value)| format!("{name}={value}")));
        self.as_other_user(&mut command);
        command.current_dir(&self.dir).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        // A group of its own, so that an interrupt at the terminal reaches it through the pipe alone.
        command.process_group(0);
        let watchdog = command.spawn().map_err(io_failed("starting the server"))?;
        self.watchdogs.lock().unwrap_or_else(PoisonError::into_inner).push(watchdog);
        Ok(())
    }
}

/// The newest server binaries on this machine.
#[must_use]
pub fn find_binaries() -> Option<PathBuf> {
    let complete = |dir: &PathBuf| dir.join("initdb").exists() && dir.join("postgres").exists();
    let mut packaged: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path().join("bin"))
        .filter(complete)
        .collect();
    packaged.sort_by_key(|dir| {
        let version = dir.parent().and_then(Path::file_name).and_then(|name| name.to_str());
        version.and_then(|version| version.parse::<u32>().ok()).unwrap_or(0)
    });
    let path = std::env::var_os("PATH").unwrap_or_default();
    packaged.pop().or_else(|| std::env::split_paths(&path).find(complete))
}

/// Postgres refuses to run as root; then it runs as `postgres`, or as `nobody`.
fn other_user() -> Result<Option<(u32, u32)>, ClusterError> {
    let own = fs::metadata("/proc/self").map_err(io_failed("looking up the user"))?.uid();
    if own != 0 {
        return Ok(None);
    }
    let users = fs::read_to_string("/etc/passwd").map_err(io_failed("reading the users"))?;
    let id = |name: &str| {
        let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut fields = line.split(':').skip(2);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    };
    id("postgres").or_else(|| id("nobody")).map(Some).ok_or(ClusterError::NoUser)
}

fn free_port() -> Result<u16, ClusterError> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(io_failed("finding a port"))?;
    listener.local_addr().map(|address| address.port()).map_err(io_failed("finding a port"))
}

/// The URL with another database in it.
fn with_database(url: &str, name: &str) -> String {
    let (base, query) = url.split_once('?').map_or((url, None), |(base, query)| (base, Some(query)));
    let after_scheme = base.find("://").map_or(0, |at| at + 3);
    let server = base[after_scheme..].find('/').map_or(base, |at| &base[..after_scheme + at]);
    match query {
        Some(query) => format!("{server}/{name}?{query}"),
        None => format!("{server}/{name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_database_of_a_url_is_replaced() {
        assert_eq!(with_database("postgres://a@h:1/x", "y"), "postgres://a@h:1/y");
        assert_eq!(with_database("postgres://a@h:1", "y"), "postgres://a@h:1/y");
        assert_eq!(with_database("postgres://h/x?sslmode=disable", "y"), "postgres://h/y?sslmode=disable");
    }

    #[tokio::test]
    async fn the_server_goes_with_whoever_holds_it() {
        let cluster = Cluster::start_private().await.unwrap();
        let database = cluster.database().await.unwrap();
        PgConnection::connect(database.url()).await.unwrap().close().await.unwrap();
        let dir = cluster.private.as_ref().unwrap().dir.clone();
        // The pipe closes as it would with the death of this process.
        drop(cluster);
        assert!(PgConnection::connect(database.url()).await.is_err());
        assert!(!dir.exists());
    }
}
