//! The saga that turns a cart into a paid order.

use std::sync::Arc;
use std::time::Duration;

use saga_core::{BuildError, Definition, Jitter, RetryPolicy, Source as _};
use serde::{Deserialize, Serialize};

use crate::money::Money;
use crate::payment::{Capture, PaymentGateway};
use crate::pricing::{Rates, Totals};
use crate::shop::{Order, Shop};
use crate::step::authorize::Authorize;
use crate::step::capture::CapturePayment;
use crate::step::clean_up::CleanUp;
use crate::step::confirm_order::ConfirmOrder;
use crate::step::confirm_reservations::{ConfirmReservations, RecordSoftFailures};
use crate::step::create_order::CreateOrder;
use crate::step::reserve_stock::ReserveStock;
use crate::step::totals::CalculateTotals;
use crate::step::validate::Validate;

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
    /// The payment, when there was one.
    pub transaction_id: Option<String>,
    /// What was paid, or is to be paid at the door.
    pub total: Money,
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

        let checkout = saga.query("validate", Validate { shop: shop() }, request).retry(retry());
        let stock = saga
            .compensatable("reserve-stock", ReserveStock { shop: shop() }, checkout)
            .retry(retry())
            .compensation_retry(patience());
        let totals = saga.query("totals", CalculateTotals { rates: s.rates.clone() }, checkout);
        let hold = saga
            .compensatable("authorize", Authorize { gateway: gateway() }, (checkout, totals))
            .retry(retry())
            .compensation_retry(patience());
        let order = saga
            .compensatable("create-order", CreateOrder { shop: shop() }, (checkout, totals, hold))
            .retry(retry())
            .compensation_retry(patience());
        let payment = saga.pivot("capture", CapturePayment { gateway: gateway() }, (hold, order)).retry(retry());
        let confirmed =
            saga.retryable("confirm-order", ConfirmOrder { shop: shop() }, (order, payment)).retry(patience());
        let sold = saga.best_effort("confirm-reservations", ConfirmReservations { shop: shop() }, stock).retry(retry());
        let _ = saga
            .retryable("record-soft-failures", RecordSoftFailures { shop: shop() }, (confirmed, sold))
            .retry(patience());
        let _ = saga.retryable("clean-up", CleanUp { shop: shop() }, checkout).retry(patience());
        saga.returns((confirmed, payment, totals).map(confirmation))
    })
}

fn confirmation((order, payment, totals): (Order, Option<Capture>, Totals)) -> Confirmation {
    Confirmation {
        order_id: order.order_id,
        transaction_id: payment.map(|payment| payment.transaction_id),
        total: totals.total,
    }
}
