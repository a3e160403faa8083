//! Where events go: to NATS, to an address, or to the log.

use saga_core::async_trait;
use saga_core::engine::EngineBuilder;
use saga_core::publish::{EventPublisher, OutgoingEvent, PublishError};
use saga_publish::http::HttpPublisher;
use saga_publish::nats::{NatsPublisher, stream};

use super::config::Config;
use super::run::ServerError;

/// The stream, and in front of the topics in subjects.
const STREAM: &str = "INITIATE";
const PREFIX: &str = "initiate";
/// Who speaks, in CloudEvents.
const SOURCE: &str = "/checkout-initiate";

/// The engine with the publisher that the settings ask for.
pub(super) async fn publishing(engine: EngineBuilder, config: &Config) -> Result<EngineBuilder, ServerError> {
    if let Some(url) = &config.nats_url {
        let client = async_nats::connect(url.expose()).await?;
        let stream = stream::Config {
            name: STREAM.to_owned(),
            subjects: vec![format!("{PREFIX}.>")],
            ..stream::Config::default()
        };
        let publisher = NatsPublisher::builder(client).prefix(PREFIX).create_stream(stream).open().await?;
        return Ok(engine.publisher(publisher));
    }
    if let Some(url) = &config.events_url {
        return Ok(engine.publisher(HttpPublisher::to(url.expose()).source(SOURCE).build()?));
    }
    Ok(engine.publisher(LogPublisher))
}

/// Events as lines in the log, without what they say.
#[derive(Debug)]
struct LogPublisher;

#[async_trait]
impl EventPublisher for LogPublisher {
    async fn publish(&self, event: &OutgoingEvent) -> Result<(), PublishError> {
        tracing::info!(topic = event.topic, event = event.id, saga = %event.saga, "an event");
        Ok(())
    }
}
