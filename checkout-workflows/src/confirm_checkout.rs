//! The saga that turns a cart into a paid order.

use std::sync::Arc;
use std::time::Duration;

use saga_core::{BuildError, Definition, Jitter, RetryPolicy, Source as _, StepHandle};
use serde::{Deserialize, Serialize};

use crate::payment::{Capture, KeyRules, PaymentGateway};
use crate::pricing::{Rates, Totals};
use crate::shop::{CartItem, Checkout, Order, OrderStatus, Shop};
use crate::step::authorize::Authorize;
use crate::step::capture::CapturePayment;
use crate::step::clean_up::CleanUp;
use crate::step::confirm_order::ConfirmOrder;
use crate::step::confirm_reservations::{ConfirmReservations, RecordSoftFailures};
use crate::step::create_order::CreateOrder;
use crate::step::redeem_points::RedeemPoints;
use crate::step::reserve_stock::ReserveStock;
use crate::step::totals::CalculateTotals;
use crate::step::validate::Validate;

/// How long a request to the gateway can be on its way, when the gateway does not say: a day, as the
/// common gateways remember keys.
const LATEST: Duration = Duration::from_secs(24 * 60 * 60);

/// What the customer sends: "yes, buy it".
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConfirmCheckout {
    /// The session that was filled in.
    pub checkout_session_id: String,
}

/// What the customer gets back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Confirmation {
    /// The order.
    pub order_id: String,
    /// Where it stands.
    pub status: OrderStatus,
    /// Who ordered.
    pub customer_id: String,
    /// What was ordered.
    pub items: Vec<CartItem>,
    /// What it costs, and how that comes about.
    pub pricing: Totals,
    /// How it was, or will be, paid.
    pub payment: PaymentSummary,
    /// How it is sent.
    pub shipping_method: String,
}

/// How an order was, or will be, paid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PaymentSummary {
    /// The payment, when there was one.
    pub transaction_id: Option<String>,
    /// `credit_card`, `cash_on_delivery` …
    pub method: String,
    /// `captured`, `pending` (to be paid at the door), `paid` (there was nothing to pay).
    pub status: String,
}

/// What the saga works with.
#[derive(Clone)]
pub struct Services {
    /// The shop's own tables.
    pub shop: Shop,
    /// The payment gateway.
    pub gateway: Arc<dyn PaymentGateway>,
    /// The shop's rates.
    pub rates: Rates,
    /// How calls to the gateway and to the database are repeated before the point of no return.
    pub retry: RetryPolicy,
    /// How compensations, and steps past the point of no return, are repeated.
    pub patience: RetryPolicy,
}

impl Services {
    /// The services with the usual policies: six attempts within half a minute forward, some days of
    /// patience for what must be done.
    #[must_use]
    pub fn new(shop: Shop, gateway: Arc<dyn PaymentGateway>) -> Self {
        let retry = RetryPolicy::exponential(Duration::from_millis(200)).cap(Duration::from_secs(10)).attempts(6);
        Self {
            shop,
            gateway,
            rates: Rates::default(),
            retry: retry.jitter(Jitter::Full),
            patience: RetryPolicy::patient(),
        }
    }
}

impl std::fmt::Debug for Services {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Services").field("shop", &self.shop).finish_non_exhaustive()
    }
}

/// The definition. Start it under the checkout session's id: confirming twice is confirming once.
///
/// # Errors
/// Never, unless the steps below break a rule of sagas.
pub fn confirm_checkout(s: &Services) -> Result<Definition<ConfirmCheckout, Confirmation>, BuildError> {
    Definition::build("confirm-checkout", 1, |saga, request| {
        let shop = || s.shop.clone();
        let gateway = || s.gateway.clone();
        let retry = || s.retry.clone();
        let patience = || s.patience.clone();
        let keys = s.gateway.key_rules();

        let checkout = saga.query("validate", Validate { shop: shop() }, request).retry(retry());
        let stock = saga
            .compensatable("reserve-stock", ReserveStock { shop: shop() }, checkout)
            .retry(retry())
            .compensation_retry(patience());
        let totals = saga.query("totals", CalculateTotals { rates: s.rates.clone() }, checkout);
        let _ = saga
            .compensatable("redeem-points", RedeemPoints { shop: shop() }, checkout)
            .retry(retry())
            .compensation_retry(patience());
        let mut hold = saga
            .compensatable("authorize", Authorize { gateway: gateway(), shop: shop() }, (checkout, totals))
            .calls("gateway")
            .retry(retry())
            .compensation_retry(patience());
        hold = with_key_rules(hold, keys);
        if !keys.closes_keys {
            // A hold that comes after its compensation is found, and released.
            hold = hold.watch_for_late_effects(keys.horizon.unwrap_or(LATEST));
        }
        let order = saga
            .compensatable("create-order", CreateOrder { shop: shop() }, (checkout, totals, hold))
            .retry(retry())
            .compensation_retry(patience());
        let capture = CapturePayment { gateway: gateway(), shop: shop() };
        let payment = saga.pivot("capture", capture, (hold, order, stock)).calls("gateway").retry(retry());
        let payment = with_key_rules(payment, keys);
        let confirmed =
            saga.retryable("confirm-order", ConfirmOrder { shop: shop() }, (order, hold, payment)).retry(patience());
        let sold = saga.best_effort("confirm-reservations", ConfirmReservations { shop: shop() }, stock).retry(retry());
        let _ = saga
            .retryable("record-soft-failures", RecordSoftFailures { shop: shop() }, (confirmed, sold))
            .retry(patience());
        let _ = saga.retryable("clean-up", CleanUp { shop: shop() }, checkout).retry(patience());
        saga.returns((checkout, confirmed, payment, totals).map(confirmation))
    })
}

/// What the gateway's rules about idempotency keys mean for a step that calls it.
fn with_key_rules<'id, T, K>(step: StepHandle<'id, T, K>, keys: KeyRules) -> StepHandle<'id, T, K> {
    let step = if keys.replays_errors { step.replays_errors() } else { step };
    match keys.horizon {
        Some(horizon) => step.key_horizon(horizon),
        None => step,
    }
}

fn confirmation((checkout, order, payment, totals): (Checkout, Order, Option<Capture>, Totals)) -> Confirmation {
    Confirmation {
        order_id: order.order_id,
        status: order.status,
        customer_id: checkout.customer_id,
        items: checkout.items,
        pricing: totals,
        payment: PaymentSummary {
            transaction_id: payment.map(|payment| payment.transaction_id),
            method: checkout.payment_method.kind,
            status: order.payment_status,
        },
        shipping_method: checkout.shipping_method,
    }
}
