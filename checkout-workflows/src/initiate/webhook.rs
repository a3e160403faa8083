//! Webhooks of the payment vendor: proven first, read after.
//!
//! The header [`SIGNATURE_HEADER`] is `t=<unix seconds>,v1=<hex>`, where the hex is the HMAC-SHA-256 of
//! `<t>.<body>` over the bytes as they came. A vendor that changes its secret sends several `v1`; a shop
//! that does holds several secrets. Webhooks come twice and out of order: take each
//! [`WebhookEvent::event_id`] once.

use std::fmt;
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use saga_core::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::Sha256;

use super::schema::{DecimalError, EventName, PaymentCollectionRequirementFailed, PaymentCollectionRequirementSuccess};
use crate::money::Money;

/// The header that proves a webhook.
pub const SIGNATURE_HEADER: &str = "x-webhook-signature";

/// How far the time of a webhook may be from ours, either way: a delivery takes seconds, clocks differ by
/// less, and an old webhook that somebody recorded is past use.
pub const TOLERANCE: Duration = Duration::from_secs(300);

/// It is what events are told apart by, in the journal.
const EVENT_ID_BYTES_MAX: usize = 128;

/// What a webhook tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookEvent {
    /// The vendor's id of the event: the same in every delivery of it.
    pub event_id: String,
    /// The payment collection requirement, which the vendor knows as the merchant's reference.
    pub requirement_id: String,
    /// What became of it.
    pub outcome: PaymentOutcome,
}

/// What became of a payment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum PaymentOutcome {
    /// The customer has paid.
    Paid {
        /// The vendor's id of the transaction.
        vendor_transaction_id: String,
        /// How much.
        amount: Money,
    },
    /// The customer has not paid, and will not.
    Failed {
        /// Why, for programs.
        code: String,
        /// Why, for people.
        reason: String,
    },
}

/// Why a webhook is not taken. No variant holds anything of an unproven body.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WebhookError {
    /// The header has not the form that it must have.
    #[error("the signature header is missing or not of the form t=<seconds>,v1=<hex>")]
    Header,
    /// No secret gives such a signature.
    #[error("the signature is of none of our secrets")]
    Forged,
    /// It was signed too long ago, or in the future.
    #[error("the webhook was signed {seconds} s from now")]
    Stale {
        /// How far from now.
        seconds: u64,
    },
    /// The vendor has sent what is no webhook.
    #[error("the webhook is proven, and cannot be read, at line {line}, column {column}")]
    Body {
        /// The line.
        line: usize,
        /// The column.
        column: usize,
    },
    /// The vendor has sent an event without an id that could be kept.
    #[error("the webhook is proven, and its event id has not 1 to {EVENT_ID_BYTES_MAX} plain characters")]
    EventId,
    /// The vendor has sent an amount that is none.
    #[error("the webhook {event_id} is proven, and its amount is none")]
    Amount {
        /// The event.
        event_id: String,
        /// What is wrong with it.
        #[source]
        source: DecimalError,
    },
    /// Another event than those of payments: nothing to do.
    #[error("the webhook {event_id} is of the event {event}, which is not for us")]
    OtherEvent {
        /// The vendor's id of it.
        event_id: String,
        /// The event.
        event: String,
    },
}

impl WebhookError {
    /// The HTTP status to answer: a vendor repeats what is not answered with 2xx.
    #[must_use]
    pub fn http_status(&self) -> u16 {
        match self {
            Self::Header | Self::Forged | Self::Stale { .. } => 401,
            Self::Body { .. } | Self::EventId | Self::Amount { .. } => 400,
            Self::OtherEvent { .. } => 200,
        }
    }
}

/// A secret that is no secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a webhook secret has at least {} bytes", WebhookSecrets::BYTES_MIN)]
pub struct WeakSecret;

/// The secrets that webhooks are proven with.
#[derive(Clone)]
pub struct WebhookSecrets {
    macs: Vec<Hmac<Sha256>>,
    tolerance: Duration,
}

impl WebhookSecrets {
    /// The shortest secret that is taken, in bytes: 128 bits are not guessed.
    pub const BYTES_MIN: usize = 16;

    /// One secret, and a tolerance of [`TOLERANCE`].
    ///
    /// # Errors
    /// When the secret is too short.
    pub fn new(secret: &[u8]) -> Result<Self, WeakSecret> {
        Self { macs: Vec::new(), tolerance: TOLERANCE }.and(secret)
    }

    /// One more secret that is taken as well, while secrets are changed.
    ///
    /// # Errors
    /// When the secret is too short.
    pub fn and(mut self, secret: &[u8]) -> Result<Self, WeakSecret> {
        self.macs.push(keyed(secret)?);
        Ok(self)
    }

    /// Another tolerance.
    #[must_use]
    pub fn tolerance(mut self, tolerance: Duration) -> Self {
        self.tolerance = tolerance;
        self
    }

    /// Proves a webhook and reads it. `body` are the bytes as they came.
    ///
    /// # Errors
    /// When it is not proven, too old, or not for us.
    pub fn open(&self, signature: &str, body: &[u8], now: Timestamp) -> Result<WebhookEvent, WebhookError> {
        self.verify(signature, body, now)?;
        read(body)
    }

