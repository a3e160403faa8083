//! What every request goes through: limits first, and what makes it findable afterwards.

use std::any::Any;
use std::time::Duration;

use axum::error_handling::HandleErrorLayer;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::HeaderName;
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::{BoxError, Router};
use tower::ServiceBuilder;
use tower::limit::GlobalConcurrencyLimitLayer;
use tower::load_shed::LoadShedLayer;
use tower::timeout::TimeoutLayer;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::request_id::{MakeRequestUuid, PropagateRequestIdLayer, SetRequestIdLayer};
use tower_http::trace::TraceLayer;
use tracing::{Span, info_span};

use super::app::App;
use super::meter;
use super::problem::Problem;

/// The client's id of its request; one is given to requests that have none.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longer ones are no ids.
const REQUEST_ID_BYTES_MAX: usize = 128;

/// What is too much.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The largest body, in bytes.
    pub body_bytes_max: usize,
    /// How many requests at a time.
    pub requests_max: usize,
    /// How long a request may take.
    pub request_timeout: Duration,
}

/// The routes behind their limits: as many requests at a time, each as long and as large.
pub(super) fn limited(routes: Router<App>, limits: &Limits) -> Router<App> {
    let layers = ServiceBuilder::new()
        .layer(HandleErrorLayer::new(refused))
        .layer(LoadShedLayer::new())
        .layer(GlobalConcurrencyLimitLayer::new(limits.requests_max))
        .layer(TimeoutLayer::new(limits.request_timeout));
    routes.layer(layers).layer(DefaultBodyLimit::max(limits.body_bytes_max))
}

async fn refused(error: BoxError) -> Problem {
    if error.is::<tower::load_shed::error::Overloaded>() {
        Problem::overloaded()
    } else if error.is::<tower::timeout::error::Elapsed>() {
        Problem::timed_out()
    } else {
        tracing::error!(%error, "a request failed");
        Problem::internal()
    }
}

/// The routes with an id for every request, a span around it, and a count of it. A panic is an answer.
pub(super) fn observed(routes: Router) -> Router {
    routes.layer(
        ServiceBuilder::new()
            .layer(from_fn(drop_bad_request_id))
            .layer(SetRequestIdLayer::new(REQUEST_ID, MakeRequestUuid))
            // Failures are told where they happen; being turned away is none.
            .layer(TraceLayer::new_for_http().make_span_with(span).on_failure(()))
            .layer(PropagateRequestIdLayer::new(REQUEST_ID))
            .layer(from_fn(meter::count))
            .layer(CatchPanicLayer::custom(panicked)),
    )
}

/// An id goes into logs and into the headers of events: it is short, and of plain characters.
async fn drop_bad_request_id(mut request: Request, next: Next) -> Response {
    let plain = |byte: &u8| byte.is_ascii_graphic();
    let bad = |id: &[u8]| id.is_empty() || id.len() > REQUEST_ID_BYTES_MAX || !id.iter().all(plain);
    if request.headers().get(REQUEST_ID).is_some_and(|id| bad(id.as_bytes())) {
        request.headers_mut().remove(REQUEST_ID);
    }
    next.run(request).await
}

/// The path without its query, which is nobody's business in a log.
fn span(request: &Request) -> Span {
    let id = request.headers().get(REQUEST_ID).and_then(|id| id.to_str().ok()).unwrap_or_default();
    info_span!("request", method = %request.method(), path = request.uri().path(), id)
}

/// The panic's hook has told what it was.
fn panicked(_: Box<dyn Any + Send>) -> Response {
    Problem::internal().into_response()
}
