//! What is told of a contender. The peers are measured by this very file.

use serde::{Deserialize, Serialize};

use crate::{Load, Probe, measure};

/// What one contender does in one case.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub struct Figures {
    /// Completed sagas per second.
    pub sagas_per_s: f64,
    /// Median from start to outcome, in milliseconds.
    pub p50_ms: f64,
    /// 99th percentile from start to outcome, in milliseconds.
    pub p99_ms: f64,
    /// CPU time of the process that runs the sagas.
    pub client_us_per_saga: f64,
    /// CPU time of the database; none when it has no process of its own.
    pub server_us_per_saga: Option<f64>,
    /// Transactions committed, where a server counts them.
    pub commits_per_saga: Option<f64>,
    /// Requests to the journal, where something counts them.
    pub round_trips_per_saga: Option<f64>,
    /// Bytes of write-ahead log, where a server counts them.
    pub wal_bytes_per_saga: Option<f64>,
}

impl Figures {
    /// Runs sagas and tells how it went.
    ///
    /// # Errors
    /// The first failed saga.
    #[expect(clippy::cast_precision_loss, reason = "counts of a few seconds")]
    pub async fn measure<Fut: Future<Output = Result<(), String>> + Send + 'static>(
        saga: impl Fn(String) -> Fut + Clone + Send + 'static,
        load: Load,
        probe: &mut Probe,
    ) -> Result<Self, Box<dyn std::error::Error>> {
        let mut marks = Vec::new();
        let measured = measure(saga, load, async || {
            marks.push(probe.mark().await.map_err(|error| error.to_string())?);
            Ok(())
        })
        .await?;
        let [before, after] = marks[..] else { return Err("the run was not marked twice".into()) };
        let sagas = measured.sagas.max(1) as f64;
        let cpu = after.cpu.since(before.cpu);
        let server = before.server.zip(after.server);
        Ok(Self {
            sagas_per_s: measured.sagas as f64 / measured.took.as_secs_f64(),
            p50_ms: measured.p50.as_secs_f64() * 1e3,
            p99_ms: measured.p99.as_secs_f64() * 1e3,
            client_us_per_saga: cpu.client.as_secs_f64() * 1e6 / sagas,
            server_us_per_saga: cpu.server.map(|used| used.as_secs_f64() * 1e6 / sagas),
            commits_per_saga: server.map(|(before, after)| (after.commits - before.commits) as f64 / sagas),
            round_trips_per_saga: before.trips.zip(after.trips).map(|(before, after)| (after - before) as f64 / sagas),
            wal_bytes_per_saga: server.map(|(before, after)| (after.wal_bytes - before.wal_bytes) as f64 / sagas),
        })
    }

    /// Each figure's median over these rounds; none when there is none.
    #[must_use]
    pub fn medians(rounds: &[Self]) -> Option<Self> {
        let median = |figure: fn(&Self) -> Option<f64>| {
            let mut all: Vec<f64> = rounds.iter().filter_map(figure).collect();
            all.sort_by(f64::total_cmp);
            all.get(all.len() / 2).copied()
        };
        Some(Self {
            sagas_per_s: median(|figures| Some(figures.sagas_per_s))?,
            p50_ms: median(|figures| Some(figures.p50_ms))?,
            p99_ms: median(|figures| Some(figures.p99_ms))?,
            client_us_per_saga: median(|figures| Some(figures.client_us_per_saga))?,
            server_us_per_saga: median(|figures| figures.server_us_per_saga),
            commits_per_saga: median(|figures| figures.commits_per_saga),
            round_trips_per_saga: median(|figures| figures.round_trips_per_saga),
            wal_bytes_per_saga: median(|figures| figures.wal_bytes_per_saga),
        })
    }
}
