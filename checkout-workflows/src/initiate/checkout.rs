//! The saga behind `POST /orchestration/checkout/initiate`: nine steps, between opening the execution
//! context and completing it.

use std::sync::Arc;
use std::time::Duration;

use saga_core::definition::Compensatable;
use saga_core::{BuildError, Definition, Event, RetryPolicy, Source as _, StepError, StepHandle};
use serde::{Deserialize, Serialize};

use super::flags::FlagSet;
use super::invoice::Invoice;
use super::late_payment::late_payment;
use super::pii::KeyRing;
use super::policy::{Policies, Service};
use super::repeat_program::{NoRepeatProgram, RepeatProgram};
use super::schema::{
    EventHeaders, EventName, InitiateCheckoutRequest, InitiateCheckoutResponse, LineItemsConfirmed, LineItemsUpdated,
    PaymentIntent,
};
use super::sealed_request::open_request;
use super::step::payment::{RequestPayment, RequestedPayment, SettlePayment, Settled};
use super::step::{answer, confirm, context, line_items, opt_ins, orders, preferences};
use super::store::{CheckoutOrder, PaymentGroup, Preference, Stores};
use super::vendor::PaymentVendor;
use super::webhook::PaymentOutcome;
use crate::money::Currency;

/// The definition's name. The start key is the execution context's id.
pub const NAME: &str = "checkout-initiate";
/// What the vendor's webhooks are to the saga: the events `payment_collection_requirement_success` and
/// `_failed`, as one signal with two outcomes.
pub const PAYMENT_SIGNAL: &str = "payment_collection_requirement";
/// The step whose output is the payment groups.
pub(super) const GROUPS: &str = "create-payment-groups";
/// The step whose output is the answer to the client, before the payment has come.
pub const ANSWER: &str = "answer";

/// What the saga works with.
#[derive(Clone)]
pub struct InitiateServices {
    /// The tables.
    pub stores: Stores,
    /// The payment vendor.
    pub vendor: Arc<dyn PaymentVendor>,
    /// The customers' repeat program. Until it is set, events that tell of confirmed line items wait for it.
    pub repeat_program: Arc<dyn RepeatProgram>,
    /// Seals personal data in columns.
    pub pii: Arc<KeyRing>,
    /// How often and how patiently each service is asked.
    pub policies: Policies,
    /// How compensations, and steps past the point of no return, are repeated.
    pub patience: RetryPolicy,
    /// How long the payment is waited for, before it is closed at the vendor and the checkout turns back.
    pub payment_wait: Duration,
    /// How long the locks on the context and its payment groups are waited for.
    pub lock_wait: Duration,
    /// When what is paid later is due, from its checkout.
    pub settlement_after: Duration,
}

impl InitiateServices {
    /// The services with the documented policies: a quarter of an hour to pay, half a minute for locks, and a
    /// month for what is paid later.
    #[must_use]
    pub fn new(stores: Stores, vendor: Arc<dyn PaymentVendor>, pii: KeyRing) -> Self {
        Self {
            stores,
            vendor,
            repeat_program: Arc::new(NoRepeatProgram),
            pii: Arc::new(pii),
            policies: Policies::default(),
            patience: RetryPolicy::patient(),
            payment_wait: Duration::from_secs(15 * 60),
            lock_wait: Duration::from_secs(30),
            settlement_after: Duration::from_secs(30 * 24 * 60 * 60),
        }
    }
}

impl std::fmt::Debug for InitiateServices {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InitiateServices").field("stores", &self.stores).finish_non_exhaustive()
    }
}

/// What a saga is started with: the request as it came, and what was decided before it began.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Initiation {
    /// The execution.
    pub execution_context_id: String,
    /// What the client asks for, its personal data sealed where the flag says so.
    pub request: InitiateCheckoutRequest,
    /// The fingerprint of the request as it came.
    pub request_digest: String,
    /// The flags as they were.
    pub flags: FlagSet,
    /// In which currency the city pays.
    pub currency: Currency,
    /// Whose marketplace it is.
    pub tenant: String,
    /// The client's id of its request.
    pub request_id: String,
}

