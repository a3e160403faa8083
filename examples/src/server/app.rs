//! What handlers share, and which handler answers where.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::routing::{get, post};
use checkout_workflows::initiate::service::InitiateService;
use metrics_exporter_prometheus::PrometheusHandle;

use super::auth::Authenticator;
use super::limits::{self, Limits};
use super::problem::Problem;
use super::{api_doc, event, execution_context, initiate, meter, probe, turn_back, webhook};

/// Where checkouts are initiated.
pub const INITIATE: &str = "/orchestration/checkout/initiate";
/// Where an execution context is looked at.
pub const EXECUTION_CONTEXT: &str = "/orchestration/checkout/execution-contexts/{executionContextId}";
/// Where one's own is given up.
pub const CANCEL: &str = "/orchestration/checkout/execution-contexts/{executionContextId}/cancel";
/// Where somebody's is turned back.
pub const ROLL_BACK: &str = "/orchestration/checkout/execution-contexts/{executionContextId}/rollback";
/// Where the payment vendor posts its webhooks.
pub const PAYMENT_WEBHOOK: &str = "/webhooks/payment";
/// Where the bus posts `line_items_confirmed`.
pub const LINE_ITEMS_CONFIRMED: &str = "/events/line_items_confirmed";
/// Whether the process lives.
pub const HEALTH: &str = "/health";
/// Whether it can work.
pub const READY: &str = "/ready";
/// What it has counted.
pub const METRICS: &str = "/metrics";
/// The documentation of all these.
pub const OPENAPI: &str = "/openapi.json";

/// What handlers share.
#[derive(Clone, Debug)]
pub struct App {
    /// The flow.
    pub service: InitiateService,
    /// Who is calling.
    pub authenticator: Arc<Authenticator>,
    /// Whose marketplace it is, when the request does not say.
    pub tenant: Arc<str>,
    /// What is counted.
    pub metrics: Metrics,
    /// The server is on its way out: nobody is to send more.
    pub draining: Draining,
    /// What is too much.
    pub limits: Limits,
}

/// The recorder of what is counted.
#[derive(Clone)]
pub struct Metrics(pub PrometheusHandle);

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics")
    }
}

/// Whether the server is on its way out.
#[derive(Clone, Debug, Default)]
pub struct Draining(Arc<AtomicBool>);

impl Draining {
    /// It is, from now on.
    pub fn begin(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether it is.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// All routes. Those that work are limited; those that look after the server answer also under load.
pub(super) fn router(app: App) -> Router {
    let work = Router::new()
        .route(INITIATE, post(initiate::initiate))
        .route(EXECUTION_CONTEXT, get(execution_context::execution_context))
        .route(CANCEL, post(turn_back::cancel))
        .route(ROLL_BACK, post(turn_back::roll_back))
        .route(PAYMENT_WEBHOOK, post(webhook::payment))
        .route(LINE_ITEMS_CONFIRMED, post(event::line_items_confirmed));
    let work = limits::limited(work, &app.limits);
    let look = Router::new()
        .route(HEALTH, get(probe::health))
        .route(READY, get(probe::ready))
        .route(METRICS, get(meter::metrics))
        .route(OPENAPI, get(api_doc::openapi));
    let routes = work
        .merge(look)
        .fallback(async || Problem::not_found())
        .method_not_allowed_fallback(async || Problem::method_not_allowed())
        .with_state(app);
    limits::observed(routes)
}
