//! The adapter for gateways that speak HTTP and JSON. Every call tells in `x-correlation-id` which saga it is of.

use std::time::Duration;

use async_trait::async_trait;
use saga_core::{IdempotencyKey, StepError};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{Authorization, Capture, KeyRules, Operation, Payment, PaymentGateway};
use crate::correlation;
use crate::money::Money;

/// A gateway that speaks HTTP and JSON.
#[derive(Clone, Debug)]
pub struct HttpGateway {
    client: reqwest::Client,
    base_url: String,
    key_rules: KeyRules,
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
        Ok(Self { client, base_url: base_url.into(), key_rules: KeyRules::default() })
    }

    /// How this gateway treats idempotency keys. Default: [`KeyRules::default`].
    #[must_use]
    pub fn with_key_rules(self, key_rules: KeyRules) -> Self {
        Self { key_rules, ..self }
    }

    async fn post<T: DeserializeOwned>(&self, path: &str, body: &serde_json::Value) -> Result<T, StepError> {
        let request = self.client.post(format!("{}/{path}", self.base_url)).json(body);
        answer(correlation::tell(request).send().await).await
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, StepError> {
        answer(correlation::tell(self.client.get(format!("{}/{path}", self.base_url))).send().await).await
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
        // Declined, the key was closed, or the wrong verb: documented refusals, before any effect.
        402 | 410 | 422 => {
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
    fn key_rules(&self) -> KeyRules {
        self.key_rules
    }

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

    async fn void(&self, key: IdempotencyKey, authorization_id: &str) -> Result<(), StepError> {
        let body = serde_json::json!({ "idempotencyKey": key, "authorizationId": authorization_id });
        self.post::<serde_json::Value>("void", &body).await.map(drop)
    }

    async fn refund(&self, key: IdempotencyKey, transaction_id: &str, amount: Money) -> Result<(), StepError> {
        let body = serde_json::json!({
            "idempotencyKey": key,
            "transactionId": transaction_id,
            "amountMinor": amount.minor(),
        });
        self.post::<serde_json::Value>("refund", &body).await.map(drop)
    }

    async fn payment(&self, authorize_key: IdempotencyKey) -> Result<Option<Payment>, StepError> {
        self.get(&format!("payments/{authorize_key}")).await
    }

    async fn look_up(&self, key: IdempotencyKey) -> Result<Operation, StepError> {
        self.get(&format!("operations/{key}")).await
    }

    async fn close(&self, key: IdempotencyKey) -> Result<Operation, StepError> {
        self.post(&format!("operations/{key}/close"), &serde_json::json!({})).await
    }
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderMap, StatusCode};
    use saga_core::{Op, SagaId, StepName};

    use super::*;
    use crate::correlation::{HEADER, correlated};

    #[tokio::test]
    async fn every_call_tells_what_it_belongs_to() -> Result<(), Box<dyn std::error::Error>> {
        let routes = axum::Router::new().fallback(async |headers: HeaderMap| {
            let told = headers.get(HEADER).and_then(|value| value.to_str().ok()).unwrap_or("none").to_owned();
            (StatusCode::PAYMENT_REQUIRED, axum::Json(serde_json::json!({ "error": told })))
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let gateway = HttpGateway::new(format!("http://{}", listener.local_addr()?), Duration::from_secs(10))?;
        tokio::spawn(async move { axum::serve(listener, routes).await });
        let key = IdempotencyKey::of(SagaId::new(), &StepName::from("authorize"), Op::Run, 0);
        let posted = correlated("saga-1", gateway.close(key)).await.map_err(|error| error.to_string());
        assert_eq!(posted.err().as_deref(), Some("saga-1"));
        let got = correlated("saga-1", gateway.look_up(key)).await.map_err(|error| error.to_string());
        assert_eq!(got.err().as_deref(), Some("saga-1"));
        Ok(())
    }
}