    /// Proves a webhook, in a time that tells nothing about the secret.
    ///
    /// # Errors
    /// [`WebhookError::Header`], [`WebhookError::Forged`], [`WebhookError::Stale`].
    pub fn verify(&self, signature: &str, body: &[u8], now: Timestamp) -> Result<(), WebhookError> {
        let (at, signatures) = parse(signature).ok_or(WebhookError::Header)?;
        let proven = self.macs.iter().any(|mac| {
            let mac = signed(mac.clone(), at, body);
            signatures.iter().any(|signature| mac.clone().verify_slice(signature).is_ok())
        });
        if !proven {
            return Err(WebhookError::Forged);
        }
        let seconds = at.abs_diff(now.as_micros().div_euclid(1_000_000));
        if seconds > self.tolerance.as_secs() { Err(WebhookError::Stale { seconds }) } else { Ok(()) }
    }
}

impl fmt::Debug for WebhookSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebhookSecrets").field("secrets", &self.macs.len()).field("tolerance", &self.tolerance).finish()
    }
}

/// Signs a body as the vendor does.
///
/// # Errors
/// When the secret is too short.
pub fn sign(secret: &[u8], now: Timestamp, body: &[u8]) -> Result<String, WeakSecret> {
    let at = now.as_micros().div_euclid(1_000_000);
    let tag = signed(keyed(secret)?, at, body).finalize().into_bytes();
    let hex: String = tag.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("t={at},v1={hex}"))
}

fn keyed(secret: &[u8]) -> Result<Hmac<Sha256>, WeakSecret> {
    if secret.len() < WebhookSecrets::BYTES_MIN {
        return Err(WeakSecret);
    }
    Hmac::new_from_slice(secret).map_err(|_| WeakSecret)
}

fn signed(mut mac: Hmac<Sha256>, at: i64, body: &[u8]) -> Hmac<Sha256> {
    mac.update(at.to_string().as_bytes());
    mac.update(b".");
    mac.update(body);
    mac
}

/// The time and the signatures of the one version that we know.
fn parse(header: &str) -> Option<(i64, Vec<[u8; 32]>)> {
    let (mut at, mut signatures) = (None, Vec::new());
    for part in header.split(',') {
        match part.trim().split_once('=')? {
            ("t", text) if at.is_none() && text.bytes().all(|byte| byte.is_ascii_digit()) => at = text.parse().ok(),
            ("t", _) => return None,
            ("v1", hex) => signatures.push(unhex(hex)?),
            // Versions of later years.
            _ => {}
        }
    }
    if signatures.is_empty() { None } else { Some((at?, signatures)) }
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    if text.len() != 64 {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let [high, low] = pair else { return None };
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(bytes)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    event_id: String,
    event: String,
    #[serde(borrow)]
    payload: &'a RawValue,
}

fn read(body: &[u8]) -> Result<WebhookEvent, WebhookError> {
    let wrong = |error: serde_json::Error| WebhookError::Body { line: error.line(), column: error.column() };
    let Body { event_id, event, payload } = serde_json::from_slice(body).map_err(wrong)?;
    if event_id.is_empty() || event_id.len() > EVENT_ID_BYTES_MAX || event_id.chars().any(char::is_control) {
        return Err(WebhookError::EventId);
    }
    if event == EventName::PaymentCollectionRequirementSuccess.as_str() {
        let paid: PaymentCollectionRequirementSuccess = serde_json::from_str(payload.get()).map_err(wrong)?;
        let amount = match paid.amount.to_money(paid.currency) {
            Ok(amount) => amount,
            Err(source) => return Err(WebhookError::Amount { event_id, source }),
        };
        let outcome = PaymentOutcome::Paid { vendor_transaction_id: paid.vendor_transaction_id, amount };
        return Ok(WebhookEvent { event_id, requirement_id: paid.payment_collection_requirement_id, outcome });
    }
    if event == EventName::PaymentCollectionRequirementFailed.as_str() {
        let failed: PaymentCollectionRequirementFailed = serde_json::from_str(payload.get()).map_err(wrong)?;
        let outcome = PaymentOutcome::Failed { code: failed.code, reason: failed.reason };
        return Ok(WebhookEvent { event_id, requirement_id: failed.payment_collection_requirement_id, outcome });
    }
    Err(WebhookError::OtherEvent { event_id, event })
}

/// A webhook's body, as the vendor writes it.
///
/// # Errors
/// When JSON cannot be written.
pub fn write(event: &WebhookEvent) -> Result<Vec<u8>, serde_json::Error> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Written<'a, P> {
        event_id: &'a str,
        event: EventName,
        payload: P,
    }
    let payment_collection_requirement_id = event.requirement_id.clone();
    match event.outcome.clone() {
        PaymentOutcome::Paid { vendor_transaction_id, amount } => serde_json::to_vec(&Written {
            event_id: &event.event_id,
            event: EventName::PaymentCollectionRequirementSuccess,
            payload: PaymentCollectionRequirementSuccess {
                payment_collection_requirement_id,
                vendor_transaction_id,
                amount: super::schema::Decimal::from_money(amount)?,
                currency: amount.currency(),
            },
        }),
        PaymentOutcome::Failed { code, reason } => serde_json::to_vec(&Written {
            event_id: &event.event_id,
            event: EventName::PaymentCollectionRequirementFailed,
            payload: PaymentCollectionRequirementFailed { payment_collection_requirement_id, code, reason },
        }),
    }
}