impl Initiation {
    /// The request with its personal data in the clear.
    pub(super) fn opened(&self, ring: &KeyRing) -> Result<InitiateCheckoutRequest, StepError> {
        let mut request = self.request.clone();
        let opened = open_request(&mut request, &self.execution_context_id, ring);
        opened.map_err(|error| StepError::rejected(error.to_string()))?;
        Ok(request)
    }

    fn headers(&self, event: EventName) -> EventHeaders {
        EventHeaders {
            tenant: self.tenant.clone(),
            city: self.request.dimensions.city.key.clone(),
            request_id: self.request_id.clone(),
            idempotency_key: format!("{}:{}", self.execution_context_id, event.as_str()),
        }
    }

    fn event<P>(&self, name: EventName, payload: P) -> Event<P> {
        let event = Event::new(name.as_str(), payload);
        self.headers(name).pairs().into_iter().fold(event, |event, (header, value)| event.header(header, value))
    }

    /// Whether the payment is collected online, now.
    fn collects(&self, invoice: &Invoice) -> bool {
        let now = self.request.payments.user_payment_intent == PaymentIntent::PayNow;
        now && !self.request.is_cash() && !self.request.is_mock && invoice.payable.minor() > 0
    }

    fn settles_later(&self, invoice: &Invoice) -> bool {
        let later = self.request.payments.user_payment_intent == PaymentIntent::PayLater;
        later && !self.request.is_mock && invoice.payable.minor() > 0
    }
}

/// The definition. Start it under the execution context's id: asking twice is asking once.
///
/// # Errors
/// Never, unless the steps below break a rule of sagas.
pub fn initiate_checkout(s: &InitiateServices) -> Result<Definition<Initiation, InitiateCheckoutResponse>, BuildError> {
    let late = late_payment(s)?;
    let (wait, patience) = (s.payment_wait, || s.patience.clone());
    Definition::build(NAME, 1, |saga, begin| {
        saga.on_late_signal(&late);
        let ask = Ask { s };
        let _ = ask.forward(saga.compensatable("open-context", context::open(s), begin), Service::Other);
        let groups = saga.compensatable(GROUPS, orders::payment_groups(s), begin);
        let groups = ask.forward(groups, Service::PaymentGroup);
        let _ = saga.lock("lock", (begin, groups).map(|(begin, groups)| lock_keys(&begin, &groups)), s.lock_wait);

        let preferences = saga.compensatable("1-create-post-selling-preferences", preferences::create(s), begin);
        let preferences = ask.forward(preferences, Service::Other);
        let invoice = saga.query("2-hydrate-pricing", super::invoice::hydrate(s), begin);
        let invoice = ask.plain(invoice, Service::Invoice);
        let order = saga.compensatable("3-create-checkout-order", orders::create(s), (begin, invoice));
        let order = ask.forward(order, Service::Other);
        let opted = ask.forward(saga.compensatable("4-handle-opt-ins", opt_ins::handle(s), begin), Service::Other);
        let items = saga.compensatable("5-upsert-line-items", line_items::upsert(s), (begin, invoice, groups));
        let items = ask.forward(items, Service::LineItems);
        let collects = (begin, invoice).map(|(begin, invoice): (Initiation, Invoice)| begin.collects(&invoice));
        let payment = saga.when("5-collects-online", collects, |saga| {
            let request = RequestPayment { s: s.clone() };
            let requested = saga.compensatable("5-create-payment-request", request, (begin, invoice, order));
            ask.forward(requested, Service::PaymentRequirement)
        });
        let updated = saga.compensatable("6-hydrate-payments", line_items::hydrate_payment(s), (items, payment));
        let updated = ask.forward(updated, Service::LineItems);
        let mapped = saga.compensatable("7-map-preferences", preferences::map(s), (begin, preferences));
        let _ = ask.forward(mapped, Service::Other);
        let told = (begin, order, groups, preferences).map(|all| updated_event(&all));
        let _ = saga.publish("8-line-items-updated", told);
        let response = saga.query(ANSWER, answer::respond(), (begin, order, preferences, payment));

        let awaits = payment.map(|payment: Option<RequestedPayment>| payment.is_some_and(|p| p.awaits_customer()));
        let outcome = saga.when("9-awaits-payment", awaits, |saga| {
            saga.wait_for::<PaymentOutcome, _>("9-payment", PAYMENT_SIGNAL, ().map(move |()| Some(wait)))
        });
        let settle = SettlePayment { s: s.clone() };
        let settled = saga.pivot("9-settle-payment", settle, (begin, payment, outcome));
        let settled = ask.plain(settled, Service::PaymentRequirement);

        let confirmed =
            saga.retryable("9-confirm", confirm::confirm(s), (begin, (groups, order, opted), (updated, settled)));
        let confirmed = confirmed.retry(patience());
        let told = (begin, order, confirmed, settled).map(|all| confirmed_event(&all));
        let _ = saga.publish("9-line-items-confirmed", told);
        let later = (begin, invoice).map(|(begin, invoice): (Initiation, Invoice)| begin.settles_later(&invoice));
        let _ = saga.when("settles-later", later, |saga| {
            saga.retryable("schedule-settlement", confirm::schedule_settlement(s), (order, invoice)).retry(patience())
        });
        let done = saga.retryable("complete-context", context::complete(s), (begin, response));
        saga.returns(done.retry(patience()))
    })
}

