//! The adapter for vendors that speak HTTP and JSON.
//!
//! | call | request | answer |
//! |---|---|---|
//! | create | `POST payments` | [`PaymentAnswer`] |
//! | query | `GET payments/{merchant reference}` | [`Standing`] |
//! | cancel | `POST payments/{merchant reference}/cancel` | [`Cancellation`] |
//! | refund | `POST payments/{merchant reference}/refunds` | [`Refund`] |
//!
//! Every call but the query carries its key in the header `Idempotency-Key`, and all tell in `x-correlation-id`
//! which execution they belong to.

use std::time::Duration;

use async_trait::async_trait;
use saga_core::{IdempotencyKey, StepError};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{Cancellation, PaymentAnswer, PaymentRequest, PaymentVendor, Refund, Standing};
use crate::correlation;
use crate::initiate::classify::{ErrorCode, ServiceError};
use crate::money::Money;
use crate::seeded::seeded;

/// Who answers, in texts.
const THE_VENDOR: &str = "the vendor";

/// A vendor that speaks HTTP and JSON.
#[derive(Clone, Debug)]
pub struct HttpVendor {
    client: reqwest::Client,
    base_url: String,
}

/// What the vendor says when it refuses.
#[derive(Debug, Deserialize)]
struct Refusal {
    code: String,
    message: String,
}

impl HttpVendor {
    /// A vendor at this address. `timeout` bounds each call; past it the outcome is unknown.
    ///
    /// # Errors
    /// When the HTTP client cannot be set up.
    pub fn new(base_url: impl Into<String>, timeout: Duration) -> Result<Self, reqwest::Error> {
        let client = reqwest::Client::builder().timeout(timeout).connect_timeout(timeout).build()?;
        Ok(Self { client, base_url: base_url.into() })
    }

    async fn post<T: DeserializeOwned>(
        &self,
        key: IdempotencyKey,
        path: &str,
        body: &(impl serde::Serialize + Sync + ?Sized),
    ) -> Result<T, StepError> {
        let request = self.client.post(format!("{}/{path}", self.base_url));
        let request = correlation::tell(request.header("Idempotency-Key", key.to_string()).json(body));
        answer(THE_VENDOR, request.send().await).await
    }
}

/// Sorts an answer by what it proves. `who` answers, for people.
pub(in crate::initiate) async fn answer<T: DeserializeOwned>(
    who: &str,
    sent: Result<reqwest::Response, reqwest::Error>,
) -> Result<T, StepError> {
    let response = match sent {
        Ok(response) => response,
        Err(error) => return Err(ServiceError::from_http(&error).into()),
    };
    let status = response.status();
    match status.as_u16() {
        200..=299 => {
            let cut = |error| ServiceError::new(ErrorCode::NetworkTimeout, format_args!("answer cut off: {error}"));
            Ok(response.json().await.map_err(cut)?)
        }
        429 => Err(slow_down(who, &response).into()),
        // Documented refusals, before any effect.
        400 | 402 | 403 | 404 | 410 | 422 => match response.json::<Refusal>().await {
            Ok(refusal) => Err(refused(&refusal)),
            Err(_) => Err(ServiceError::new(ErrorCode::PaymentValidation, status).into()),
        },
        409 if seeded("M16") => Err(StepError::rejected("declined")),
        401 => Err(ServiceError::new(ErrorCode::Unauthenticated, format_args!("{who} does not know us")).into()),
        // In progress under the same key, or a server's trouble: nobody knows.
        409 | 500..=599 => {
            Err(ServiceError::new(ErrorCode::ExternalFailure, format_args!("{who} answered {status}")).into())
        }
        _ => Err(ServiceError::new(ErrorCode::Internal, format_args!("{who} answered {status}")).into()),
    }
}

/// A refusal stands, whatever its code is: had the vendor wanted another attempt, it had said 5xx.
fn refused(Refusal { code, message }: &Refusal) -> StepError {
    StepError::rejected(format_args!("{code}: {message}"))
}

fn slow_down(who: &str, response: &reqwest::Response) -> ServiceError {
    let header = response.headers().get(reqwest::header::RETRY_AFTER);
    let seconds = header.and_then(|value| value.to_str().ok()).and_then(|text| text.parse().ok()).unwrap_or(1);
    ServiceError::new(ErrorCode::RateLimited, format_args!("{who} asks to slow down"))
        .after(Duration::from_secs(seconds))
}

/// A reference as one part of a path.
fn part(merchant_reference: &str) -> Result<&str, StepError> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let dots = merchant_reference.bytes().all(|byte| byte == b'.');
    if !dots && merchant_reference.bytes().all(fits) {
        Ok(merchant_reference)
    } else {
        let error = ServiceError::new(ErrorCode::PaymentValidation, "the merchant reference fits no address");
        Err(error.into())
    }
}

#[async_trait]
impl PaymentVendor for HttpVendor {
    async fn create(&self, key: IdempotencyKey, request: &PaymentRequest) -> Result<PaymentAnswer, StepError> {
        part(&request.merchant_reference)?;
        self.post(key, "payments", request).await
    }

    async fn query(&self, merchant_reference: &str) -> Result<Standing, StepError> {
        let url = format!("{}/payments/{}", self.base_url, part(merchant_reference)?);
        answer(THE_VENDOR, correlation::tell(self.client.get(url)).send().await).await
    }

    async fn cancel(&self, key: IdempotencyKey, merchant_reference: &str) -> Result<Cancellation, StepError> {
        let path = format!("payments/{}/cancel", part(merchant_reference)?);
        self.post(key, &path, &serde_json::json!({})).await
    }

    async fn refund(&self, key: IdempotencyKey, merchant_reference: &str, amount: Money) -> Result<Refund, StepError> {
        let path = format!("payments/{}/refunds", part(merchant_reference)?);
        self.post(key, &path, &serde_json::json!({ "amount": amount })).await
    }
}
