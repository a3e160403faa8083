//! Events of the bus that a host hands on: proven first, kept before they are answered, seen to by a saga.

use saga_core::Timestamp;
use saga_core::engine::StartError;

use super::line_items_confirmed::{Delivered, Sorted};
use super::service::{InitiateError, InitiateService, internal, unavailable};
use super::webhook::WebhookSecrets;

/// What became of a delivery. It is kept, or nothing is to be done for it: the bus need not send it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consumed {
    /// It is kept, and a saga sees to it.
    Accepted,
    /// It came before, under the same idempotency key.
    Duplicate,
    /// It would never make sense, however often it came: it is kept, as a dead letter, for a human.
    DeadLettered,
    /// It is of an event that is not for us.
    Ignored,
}

impl InitiateService {
    /// Takes events, which are proven by these secrets. They are not the payment vendor's: who says what was
    /// confirmed is not who says what was paid.
    #[must_use]
    pub fn consumes_events(mut self, secrets: WebhookSecrets) -> Self {
        self.event_secrets = Some(secrets);
        self
    }

    /// Takes in `line_items_confirmed`, once for each idempotency key, in whatever order events come.
    ///
    /// # Errors
    /// [`InitiateError::NotConsuming`] without [`InitiateService::consumes_events`],
    /// [`InitiateError::Webhook`] when it is not proven, and [`InitiateError::Unavailable`] when it could not be
    /// kept: the bus sends it again.
    pub async fn line_items_confirmed(&self, raw: &[u8], signature: &str) -> Result<Consumed, InitiateError> {
        let secrets = self.event_secrets.as_ref().ok_or(InitiateError::NotConsuming)?;
        secrets.verify(signature, raw, Timestamp::from_micros(chrono::Utc::now().timestamp_micros()))?;
        match self.keep(Delivered::sort(raw)).await {
            // The same key, and another event: neither is the other's repetition.
            Err(StartError::KeyConflict { .. }) => {
                let error = "another event came under its idempotencyKey".to_owned();
                self.keep(Delivered::poison(raw, error)).await.map_err(not_kept)
            }
            kept => kept.map_err(not_kept),
        }
    }

    async fn keep(&self, sorted: Sorted) -> Result<Consumed, StartError> {
        let Sorted::Keep(key, delivered) = sorted else { return Ok(Consumed::Ignored) };
        let definition = &self.flow.confirmed;
        let known = self.engine.find(definition, &key).await;
        let known = known.map_err(|source| StartError::Journal { source })?.is_some();
        let poison = matches!(delivered, Delivered::Poison { .. });
        // Also when it is known: only the start tells whether it is the same event.
        self.engine.start(definition, &key, delivered).await?;
        Ok(match (poison, known) {
            (true, _) => Consumed::DeadLettered,
            (false, true) => Consumed::Duplicate,
            (false, false) => Consumed::Accepted,
        })
    }
}

fn not_kept(error: StartError) -> InitiateError {
    match error {
        StartError::Unavailable { .. } | StartError::Journal { .. } | StartError::Closed => unavailable(error),
        other => internal(other),
    }
}