/// The policies of the services that steps ask.
#[derive(Clone, Copy)]
struct Ask<'s> {
    s: &'s InitiateServices,
}

impl Ask<'_> {
    fn plain<'id, T, K>(self, step: StepHandle<'id, T, K>, service: Service) -> StepHandle<'id, T, K> {
        let policy = self.s.policies.of(service);
        step.calls(service.name()).retry(policy.retry()).timeout(policy.timeout())
    }

    fn forward<'id, T>(
        self,
        step: StepHandle<'id, T, Compensatable>,
        service: Service,
    ) -> StepHandle<'id, T, Compensatable> {
        self.plain(step, service).compensation_retry(self.s.patience.clone())
    }
}

fn lock_keys(begin: &Initiation, groups: &[PaymentGroup]) -> Vec<String> {
    let context = format!("execution-context:{}", begin.execution_context_id);
    let groups = groups.iter().map(|group| format!("payment-group:{}", group.payment_group_id));
    std::iter::once(context).chain(groups).collect()
}

fn updated_event(
    (begin, order, groups, preferences): &(Initiation, CheckoutOrder, Vec<PaymentGroup>, Vec<Preference>),
) -> Event<LineItemsUpdated> {
    let (created, updated) = answer::line_items(begin, preferences);
    let payload = LineItemsUpdated {
        execution_context_id: begin.execution_context_id.clone(),
        checkout_order_id: order.checkout_order_id.clone(),
        user_id: begin.request.user_id.clone(),
        payment_group_ids: groups.iter().map(|group| group.payment_group_id.clone()).collect(),
        created,
        updated,
    };
    begin.event(EventName::LineItemsUpdated, payload)
}

fn confirmed_event(
    (begin, order, confirmed, settled): &(Initiation, CheckoutOrder, Vec<String>, Settled),
) -> Event<LineItemsConfirmed> {
    let payload = LineItemsConfirmed {
        execution_context_id: begin.execution_context_id.clone(),
        checkout_order_id: order.checkout_order_id.clone(),
        user_id: begin.request.user_id.clone(),
        line_item_ids: confirmed.clone(),
        payment_collection_requirement_id: settled.requirement_id(),
    };
    begin.event(EventName::LineItemsConfirmed, payload)
}
