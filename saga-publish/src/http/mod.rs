//! Events over HTTP, as [CloudEvents](https://cloudevents.io) 1.0: to Dapr's publish API, or to any URL.
//!
//! | attribute | what it holds |
//! |---|---|
//! | `id` | the event's id, the same in every try: consumers (and Dapr's idempotency patterns) deduplicate by it and `source` |
//! | `source` | who speaks, as the host set it |
//! | `type` | the prefix that the host set, and the topic |
//! | `subject` | the saga's id |
//! | `datacontenttype` | `application/json` |
//! | extensions | the event's headers: in lower case, without what is neither a letter nor a digit, so that `Correlation-Id` is `correlationid` |
//!
//! | answer | the error |
//! |---|---|
//! | 2xx | none: the receiver has it |
//! | 408, 425, 429, all of 5xx, a redirect, no answer in time, no connection | transient, with what `Retry-After` says in seconds |
//! | any other 4xx; a header that cannot be an extension, a payload that is no JSON | rejected |
//!
//! Redirects are not followed: the clients of the web turn a redirected `POST` into a `GET`, whose answer
//! would say nothing about the event.

mod cloud_event;
mod target;

use std::fmt;
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder, Response, StatusCode, Url};
use saga_core::async_trait;
use saga_core::publish::{EventPublisher, OutgoingEvent, PublishError};

use self::cloud_event::CloudEvent;
use self::target::Target;

/// How long a request may take altogether.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// How an event stands in a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// All of it in the body, as `application/cloudevents+json`. What Dapr takes.
    #[default]
    Structured,
    /// The payload is the body, the attributes are headers (`ce-id`, `ce-type` …).
    Binary,
}

/// A publisher could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The address is no `http` or `https` URL.
    #[error("the address {address:?} is no http or https URL that a path can follow")]
    BadAddress {
        /// The address as given, without its user, password and query.
        address: String,
    },
    /// A header that is to go with every request cannot.
    #[error("the header {name:?} cannot be sent")]
    BadHeader {
        /// Its name; its value may be a secret.
        name: String,
    },
    /// The HTTP client could not be made.
    #[error("the HTTP client cannot be made")]
    Client {
        /// What it said.
        #[from]
        source: reqwest::Error,
    },
}

/// Publishes events over HTTP, see the [module](self). Clones share their connections.
///
/// ```
/// use std::time::Duration;
/// use saga_publish::http::HttpPublisher;
///
/// // Through the Dapr sidecar, whose pub/sub component is called `orders`.
/// let dapr = HttpPublisher::dapr("http://127.0.0.1:3500", "orders").source("/checkout").build()?;
/// // To a web hook.
/// let hook = HttpPublisher::to("https://example.org/events")
///     .header("Authorization", "Bearer 2YotnFZFEjr1zCsicMWpAA")
///     .timeout(Duration::from_secs(3))
///     .build()?;
/// # drop((dapr, hook));
/// # Ok::<(), saga_publish::http::BuildError>(())
/// ```
#[derive(Clone)]
pub struct HttpPublisher {
    client: Client,
    target: Target,
    mode: Mode,
    source: String,
    type_prefix: String,
    headers: HeaderMap,
    timeout: Duration,
}

impl HttpPublisher {
    /// Publishes through Dapr: `POST {base}/v1.0/publish/{pubsub}/{topic}`.
    pub fn dapr(base: &str, pubsub: &str) -> HttpPublisherBuilder {
        HttpPublisherBuilder::new(base, Some(pubsub))
    }

    /// Publishes to this URL, whatever the topic; it stands in the event's `type`.
    pub fn to(url: &str) -> HttpPublisherBuilder {
        HttpPublisherBuilder::new(url, None)
    }

    fn request(&self, event: &OutgoingEvent) -> Result<reqwest::RequestBuilder, PublishError> {
        let url = self.target.url(&event.topic)?;
        let cloud_event = CloudEvent::of(event, &self.source, &self.type_prefix)?;
        let request = self.client.post(url).timeout(self.timeout).headers(self.headers.clone());
        Ok(match self.mode {
            Mode::Structured => {
                request.header(CONTENT_TYPE, "application/cloudevents+json").body(cloud_event.structured()?)
            }
            Mode::Binary => request
                .headers(cloud_event.headers()?)
                .header(CONTENT_TYPE, "application/json")
                .body(event.payload.clone()),
        })
    }
}

#[async_trait]
impl EventPublisher for HttpPublisher {
    async fn publish(&self, event: &OutgoingEvent) -> Result<(), PublishError> {
        match self.request(event)?.send().await {
            Ok(response) => answered(&response),
            // Its text has the URL, which may hold a password.
            Err(error) => Err(PublishError::transient(unanswered(&error)).caused_by(error.without_url())),
        }
    }
}

