//! The clients: each sends its request until it has an answer, whatever happens to the server.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::CampaignError;
use super::scenario::Checkout;
use crate::server::{Config, INITIATE, TokenFor, token};

/// How long a client tries.
const PATIENCE: Duration = Duration::from_secs(180);
/// The first pause before a request is sent again, and the longest.
const PAUSE: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// How long it waits for one answer.
const ANSWER_MAX: Duration = Duration::from_secs(8);

/// What the clients share.
#[derive(Clone, Debug)]
pub(super) struct Clients {
    client: Client,
    url: String,
    config: Arc<Config>,
    /// How often a request was sent again.
    pub(super) sent_again: Arc<AtomicUsize>,
}

/// What a client was answered.
#[derive(Clone, Debug)]
pub(super) struct Answered {
    pub(super) id: String,
    pub(super) status: StatusCode,
    pub(super) body: Value,
    /// What should not have been answered.
    pub(super) findings: Vec<String>,
}

impl Clients {
    pub(super) fn new(url: &str, config: Config) -> Result<Self, CampaignError> {
        let client = Client::builder().timeout(ANSWER_MAX).build()?;
        let url = format!("{url}{INITIATE}");
        Ok(Self { client, url, config: Arc::new(config), sent_again: Arc::default() })
    }

    /// Sends the request until it is answered; some twice at a time, some with other contents afterwards.
    pub(super) async fn run(self, checkout: Checkout) -> Result<Answered, CampaignError> {
        let mut findings = Vec::new();
        let id = checkout.id.clone();
        let (status, body) = if checkout.doubled {
            let (one, other) = tokio::join!(self.send(&checkout, &checkout.body), self.send(&checkout, &checkout.body));
            let (one, other) = (one?, other?);
            if one.0 == StatusCode::OK && other.0 == StatusCode::OK && one.1 != other.1 {
                findings.push(format!("{id} was answered in two ways"));
            }
            one
        } else {
            self.send(&checkout, &checkout.body).await?
        };
        if checkout.changed {
            let mut changed = checkout.body.clone();
            changed["device"]["version"] = json!("13");
            let (status, body) = self.send(&checkout, &changed).await?;
            if status != StatusCode::CONFLICT || body["differs"] != json!(["device"]) {
                findings.push(format!("{id} was initiated with other contents, which was answered {status}: {body}"));
            }
        }
        Ok(Answered { id, status, body, findings })
    }

    async fn send(&self, checkout: &Checkout, body: &Value) -> Result<(StatusCode, Value), CampaignError> {
        let wanted = TokenFor { user: checkout.user.clone(), role: "CUSTOMER".to_owned(), minutes: 60 };
        let token = token(&self.config, &wanted)?;
        let until = Instant::now() + PATIENCE;
        let mut pause = PAUSE;
        loop {
            let sent = self.client.post(&self.url).bearer_auth(&token).json(body).send().await;
            if let Ok(answer) = sent {
                let status = answer.status();
                let problem =
                    answer.headers().get("content-type").is_some_and(|kind| kind == "application/problem+json");
                if let Ok(body) = answer.json::<Value>().await
                    && is_answer(status, problem, &body)
                {
                    return Ok((status, body));
                }
            }
            if Instant::now() > until {
                return Err(format!("{} got no answer", checkout.id).into());
            }
            self.sent_again.fetch_add(1, Ordering::Relaxed);
            // Never all at once: they were all turned away at the same moment.
            tokio::time::sleep(pause.mul_f64(0.5 + fastrand::f64())).await;
            pause = PAUSE_MAX.min(pause * 2);
        }
    }
}

/// Whether the client is through, rather than asked to come again.
fn is_answer(status: StatusCode, problem: bool, body: &Value) -> bool {
    let rolled_back = problem && body["title"] == "the checkout was rolled back";
    status.is_success() || rolled_back || status.is_client_error()
}
