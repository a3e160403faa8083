//! What is counted, for Prometheus: requests here, sagas and their steps in the engine.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use metrics_exporter_prometheus::{BuildError, PrometheusBuilder, PrometheusHandle};

use super::app::{App, METRICS};

/// Bounds of the times, in seconds: from what the journal takes to what clients wait for.
const SECONDS: [f64; 12] = [0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// How often the recorder puts its samples away.
const UPKEEP: Duration = Duration::from_secs(5);

/// The recorder of this process, installed at the first call. It takes a runtime to keep it up.
///
/// # Errors
/// When another recorder is installed.
pub(super) fn recorder() -> Result<PrometheusHandle, BuildError> {
    static RECORDER: OnceLock<PrometheusHandle> = OnceLock::new();
    static INSTALLING: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _one = INSTALLING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(recorder) = RECORDER.get() {
        return Ok(recorder.clone());
    }
    let recorder = PrometheusBuilder::new().set_buckets(&SECONDS)?.install_recorder()?;
    Ok(RECORDER.get_or_init(|| recorder).clone())
}

/// Puts samples away for as long as it is polled.
pub(super) async fn keep_up(recorder: PrometheusHandle) {
    loop {
        tokio::time::sleep(UPKEEP).await;
        recorder.run_upkeep();
    }
}

/// Counts a request and its time, by route: addresses have ids in them.
pub(super) async fn count(request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str).to_owned();
    let method = request.method().as_str().to_owned();
    let began = Instant::now();
    let response = next.run(request).await;
    let status = response.status().as_u16().to_string();
    metrics::counter!("http_requests_total", "method" => method, "route" => route.clone(), "status" => status)
        .increment(1);
    metrics::histogram!("http_request_seconds", "route" => route).record(began.elapsed().as_secs_f64());
    response
}

/// All counts, as Prometheus reads them.
#[utoipa::path(
    get,
    path = METRICS,
    tag = "operation",
    responses((status = 200, description = "The counts", body = String, content_type = "text/plain"))
)]
pub(super) async fn metrics(State(app): State<App>) -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4")], app.metrics.0.render())
}