impl fmt::Debug for HttpPublisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpPublisher")
            .field("target", &self.target)
            .field("mode", &self.mode)
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

fn unanswered(error: &reqwest::Error) -> &'static str {
    if error.is_timeout() {
        "no answer in time"
    } else if error.is_connect() {
        "no connection"
    } else {
        "the request failed"
    }
}

/// What the answer means for the event. Its body is not looked at: receivers quote what they were sent.
fn answered(response: &Response) -> Result<(), PublishError> {
    let status = response.status();
    let wait = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
    match status {
        status if status.is_success() => Ok(()),
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS => Err(later(status, wait)),
        status if status.is_client_error() => Err(PublishError::rejected(format!("the receiver answered {status}"))),
        status => Err(later(status, wait)),
    }
}

fn later(status: StatusCode, wait_secs: Option<u64>) -> PublishError {
    let problem = PublishError::transient(format!("the receiver answered {status}"));
    match wait_secs {
        Some(secs) => problem.after(Duration::from_secs(secs)),
        None => problem,
    }
}

/// Configures an [`HttpPublisher`].
#[derive(Debug)]
#[must_use = "a builder does nothing until it is built"]
pub struct HttpPublisherBuilder {
    address: String,
    pubsub: Option<String>,
    mode: Mode,
    source: String,
    type_prefix: String,
    headers: Vec<(String, Secret)>,
    timeout: Duration,
    client: ClientBuilder,
}

/// A header's value, which may be a token.
struct Secret(String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

impl HttpPublisherBuilder {
    fn new(address: &str, pubsub: Option<&str>) -> Self {
        Self {
            address: address.to_owned(),
            pubsub: pubsub.map(str::to_owned),
            mode: Mode::default(),
            source: "/saga".to_owned(),
            type_prefix: String::new(),
            headers: Vec::new(),
            timeout: TIMEOUT,
            client: Client::builder().connect_timeout(CONNECT_TIMEOUT),
        }
    }

    /// How events stand in a request: [`Mode::Structured`] unless set. For Dapr leave it so: in binary mode
    /// its sidecar makes a new CloudEvent of the payload, with an id of its own.
    pub fn mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    /// Who speaks: a URI or a path, `/saga` unless set. Together with the id it marks an event for ever.
    pub fn source(mut self, source: &str) -> Self {
        source.clone_into(&mut self.source);
        self
    }

    /// What stands in front of the topic in `type`, for example `com.example.shop.`; nothing unless set.
    pub fn type_prefix(mut self, prefix: &str) -> Self {
        prefix.clone_into(&mut self.type_prefix);
        self
    }

    /// A header that goes with every request, for example `dapr-api-token`. Its value is never shown.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), Secret(value.to_owned())));
        self
    }

    /// How long a request may take altogether: ten seconds unless set.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The host's own settings of the client: proxy, TLS, pool. For `https` the host turns on a TLS feature
    /// of reqwest. Redirects stay unfollowed whatever they say.
    pub fn client(mut self, client: ClientBuilder) -> Self {
        self.client = client;
        self
    }

    /// The publisher. It makes no connection yet.
    ///
    /// # Errors
    /// See [`BuildError`].
    pub fn build(self) -> Result<HttpPublisher, BuildError> {
        let bad_address = || BuildError::BadAddress { address: shown(&self.address) };
        let address = Url::parse(&self.address).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        let target = Target::new(address.ok_or_else(bad_address)?, self.pubsub.as_deref()).ok_or_else(bad_address)?;
        let mut headers = HeaderMap::new();
        for (name, Secret(value)) in self.headers {
            let parsed = name.parse::<HeaderName>().ok().zip(HeaderValue::from_str(&value).ok());
            // Beyond ASCII, what arrives is anyone's guess.
            let (parsed, mut value) = parsed.filter(|_| value.is_ascii()).ok_or(BuildError::BadHeader { name })?;
            value.set_sensitive(true);
            headers.insert(parsed, value);
        }
        Ok(HttpPublisher {
            client: self.client.redirect(Policy::none()).build()?,
            target,
            mode: self.mode,
            source: self.source,
            type_prefix: self.type_prefix,
            headers,
            timeout: self.timeout,
        })
    }
}

/// An address that cannot be used, without what may be secret in it.
fn shown(address: &str) -> String {
    let address = address.split(['?', '#']).next().unwrap_or_default();
    match address.rsplit_once('@') {
        Some((_, rest)) => format!("…@{rest}"),
        None => address.to_owned(),
    }
}
