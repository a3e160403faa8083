//! Posts webhooks until they are taken, as vendors do.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use checkout_workflows::initiate::vendor::SignedWebhook;
use checkout_workflows::initiate::webhook::SIGNATURE_HEADER;
use serde::Deserialize;

use super::plan::WebhookPlan;

/// The first pause before a webhook is posted again, and the longest.
const PAUSE: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// How often a webhook is posted that nobody takes: some minutes long.
const ATTEMPTS_MAX: u32 = 150;
/// How long the merchant may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// Posts webhooks. Clones are the same.
#[derive(Clone)]
pub(super) struct Webhooks {
    client: reqwest::Client,
    url: Option<Arc<str>>,
    state: Arc<Mutex<State>>,
    /// How many are still to be posted.
    pending: Arc<AtomicUsize>,
}

#[derive(Default)]
struct State {
    plans: HashMap<String, WebhookPlan>,
    /// Those that are to come before the answer.
    early: HashMap<String, Vec<SignedWebhook>>,
}

impl Webhooks {
    pub(super) fn new(url: Option<String>) -> Self {
        Self {
            client: reqwest::Client::new(),
            url: url.map(Into::into),
            state: Arc::default(),
            pending: Arc::default(),
        }
    }

    /// What becomes of the webhooks of this payment.
    pub(super) fn plan(&self, merchant_reference: &str, plan: WebhookPlan) {
        self.state().plans.insert(merchant_reference.to_owned(), plan);
    }

    /// Takes one in, to be posted as planned. Called within a runtime.
    pub(super) fn take(&self, webhook: SignedWebhook) {
        let reference = reference(&webhook).unwrap_or_default();
        let plan = {
            let mut state = self.state();
            let plan = state.plans.get(&reference).copied().unwrap_or_default();
            if plan.early && plan.copies > 0 {
                state.early.entry(reference).or_default().push(webhook);
                return;
            }
            plan
        };
        for _ in 0..plan.copies {
            self.post_later(webhook.clone(), plan.held);
        }
    }

    /// Posts those that are to come before the answer, and returns when they have arrived or nobody took them.
    /// From then on this payment's webhooks are posted as all others.
    pub(super) async fn post_early(&self, merchant_reference: &str) {
        let (early, copies) = {
            let mut state = self.state();
            let plan = state.plans.entry(merchant_reference.to_owned()).or_default();
            plan.early = false;
            let copies = plan.copies;
            (state.early.remove(merchant_reference).unwrap_or_default(), copies)
        };
        for webhook in early {
            for nth in 0..copies {
                if nth > 0 || !self.post(&webhook).await {
                    self.post_later(webhook.clone(), Duration::ZERO);
                }
            }
        }
    }

    /// How many are still to be posted.
    pub(super) fn pending(&self) -> usize {
        self.pending.load(Ordering::Acquire)
    }

    fn post_later(&self, webhook: SignedWebhook, held: Duration) {
        let webhooks = self.clone();
        self.pending.fetch_add(1, Ordering::AcqRel);
        tokio::spawn(async move {
            tokio::time::sleep(held).await;
            webhooks.post_until_taken(&webhook).await;
            webhooks.pending.fetch_sub(1, Ordering::AcqRel);
        });
    }

    async fn post_until_taken(&self, webhook: &SignedWebhook) {
        let mut pause = PAUSE;
        for _ in 0..ATTEMPTS_MAX {
            if self.post(webhook).await {
                return;
            }
            tokio::time::sleep(pause).await;
            pause = PAUSE_MAX.min(pause * 2);
        }
        tracing::error!("nobody takes a webhook");
    }

    /// Whether it was taken.
    async fn post(&self, webhook: &SignedWebhook) -> bool {
        let Some(url) = &self.url else { return true };
        let request = self.client.post(url.as_ref()).header(SIGNATURE_HEADER, &webhook.signature);
        let sent = request.timeout(ANSWER_MAX).body(webhook.body.clone()).send().await;
        sent.is_ok_and(|answer| answer.status().is_success())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Which payment it is about.
fn reference(webhook: &SignedWebhook) -> Option<String> {
    #[derive(Deserialize)]
    struct Body {
        payload: Payload,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Payload {
        payment_collection_requirement_id: String,
    }
    let body: Body = serde_json::from_slice(&webhook.body).ok()?;
    Some(body.payload.payment_collection_requirement_id)
}
