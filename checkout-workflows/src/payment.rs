//! The payment gateway: what the shop asks of it, and the adapter that speaks HTTP.

use std::time::Duration;

use async_trait::async_trait;
use saga_core::{IdempotencyKey, StepError};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::money::Money;

/// A hold on a customer's money.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Authorization {
    /// The gateway's id for it.
    pub authorization_id: String,
}

/// Money that was taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capture {
    /// The gateway's id for it.
    pub transaction_id: String,
}

/// What a gateway knows of one operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum Operation {
    /// It was done, and the gateway gave it this id.
    Done {
        /// The id of the authorization or transaction.
        id: String,
    },
    /// It was refused.
    Declined {
        /// Why.
        reason: String,
    },
    /// The gateway has not seen the key, or has closed it: nothing was and nothing will be done
    /// under a closed one.
    Unknown,
}

/// What the shop asks of a payment gateway. Every call carries an idempotency key; a call under a
/// known key is answered as the first time, whatever has happened since.
///
/// Errors are [`StepError`]s: each call says whether it can have had its effect.
#[async_trait]
pub trait PaymentGateway: Send + Sync {
    /// Holds the amount on the payment method, a token. `reference` is what the merchant calls it.
    async fn authorize(
        &self,
        key: IdempotencyKey,
        amount: Money,
        payment_method: &str,
        reference: &str,
    ) -> Result<Authorization, StepError>;

    /// Takes the money that is held.
    async fn capture(
        &self,
        key: IdempotencyKey,
        authorization: &Authorization,
        amount: Money,
    ) -> Result<Capture, StepError>;

    /// Undoes what was done under `authorize_key`: releases the hold, or pays back what was taken
    /// from it. Under a key that was never seen it leaves a tombstone, so that a late authorization
    /// under it is refused.
    async fn void(&self, key: IdempotencyKey, authorize_key: IdempotencyKey) -> Result<(), StepError>;

    /// Pays back what was captured.
    async fn refund(&self, key: IdempotencyKey, capture: &Capture, amount: Money) -> Result<(), StepError>;

    /// What became of the operation under this key.
    async fn look_up(&self, key: IdempotencyKey) -> Result<Operation, StepError>;

    /// What became of the operation under this key, and makes sure that nothing will any more: a
    /// request that arrives later under it is refused.
    async fn close(&self, key: IdempotencyKey) -> Result<Operation, StepError>;
}

/// A gateway that speaks HTTP and JSON.
#[derive(Clone, Debug)]
pub struct HttpGateway {
    client: reqwest::Client,
    base_url: String,
}

/// What the gateway says when it refuses.
#[derive(Debug, Deserialize)]
struct Refusal {
    error: String,
}

impl HttpGateway {
    /// A gateway at this address. `timeout` bounds each call; past it the outcome is unknown.
    ///
    /// # Errors
    /// When the HTTP client cannot be set up.
    pub fn new(base_url: impl Into<String>, timeout: Duration) -> Result<Self, reqwest::Error> {
        let client = reqwest::Client::builder().timeout(timeout).connect_timeout(timeout).build()?;
        Ok(Self { client, base_url: base_url.into() })
    }

    async fn post<T: DeserializeOwned>(&self, path: &str, body: &serde_json::Value) -> Result<T, StepError> {
        let sent = self.client.post(format!("{}/{path}", self.base_url)).json(body).send().await;
        answer(sent).await
    }
}

/// Sorts an answer by what it proves.
async fn answer<T: DeserializeOwned>(sent: Result<reqwest::Response, reqwest::Error>) -> Result<T, StepError> {
    let response = match sent {
        Ok(response) => response,
        // No connection, no request.
        Err(error) if error.is_connect() => {
            return Err(StepError::unsent(format!("no connection to the gateway: {error}")));
        }
        Err(error) => return Err(StepError::retry(format!("no answer from the gateway: {error}"))),
    };
    let status = response.status();
    match status.as_u16() {
        200..=299 => response
            .json()
            .await
            .map_err(|error| StepError::retry(format!("the gateway's answer was cut off: {error}"))),
        // Declined, or the key was closed: documented refusals, before any effect.
        402 | 410 => {
            let reason = response.json::<Refusal>().await.map_or_else(|_| status.to_string(), |refusal| refusal.error);
            Err(StepError::rejected(reason))
        }
        429 => Err(StepError::retry("the gateway asks to slow down").after(Duration::from_secs(1))),
        // In progress under the same key, or a server's trouble: nobody knows.
        409 | 500..=599 => Err(StepError::retry(format!("the gateway answered {status}"))),
        _ => Err(StepError::fatal(format!("the gateway answered {status}"))),
    }
}

#[async_trait]
impl PaymentGateway for HttpGateway {
    async fn authorize(
        &self,
        key: IdempotencyKey,
        amount: Money,
        payment_method: &str,
        reference: &str,
    ) -> Result<Authorization, StepError> {
        let body = serde_json::json!({
            "idempotencyKey": key,
            "amountMinor": amount.minor(),
            "currency": amount.currency(),
            "paymentMethod": payment_method,
            "reference": reference,
        });
        self.post("authorize", &body).await
    }

    async fn capture(
        &self,
        key: IdempotencyKey,
        authorization: &Authorization,
        amount: Money,
    ) -> Result<Capture, StepError> {
        let body = serde_json::json!({
            "idempotencyKey": key,
            "authorizationId": authorization.authorization_id,
            "amountMinor": amount.minor(),
        });
        self.post("capture", &body).await
    }

    async fn void(&self, key: IdempotencyKey, authorize_key: IdempotencyKey) -> Result<(), StepError> {
        let body = serde_json::json!({ "idempotencyKey": key, "authorizeKey": authorize_key });
        self.post::<serde_json::Value>("void", &body).await.map(drop)
    }

    async fn refund(&self, key: IdempotencyKey, capture: &Capture, amount: Money) -> Result<(), StepError> {
        let body = serde_json::json!({
            "idempotencyKey": key,
            "transactionId": capture.transaction_id,
            "amountMinor": amount.minor(),
        });
        self.post::<serde_json::Value>("refund", &body).await.map(drop)
    }

    async fn look_up(&self, key: IdempotencyKey) -> Result<Operation, StepError> {
        let sent = self.client.get(format!("{}/operations/{key}", self.base_url)).send().await;
        answer(sent).await
    }

    async fn close(&self, key: IdempotencyKey) -> Result<Operation, StepError> {
        self.post(&format!("operations/{key}/close"), &serde_json::json!({})).await
    }
}
