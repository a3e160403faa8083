//! A stand-in that behaves like a real vendor, faults and webhooks included.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use saga_core::{IdempotencyKey, StepError, Timestamp};

use super::books::{Audit, Books, Entry};
use super::{Cancellation, DeclineCode, PaymentAnswer, PaymentRequest, PaymentVendor, Refund, Standing};
use crate::initiate::webhook::{self, WeakSecret, WebhookEvent};
use crate::money::Money;

/// How a payment goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// It is paid at once.
    Succeed,
    /// It waits until [`LocalVendor::pay`] or [`LocalVendor::fail`].
    Wait,
    /// The bank declines.
    Decline,
    /// There is not enough money.
    InsufficientFunds,
    /// So many calls are not answered, and nothing happens; then it is paid.
    TimeOutWithoutEffect {
        /// How many.
        calls: u32,
    },
    /// It is paid, and so many calls are not answered.
    TimeOutWithEffect {
        /// How many.
        calls: u32,
    },
    /// The first call is not answered, and it is paid this much later, if nobody has cancelled it.
    SucceedLate {
        /// How much later.
        after: Duration,
    },
}

/// When a webhook comes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Timing {
    /// Soon, and about when the answer comes.
    #[default]
    Prompt,
    /// Before the answer.
    Early,
    /// When [`LocalVendor::release_webhooks`] says so.
    Held,
}

/// How webhooks are delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// When.
    pub timing: Timing,
    /// How often each.
    pub copies: u32,
}

impl Default for Delivery {
    fn default() -> Self {
        Self { timing: Timing::Prompt, copies: 1 }
    }
}

/// A webhook as it is posted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedWebhook {
    /// The value of [`webhook::SIGNATURE_HEADER`].
    pub signature: String,
    /// The body.
    pub body: Vec<u8>,
}

/// Where webhooks go.
pub type WebhookSink = Arc<dyn Fn(SignedWebhook) + Send + Sync>;

/// The operations of a vendor, for outages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// [`PaymentVendor::create`].
    Create,
    /// [`PaymentVendor::query`].
    Query,
    /// [`PaymentVendor::cancel`].
    Cancel,
    /// [`PaymentVendor::refund`].
    Refund,
}

/// A payment is not waiting for its customer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the payment {merchant_reference} is not waiting for its customer")]
pub struct NotPending {
    merchant_reference: String,
}

#[derive(Default)]
struct State {
    books: Books,
    default: Option<Behaviour>,
    behaviours: BTreeMap<String, Behaviour>,
    /// Calls of `create`, by reference.
    calls: BTreeMap<String, u32>,
    outages: BTreeMap<Operation, u32>,
    delivery: Delivery,
    held: Vec<WebhookEvent>,
}

/// A stand-in for a payment vendor. Clones are the same vendor.
///
/// It is idempotent by key, takes each merchant reference once, refuses to cancel what is captured and to
/// refund what is not, and keeps a [ledger](LocalVendor::ledger). Time-outs are answered at once: what a
/// caller learns of them is the same.
#[derive(Clone)]
pub struct LocalVendor {
    state: Arc<Mutex<State>>,
    secret: Arc<[u8]>,
    sink: Option<WebhookSink>,
}

impl LocalVendor {
    /// A vendor that signs its webhooks with this secret, and posts them nowhere yet.
    ///
    /// # Errors
    /// When the secret is too short.
    pub fn new(secret: &[u8]) -> Result<Self, WeakSecret> {
        webhook::WebhookSecrets::new(secret)?;
        Ok(Self { state: Arc::default(), secret: secret.into(), sink: None })
    }

    /// Where it posts its webhooks. Called in the middle of things: hand them on, and return.
    #[must_use]
    pub fn with_webhooks(self, sink: WebhookSink) -> Self {
        Self { sink: Some(sink), ..self }
    }

    /// How payments go that nothing else is said of. Default: [`Behaviour::Succeed`].
    pub fn behave(&self, behaviour: Behaviour) {
        self.state().default = Some(behaviour);
    }

    /// How the payment of this reference goes.
    pub fn behave_for(&self, merchant_reference: &str, behaviour: Behaviour) {
        self.state().behaviours.insert(merchant_reference.to_owned(), behaviour);
    }

    /// How webhooks are delivered from now on.
    pub fn deliver(&self, delivery: Delivery) {
        self.state().delivery = delivery;
    }

    /// The next so many calls of this operation are answered with 503, and nothing happens.
    pub fn outage(&self, operation: Operation, calls: u32) {
        self.state().outages.insert(operation, calls);
    }

    /// The customer pays.
    ///
    /// # Errors
    /// When the payment is not waiting for that.
    pub fn pay(&self, merchant_reference: &str) -> Result<(), NotPending> {
        let event = self.state().books.capture(merchant_reference);
        self.customer_acted(merchant_reference, event)
    }

    /// The customer does not pay, for good.
    ///
    /// # Errors
    /// When the payment is not waiting for that.
    pub fn fail(&self, merchant_reference: &str, code: DeclineCode) -> Result<(), NotPending> {
        let event = self.state().books.decline(merchant_reference, code);
        self.customer_acted(merchant_reference, event)
    }

    /// Delivers all webhooks that were held, the last one first: nobody promised an order.
    pub fn release_webhooks(&self) {
        let (held, copies) = {
            let mut state = self.state();
            (std::mem::take(&mut state.held), state.delivery.copies)
        };
        for event in held.iter().rev() {
            self.post(event, copies);
        }
    }

    /// How often [`PaymentVendor::create`] was called for this reference.
    #[must_use]
    pub fn calls(&self, merchant_reference: &str) -> u32 {
        self.state().calls.get(merchant_reference).copied().unwrap_or(0)
    }

