//! CPU time of this process and of a Postgres server on this machine, as Linux tells it.

use std::time::Duration;

use sqlx::PgConnection;

/// Linux counts in hundredths of a second, whatever the kernel's own clock.
const TICK: Duration = Duration::from_millis(10);

/// What was used so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cpu {
    /// By this process.
    pub client: Duration,
    /// By the server and all its backends, those that are gone included; none where there is no server.
    pub server: Option<Duration>,
}

impl Cpu {
    /// What was used until now. The server is the one of this connection, if there is one.
    ///
    /// # Errors
    /// When the server is elsewhere, or the machine is not Linux.
    pub async fn now(server: Option<&mut PgConnection>) -> Result<Self, Box<dyn std::error::Error>> {
        let server = match server {
            Some(server) => Some(Self::of_server(server).await?),
            None => None,
        };
        Ok(Self { client: TICK * stat("self")?.own, server })
    }

    /// What was used between then and now.
    #[must_use]
    pub fn since(self, then: Self) -> Self {
        let server = self.server.zip(then.server).map(|(now, then)| now.saturating_sub(then));
        Self { client: self.client.saturating_sub(then.client), server }
    }

    async fn of_server(server: &mut PgConnection) -> Result<Duration, Box<dyn std::error::Error>> {
        let backend: i32 = sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(server).await?;
        let postmaster = stat(&backend.to_string())?.parent;
        let mut ticks = stat(&postmaster)?.all();
        for entry in std::fs::read_dir("/proc")? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if !name.starts_with(|first: char| first.is_ascii_digit()) {
                continue;
            }
            // A process may end while we look.
            if let Ok(process) = stat(&name)
                && process.parent == postmaster
            {
                ticks += process.all();
            }
        }
        Ok(TICK * ticks)
    }
}

struct Stat {
    parent: String,
    own: u32,
    children: u32,
}

impl Stat {
    fn all(&self) -> u32 {
        self.own + self.children
    }
}

fn stat(process: &str) -> Result<Stat, Box<dyn std::error::Error>> {
    let text = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The name, in parentheses, may hold anything.
    let fields: Vec<&str> = text.rsplit_once(')').ok_or("no name in stat")?.1.split_whitespace().collect();
    let ticks = |nth: usize| fields.get(nth).ok_or("stat is short")?.parse::<u32>().map_err(|_| "stat has no number");
    let parent = (*fields.get(1).ok_or("stat is short")?).to_owned();
    Ok(Stat { parent, own: ticks(11)? + ticks(12)?, children: ticks(13)? + ticks(14)? })
}
