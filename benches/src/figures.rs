//! What is told of a contender. The peers are measured by this very file.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use crate::{Cpu, Load, measure};

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
    /// CPU time of the database.
    pub server_us_per_saga: f64,
}

impl Figures {
    /// Runs sagas and tells how it went. The probe is a connection to the server whose CPU time counts.
    ///
    /// # Errors
    /// The first failed saga.
    #[expect(clippy::cast_precision_loss, reason = "counts of a few seconds")]
    pub async fn measure<Fut: Future<Output = Result<(), String>> + Send + 'static>(
        saga: impl Fn(String) -> Fut + Clone + Send + 'static,
        load: Load,
        probe: &mut PgConnection,
    ) -> Result<Self, Box<dyn std::error::Error>> {
        let mut marks = Vec::new();
        let measured = measure(saga, load, async || {
            marks.push(Cpu::now(probe).await.map_err(|error| error.to_string())?);
            Ok(())
        })
        .await?;
        let [before, after] = marks[..] else { return Err("the run was not marked twice".into()) };
        let sagas = measured.sagas.max(1) as f64;
        let micros = |used: Duration| used.as_secs_f64() * 1e6 / sagas;
        Ok(Self {
            sagas_per_s: measured.sagas as f64 / measured.took.as_secs_f64(),
            p50_ms: measured.p50.as_secs_f64() * 1e3,
            p99_ms: measured.p99.as_secs_f64() * 1e3,
            client_us_per_saga: micros(after.client.saturating_sub(before.client)),
            server_us_per_saga: micros(after.server.saturating_sub(before.server)),
        })
    }
}
