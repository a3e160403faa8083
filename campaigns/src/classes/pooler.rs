//! Workers behind a proxy that pools transactions, which is killed and restarted.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command as Blocking, Stdio};

use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::arena::Arena;
use crate::error::{CampaignError, io};

/// Where Debian puts it, which is not in every PATH.
const PLACES: [&str; 2] = ["/usr/sbin/pgbouncer", "/usr/bin/pgbouncer"];

/// A `PgBouncer` of the campaign's own.
#[derive(Debug)]
pub struct Pooler {
    port: u16,
    dir: TempDir,
    process: Child,
}

fn binary() -> Option<PathBuf> {
    PLACES.map(PathBuf::from).into_iter().find(|path| path.exists())
}

/// Whether there is one.
pub(super) fn probe() -> Result<(), CampaignError> {
    let works = |path: PathBuf| {
        let version = Blocking::new(path).arg("--version").stdout(Stdio::null()).status();
        version.is_ok_and(|status| status.success())
    };
    if binary().is_some_and(works) {
        return Ok(());
    }
    let what = "pgbouncer (Debian: apt-get install pgbouncer)".to_owned();
    Err(CampaignError::NotPossibleHere { class: "pooler", what })
}

impl Pooler {
    /// Starts one before the server that listens on this port.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(crate) fn start(server: u16) -> Result<Self, CampaignError> {
        let doing = "starting pgbouncer";
        let listener = TcpListener::bind("127.0.0.1:0").map_err(io(doing))?;
        let port = listener.local_addr().map_err(io(doing))?.port();
        drop(listener);
        let dir = tempfile::tempdir().map_err(io(doing))?;
        // It does not run as root, and must read this as somebody else.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).map_err(io(doing))?;
        let config = format!(
            "[databases]\n* = host=127.0.0.1 port={server} user=postgres\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
             listen_port = {port}\nunix_socket_dir =\nauth_type = any\npool_mode = transaction\nmax_client_conn = 500\n\
             default_pool_size = 8\nignore_startup_parameters = extra_float_digits\n"
        );
        fs::write(dir.path().join("pgbouncer.ini"), config).map_err(io(doing))?;
        let process = launch(dir.path())?;
        Ok(Self { port, dir, process })
    }

    /// Where it listens.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }
}

fn launch(dir: &Path) -> Result<Child, CampaignError> {
    let mut command = Command::new(binary().unwrap_or_else(|| PathBuf::from("pgbouncer")));
    if is_root() {
        command.args(["-u", "nobody"]);
    }
    command.arg("-q").arg(dir.join("pgbouncer.ini")).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.kill_on_drop(true).spawn().map_err(io("starting pgbouncer"))
}

fn is_root() -> bool {
    let id = Blocking::new("id").arg("-u").output();
    id.is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

/// Kills the pooler, and starts it again.
pub(super) async fn kill(arena: &mut Arena) -> Result<(), CampaignError> {
    arena.pause(300..1_200).await;
    let Some(pooler) = &mut arena.pooler else { return Ok(()) };
    pooler.process.kill().await.map_err(io("killing pgbouncer"))?;
    tokio::time::sleep(std::time::Duration::from_millis(arena.random.u64(0..400))).await;
    pooler.process = launch(pooler.dir.path())?;
    arena.fire("pooler_kills");
    Ok(())
}
