//! Events to NATS JetStream.
//!
//! * **Subject**: the prefix, a dot, and the topic. A topic is taken as it is, dots and all, except for
//!   what a subject cannot hold (white space, control characters, `*`, `>`, empty tokens, a `$` in front),
//!   which is written as `%` and two hexadecimal digits for each byte, as is `%` itself: two topics never share a subject.
//! * **Deduplication**: the event's id is sent as `Nats-Msg-Id`. JetStream stores it once within the
//!   stream's *duplicate window* (two minutes unless configured). An event that is handed over again
//!   later than that is stored twice, so consumers that must not see it twice compare the header.
//! * **Headers** are passed on, and `Saga-Id` is added. Those that begin with `Nats-` are the server's own
//!   language: an event with such a header is rejected.
//! * **Durable** means acknowledged by the stream: with `num_replicas: 3` by a majority of its servers.
//! * **Order**: events of one saga are stored in the order in which the relay hands them over.
//!
//! | what happens | the error |
//! |---|---|
//! | not connected, no acknowledgement in time, the stream has no room, the server has no resources | transient |
//! | no stream takes the subject | transient: servers that restart, and streams still to be made, look the same |
//! | larger than the server's `max_payload` or the stream's `max_msg_size`, a header that NATS cannot carry, a sealed stream | rejected |
//!
//! All events share one connection and wait for their acknowledgements side by side.

mod subject;

use std::error::Error as _;
use std::fmt;
use std::time::Duration;

use async_nats::connection::State;
use async_nats::header::{HeaderMap, HeaderName, HeaderValue, NATS_MESSAGE_ID};
use async_nats::jetstream::context::{CreateStreamError, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
/// What streams are made of, for [`NatsPublisherBuilder::create_stream`].
pub use async_nats::jetstream::stream;
use async_nats::jetstream::{self, Context, ErrorCode};
use saga_core::async_trait;
use saga_core::publish::{EventPublisher, OutgoingEvent, PublishError};

/// The header with the saga's id.
const SAGA_ID: &str = "Saga-Id";
/// Headers that begin so tell the server what to do.
const SERVERS_OWN: &str = "nats-";
/// How long to wait for an acknowledgement: far more than a healthy cluster takes, and less than a
/// relay's patience.
const ACK_TIMEOUT: Duration = Duration::from_secs(5);
/// How many events wait for their acknowledgements together; more wait their turn.
const IN_FLIGHT_MAX: usize = 4096;

/// A publisher could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The stream could not be looked up or created. Is JetStream on, and may this user create streams?
    #[error("the stream {stream} could not be looked up or created")]
    Stream {
        /// The stream's name.
        stream: String,
        /// What the server said.
        source: CreateStreamError,
    },
    /// The prefix is no subject.
    #[error(
        "the subject prefix {prefix:?} cannot be used: tokens joined by dots, without white space, wildcards and empty tokens"
    )]
    BadPrefix {
        /// The prefix as given.
        prefix: String,
    },
}

/// Publishes events to NATS JetStream, see the [module](self). Clones share the connection.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use saga_publish::nats::{NatsPublisher, stream};
///
/// let client = async_nats::connect("nats://127.0.0.1:4222").await?;
/// let publisher = NatsPublisher::builder(client)
///     .prefix("shop")
///     .create_stream(stream::Config {
///         name: "SHOP".to_owned(),
///         subjects: vec!["shop.>".to_owned()],
///         ..stream::Config::default()
///     })
///     .open()
///     .await?;
/// # drop(publisher);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct NatsPublisher {
    context: Context,
    prefix: String,
}

/// Configures a [`NatsPublisher`].
#[derive(Debug)]
#[must_use = "a builder does nothing until it is opened"]
pub struct NatsPublisherBuilder {
    client: async_nats::Client,
    prefix: String,
    ack_timeout: Duration,
    in_flight_max: usize,
    stream: Option<stream::Config>,
}

impl NatsPublisherBuilder {
    /// What stands in front of the topic, with a dot between them: `saga` unless set. Empty: the topic is
    /// the subject.
    pub fn prefix(mut self, prefix: &str) -> Self {
        prefix.clone_into(&mut self.prefix);
        self
    }

    /// How long to wait for an acknowledgement: five seconds unless set. When it has not come by then, the
    /// event is handed over again.
    pub fn ack_timeout(mut self, timeout: Duration) -> Self {
        self.ack_timeout = timeout;
        self
    }

    /// How many events may wait for their acknowledgements together: 4096 unless set. More wait their turn.
    pub fn in_flight_max(mut self, events: usize) -> Self {
        self.in_flight_max = events.max(1);
        self
    }

    /// Creates the stream when there is none of its name. One that exists is left as it is.
    ///
    /// For production: three replicas, and a `duplicate_window` that outlasts the outages to be expected.
    pub fn create_stream(mut self, config: stream::Config) -> Self {
        self.stream = Some(config);
        self
    }

