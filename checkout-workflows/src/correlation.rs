//! What a call belongs to, told to whoever is called: the header [`HEADER`] of every call over HTTP.
//!
//! A step says it once, around all that it does; adapters read it where they send. It is no part of what is
//! asked, so it is in no signature that a vendor's answer could depend on.

use std::future::Future;

use reqwest::RequestBuilder;
use reqwest::header::HeaderValue;

/// The header that carries the correlation id.
pub const HEADER: &str = "x-correlation-id";

tokio::task_local! {
    static CURRENT: String;
}

/// The future, whose calls are told as belonging to `id`.
pub async fn correlated<F: Future>(id: &str, future: F) -> F::Output {
    CURRENT.scope(id.to_owned(), future).await
}

/// What the calls of this task belong to; none outside of [`correlated`].
#[must_use]
pub fn current() -> Option<String> {
    CURRENT.try_with(Clone::clone).ok()
}

/// The request with the header. An id that no header can hold is left out: a trace is worth less than a call.
pub(crate) fn tell(request: RequestBuilder) -> RequestBuilder {
    match current().and_then(|id| HeaderValue::from_str(&id).ok()) {
        Some(id) => request.header(HEADER, id),
        None => request,
    }
}
