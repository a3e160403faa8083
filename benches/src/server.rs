//! The server that everything is measured on.

use saga_testkit::postgres::Cluster;
use sqlx::{Connection as _, Executor as _, PgConnection};

/// As many files of 16 MB as the default `max_wal_size` lets stand.
const WAL_FILES: usize = 64;

/// A private Postgres with its default durability, and with the files of its write-ahead log in place, as on one that
/// has run for a while. A new server fills each file with zeros first, and all commits wait for that.
///
/// # Errors
/// When it does not start.
pub async fn start_server() -> Result<Cluster, Box<dyn std::error::Error>> {
    let cluster = Cluster::start_private().await?;
    let database = cluster.database().await?;
    let mut connection = PgConnection::connect(database.url()).await?;
    connection.execute("ALTER SYSTEM SET min_wal_size = '1GB'").await?;
    connection.execute("SELECT pg_reload_conf()").await?;
    for _ in 0..WAL_FILES {
        // Only a file that something was written to is left.
        connection.execute("SELECT pg_create_restore_point('next')").await?;
        connection.execute("SELECT pg_switch_wal()").await?;
    }
    // From here on what is not needed any more is written anew, under the names that come next.
    connection.execute("CHECKPOINT").await?;
    Ok(cluster)
}
