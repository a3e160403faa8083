//! The stand-in: a vendor in memory, customers who act as planned, and webhooks.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use checkout_workflows::Money;
use checkout_workflows::initiate::vendor::{
    Behaviour, Cancellation, DeclineCode, Entry, EntryKind, LocalVendor, NotPending, PaymentAnswer, PaymentRequest,
    PaymentVendor, Refund, Standing,
};
use checkout_workflows::initiate::webhook::WeakSecret;
use saga_core::{IdempotencyKey, StepError};
use serde::{Deserialize, Serialize};

use super::plan::{Customer, Plan};
use super::webhooks::Webhooks;

/// What the vendor has of each payment, and what cannot be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Booked {
    /// Taken less paid back, in minor units, by the merchant's reference.
    pub net_minor: BTreeMap<String, i64>,
    /// How many payments were paid back.
    pub refunds: usize,
    /// What cannot be, in words.
    pub contradictions: Vec<String>,
}

/// A stand-in for the vendor. Clones are the same one.
#[derive(Clone)]
pub struct StandIn {
    vendor: LocalVendor,
    webhooks: Webhooks,
    /// The merchant's references, by the vendor's ids of the transactions: what customers know.
    transactions: Arc<Mutex<HashMap<String, String>>>,
}

impl StandIn {
    /// A vendor that signs its webhooks with this secret and posts them there. Its customers must act,
    /// unless their payment method says otherwise, see [`Plan`].
    ///
    /// # Errors
    /// When the secret is too short.
    pub fn new(secret: &[u8], webhooks: Option<String>) -> Result<Self, WeakSecret> {
        let webhooks = Webhooks::new(webhooks);
        let sink = webhooks.clone();
        let vendor = LocalVendor::new(secret)?.with_webhooks(Arc::new(move |webhook| sink.take(webhook)));
        vendor.behave(Behaviour::Wait);
        Ok(Self { vendor, webhooks, transactions: Arc::default() })
    }

    /// How many webhooks are still to be posted.
    #[must_use]
    pub fn webhooks_pending(&self) -> usize {
        self.webhooks.pending()
    }

    /// All that has happened, in order.
    #[must_use]
    pub fn ledger(&self) -> Vec<Entry> {
        self.vendor.ledger()
    }

    /// The customer pays: by the vendor's id of the transaction, or the merchant's reference.
    ///
    /// # Errors
    /// When the payment is not waiting for that.
    pub fn pay(&self, payment: &str) -> Result<(), NotPending> {
        self.vendor.pay(&self.reference(payment))
    }

    /// The customer gives up.
    ///
    /// # Errors
    /// When the payment is not waiting for that.
    pub fn fail(&self, payment: &str) -> Result<(), NotPending> {
        self.vendor.fail(&self.reference(payment), DeclineCode::PaymentDeclined)
    }

    fn reference(&self, payment: &str) -> String {
        let transactions = self.transactions.lock().unwrap_or_else(PoisonError::into_inner);
        transactions.get(payment).cloned().unwrap_or_else(|| payment.to_owned())
    }

    /// The books, added up.
    #[must_use]
    pub fn booked(&self) -> Booked {
        let audit = self.vendor.audit();
        let refunds = self.ledger().iter().filter(|entry| entry.kind == EntryKind::Refunded).count();
        Booked { net_minor: audit.net_minor, refunds, contradictions: audit.contradictions }
    }

    /// At once when there is nothing to wait for, so that it can come before the answer.
    fn act(&self, merchant_reference: &str, customer: Customer) {
        let after = match customer {
            Customer::Pays(after) | Customer::Fails(after) => after,
        };
        let (stand_in, reference) = (self.clone(), merchant_reference.to_owned());
        let act = move || {
            let acted = match customer {
                Customer::Pays(_) => stand_in.pay(&reference),
                Customer::Fails(_) => stand_in.fail(&reference),
            };
            // Cancelled meanwhile: the customer is told so.
            acted.ok();
        };
        if after.is_zero() {
            return act();
        }
        tokio::spawn(async move {
            tokio::time::sleep(after).await;
            act();
        });
    }
}

#[async_trait]
impl PaymentVendor for StandIn {
    /// It goes as its payment method says.
    async fn create(&self, key: IdempotencyKey, request: &PaymentRequest) -> Result<PaymentAnswer, StepError> {
        let reference = &request.merchant_reference;
        let first = self.vendor.calls(reference) == 0;
        let plan = request.payment_method.as_deref().map(Plan::of).unwrap_or_default();
        if first {
            self.webhooks.plan(reference, plan.webhook);
            if let Some(behaviour) = plan.behaviour {
                self.vendor.behave_for(reference, behaviour);
            }
        }
        let answer = self.vendor.create(key, request).await;
        if let Ok(PaymentAnswer::RequiresClientAction(action)) = &answer {
            let mut transactions = self.transactions.lock().unwrap_or_else(PoisonError::into_inner);
            transactions.insert(action.vendor_transaction_id.clone(), reference.clone());
        }
        if let (true, Ok(_), Some(customer)) = (first, &answer, plan.customer) {
            self.act(reference, customer);
        }
        if first && plan.webhook.early {
            self.webhooks.post_early(reference).await;
        }
        answer
    }

    async fn query(&self, merchant_reference: &str) -> Result<Standing, StepError> {
        self.vendor.query(merchant_reference).await
    }

    async fn cancel(&self, key: IdempotencyKey, merchant_reference: &str) -> Result<Cancellation, StepError> {
        self.vendor.cancel(key, merchant_reference).await
    }

    async fn refund(&self, key: IdempotencyKey, merchant_reference: &str, amount: Money) -> Result<Refund, StepError> {
        self.vendor.refund(key, merchant_reference, amount).await
    }
}

impl std::fmt::Debug for StandIn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StandIn").field("vendor", &self.vendor).finish_non_exhaustive()
    }
}