    /// The publisher. It talks to the server only when it may have to create a stream.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn open(self) -> Result<NatsPublisher, OpenError> {
        if !subject::is_prefix(&self.prefix) {
            return Err(OpenError::BadPrefix { prefix: self.prefix });
        }
        let context = jetstream::context::ContextBuilder::new()
            .timeout(self.ack_timeout)
            .ack_timeout(self.ack_timeout)
            .max_ack_inflight(self.in_flight_max)
            .backpressure_on_inflight(true)
            .build(self.client);
        if let Some(config) = self.stream {
            let stream = config.name.clone();
            let made = context.get_or_create_stream(config).await;
            made.map_err(|source| OpenError::Stream { stream, source })?;
        }
        Ok(NatsPublisher { context, prefix: self.prefix })
    }
}

impl NatsPublisher {
    /// Configures a publisher on the host's connection, whose credentials, TLS and reconnecting are the
    /// host's to choose.
    pub fn builder(client: async_nats::Client) -> NatsPublisherBuilder {
        NatsPublisherBuilder {
            client,
            prefix: "saga".to_owned(),
            ack_timeout: ACK_TIMEOUT,
            in_flight_max: IN_FLIGHT_MAX,
            stream: None,
        }
    }

    /// The subject that events of this topic go to.
    ///
    /// # Errors
    /// [`PublishError::Rejected`] when the topic is empty.
    pub fn subject(&self, topic: &str) -> Result<String, PublishError> {
        subject::of(&self.prefix, topic).ok_or_else(|| PublishError::rejected("its topic is empty"))
    }
}

#[async_trait]
impl EventPublisher for NatsPublisher {
    async fn publish(&self, event: &OutgoingEvent) -> Result<(), PublishError> {
        let message = PublishMessage::build().payload(event.payload.clone().into()).headers(headers(event)?);
        let subject = self.subject(&event.topic)?;
        // A client that is not connected would keep the event in memory, and every further try as well.
        if self.context.client().connection_state() != State::Connected {
            return Err(PublishError::transient("NATS is not connected"));
        }
        let sent = self.context.send_publish(subject, message).await.map_err(failed)?;
        sent.await.map(drop).map_err(failed)
    }
}

impl fmt::Debug for NatsPublisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NatsPublisher").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

fn headers(event: &OutgoingEvent) -> Result<HeaderMap, PublishError> {
    let mut headers = HeaderMap::new();
    headers.insert(NATS_MESSAGE_ID, header_value("the event's id", &event.id)?);
    for (name, value) in &event.headers {
        if name.to_ascii_lowercase().starts_with(SERVERS_OWN) {
            return Err(PublishError::rejected(format!("the header {name} is the NATS server's own language")));
        }
        let unusable = || PublishError::rejected(format!("NATS cannot carry the header {name:?}"));
        if name.is_empty() {
            return Err(unusable());
        }
        let parsed = HeaderName::try_from(name.as_str()).map_err(|error| unusable().caused_by(error))?;
        headers.insert(parsed, header_value(name, value)?);
    }
    headers.insert(SAGA_ID, event.saga.to_string());
    Ok(headers)
}

fn header_value(name: &str, value: &str) -> Result<HeaderValue, PublishError> {
    value
        .parse()
        .map_err(|error| PublishError::rejected(format!("NATS cannot carry the value of {name}")).caused_by(error))
}

/// What a failure means for the event.
fn failed(error: jetstream::context::PublishError) -> PublishError {
    let refusal = error.source().and_then(|source| source.downcast_ref::<jetstream::Error>());
    let problem = match error.kind() {
        PublishErrorKind::MaxPayloadExceeded => PublishError::rejected("it is larger than the server's max_payload"),
        PublishErrorKind::StreamNotFound => {
            PublishError::transient("no stream takes its subject: create one, or see whether JetStream is up")
        }
        PublishErrorKind::TimedOut => PublishError::transient("no acknowledgement in time"),
        PublishErrorKind::BrokenPipe => PublishError::transient("the connection went away"),
        PublishErrorKind::MaxAckPending => PublishError::transient("too many events wait for acknowledgements"),
        // Answers to conditions that are never set here.
        PublishErrorKind::WrongLastMessageId | PublishErrorKind::WrongLastSequence => {
            PublishError::transient("the stream expects another event")
        }
        PublishErrorKind::Other => match refusal.map(jetstream::Error::error_code) {
            Some(
                code @ (ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM
                | ErrorCode::STREAM_HEADER_EXCEEDS_MAXIMUM
                | ErrorCode::STREAM_SEALED),
            ) => PublishError::rejected(format!("the stream refuses it ({})", code.0)),
            Some(code) => PublishError::transient(format!("the stream does not take it now ({})", code.0)),
            None => PublishError::transient("publishing failed"),
        },
    };
    problem.caused_by(error)
}
