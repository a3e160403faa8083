//! The adapter for a repeat program that speaks HTTP and JSON: `POST repeat-programs`, with the key in the
//! header `Idempotency-Key` and what it belongs to in `x-correlation-id`. It answers a [`RepeatProgramAnswer`].

use std::time::Duration;

use async_trait::async_trait;
use saga_core::{IdempotencyKey, StepError};

use super::{RepeatProgram, RepeatProgramAnswer, RepeatProgramRequest};
use crate::correlation;
use crate::initiate::vendor::answer;

/// A repeat program that speaks HTTP and JSON.
#[derive(Clone, Debug)]
pub struct HttpRepeatProgram {
    client: reqwest::Client,
    base_url: String,
}

impl HttpRepeatProgram {
    /// One at this address. `timeout` bounds each call; past it the outcome is unknown.
    ///
    /// # Errors
    /// When the HTTP client cannot be set up.
    pub fn new(base_url: impl Into<String>, timeout: Duration) -> Result<Self, reqwest::Error> {
        let client = reqwest::Client::builder().timeout(timeout).connect_timeout(timeout).build()?;
        Ok(Self { client, base_url: base_url.into() })
    }
}

#[async_trait]
impl RepeatProgram for HttpRepeatProgram {
    async fn initiate_repeat_program(
        &self,
        key: IdempotencyKey,
        request: &RepeatProgramRequest,
    ) -> Result<RepeatProgramAnswer, StepError> {
        let call = self.client.post(format!("{}/repeat-programs", self.base_url));
        let call = correlation::tell(call.header("Idempotency-Key", key.to_string()).json(request));
        answer("the repeat program", call.send().await).await
    }
}