    /// How the payment of this reference stands, whatever is out of order.
    #[must_use]
    pub fn standing(&self, merchant_reference: &str) -> Standing {
        self.state().books.standing(merchant_reference)
    }

    /// All that has happened, in order.
    #[must_use]
    pub fn ledger(&self) -> Vec<Entry> {
        self.state().books.ledger.clone()
    }

    /// The ledger, added up.
    #[must_use]
    pub fn audit(&self) -> Audit {
        Audit::of(&self.state().books.ledger)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A test that panics elsewhere leaves the books as they are: nothing is half done in them.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn customer_acted(&self, merchant_reference: &str, event: Option<WebhookEvent>) -> Result<(), NotPending> {
        let not_pending = || NotPending { merchant_reference: merchant_reference.to_owned() };
        let event = event.ok_or_else(not_pending)?;
        let Delivery { timing, copies } = self.state().delivery;
        match timing {
            Timing::Prompt | Timing::Early => self.post(&event, copies),
            Timing::Held => self.state().held.push(event),
        }
        Ok(())
    }

    /// A webhook that belongs to a call which is not answered yet.
    fn announce(&self, event: WebhookEvent) {
        let Delivery { timing, copies } = self.state().delivery;
        match timing {
            Timing::Early => self.post(&event, copies),
            Timing::Held => self.state().held.push(event),
            Timing::Prompt => {
                let vendor = self.clone();
                tokio::spawn(async move { vendor.post(&event, copies) });
            }
        }
    }

    fn post(&self, event: &WebhookEvent, copies: u32) {
        let Some(sink) = &self.sink else { return };
        let Ok(body) = webhook::write(event) else { return };
        for _ in 0..copies {
            if let Ok(signature) = webhook::sign(&self.secret, now(), &body) {
                sink(SignedWebhook { signature, body: body.clone() });
            }
        }
    }

    fn reach(&self, operation: Operation) -> Result<(), StepError> {
        match self.state().outages.get_mut(&operation) {
            Some(calls) if *calls > 0 => {
                *calls -= 1;
                Err(StepError::retry("EXTERNAL_FAILURE: the vendor answered 503"))
            }
            _ => Ok(()),
        }
    }

    /// What happens at the vendor, and whether the answer is lost.
    fn take(&self, key: IdempotencyKey, request: &PaymentRequest) -> Result<Taken, StepError> {
        let reference = &request.merchant_reference;
        let mut state = self.state();
        let calls = state.calls.entry(reference.clone()).or_default();
        *calls += 1;
        let nth = *calls;
        let behaviour = state.behaviours.get(reference).copied().or(state.default).unwrap_or(Behaviour::Succeed);
        let lost = match behaviour {
            Behaviour::TimeOutWithoutEffect { calls } if nth <= calls => return Err(no_answer()),
            Behaviour::TimeOutWithEffect { calls } => nth <= calls,
            Behaviour::SucceedLate { .. } => nth == 1,
            _ => false,
        };
        let (mut event, mut paid_after) = (None, None);
        if state.books.request(key, request)? {
            match behaviour {
                Behaviour::Succeed | Behaviour::TimeOutWithoutEffect { .. } | Behaviour::TimeOutWithEffect { .. } => {
                    event = state.books.capture(reference);
                }
                Behaviour::Wait => {}
                Behaviour::Decline => event = state.books.decline(reference, DeclineCode::PaymentDeclined),
                Behaviour::InsufficientFunds => {
                    event = state.books.decline(reference, DeclineCode::InsufficientFunds);
                }
                Behaviour::SucceedLate { after } => paid_after = Some(after),
            }
        }
        let answer = state.books.answer(key, reference);
        Ok(Taken { answer, event, paid_after, lost })
    }
}

/// What came of a call.
struct Taken {
    answer: Result<PaymentAnswer, StepError>,
    event: Option<WebhookEvent>,
    paid_after: Option<Duration>,
    lost: bool,
}

fn no_answer() -> StepError {
    StepError::retry("NETWORK_TIMEOUT: no answer from the vendor")
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_micros(0).after(since)
}

#[async_trait]
impl PaymentVendor for LocalVendor {
    async fn create(&self, key: IdempotencyKey, request: &PaymentRequest) -> Result<PaymentAnswer, StepError> {
        self.reach(Operation::Create)?;
        let taken = self.take(key, request)?;
        if let Some(event) = taken.event {
            self.announce(event);
        }
        if let Some(after) = taken.paid_after {
            let (vendor, reference) = (self.clone(), request.merchant_reference.clone());
            tokio::spawn(async move {
                tokio::time::sleep(after).await;
                // Cancelled meanwhile, or paid by hand: then this comes to nothing.
                vendor.pay(&reference).ok();
            });
        }
        if taken.lost { Err(no_answer()) } else { taken.answer }
    }

    async fn query(&self, merchant_reference: &str) -> Result<Standing, StepError> {
        self.reach(Operation::Query)?;
        Ok(self.standing(merchant_reference))
    }

    async fn cancel(&self, key: IdempotencyKey, merchant_reference: &str) -> Result<Cancellation, StepError> {
        self.reach(Operation::Cancel)?;
        let captured = self.state().books.close(key, merchant_reference)?;
        Ok(captured.map_or(Cancellation::Closed, Cancellation::AlreadyCaptured))
    }

    async fn refund(&self, key: IdempotencyKey, merchant_reference: &str, amount: Money) -> Result<Refund, StepError> {
        self.reach(Operation::Refund)?;
        self.state().books.refund(key, merchant_reference, amount)
    }
}

impl fmt::Debug for LocalVendor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalVendor").field("audit", &self.audit()).finish_non_exhaustive()
    }
}
