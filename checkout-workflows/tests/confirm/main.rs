//! The confirm flow: both of its historical defects cannot happen, and each ending is the right one.

#![allow(clippy::unwrap_used, reason = "tests")]

mod fake;

use std::sync::Arc;
use std::time::Duration;

use checkout_workflows::money::Currency;
use checkout_workflows::shop::{CartItem, Checkout, NewCheckout, OrderStatus, PaymentMethod, Shop};
use checkout_workflows::{ConfirmCheckout, Confirmation, Money, Services, confirm_checkout};
use fake::{FakeGateway, Fault};
use saga_core::engine::EngineBuilder;
use saga_core::journal::MemoryJournal;
use saga_core::{Definition, Engine, RetryPolicy, SagaHandle, SagaOutcome};

struct Bench {
    shop: Shop,
    gateway: Arc<FakeGateway>,
    definition: Definition<ConfirmCheckout, Confirmation>,
    journal: MemoryJournal,
    _dir: tempfile::TempDir,
}

impl Bench {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("shop.db");
        std::fs::File::create(&file).unwrap();
        let shop = Shop::connect(&format!("sqlite://{}", file.display())).await.unwrap();
        shop.migrate().await.unwrap();
        shop.insert_stock("SKU", "W", 10).await.unwrap();
        let gateway = Arc::new(FakeGateway::default());
        let mut services = Services::new(shop.clone(), gateway.clone());
        services.retry = RetryPolicy::fixed(Duration::from_millis(1)).attempts(3);
        services.patience = RetryPolicy::fixed(Duration::from_millis(1)).attempts(4);
        let definition = confirm_checkout(&services).unwrap();
        Self { shop, gateway, definition, journal: MemoryJournal::new(), _dir: dir }
    }

    fn engine(&self) -> EngineBuilder {
        let engine = Engine::builder(self.journal.clone()).register(&self.definition);
        engine.lease_ttl(Duration::from_millis(100)).poll_interval(Duration::from_millis(10))
    }

    async fn checkout(&self, session: &str, change: impl FnOnce(&mut Checkout)) {
        let mut checkout = Checkout {
            checkout_session_id: session.to_owned(),
            cart_id: format!("cart-of-{session}"),
            customer_id: "CUST-12345".to_owned(),
            currency: Currency::USD,
            items: vec![CartItem {
                product_id: "PROD-12345".to_owned(),
                sku: "SKU".to_owned(),
                name: "Premium Wireless Headphones".to_owned(),
                quantity: 2,
                unit_price: Money::new(24_999, Currency::USD),
                warehouse_id: "W".to_owned(),
            }],
            shipping_method: "standard".to_owned(),
            payment_method: PaymentMethod { id: "tok".to_owned(), kind: "credit_card".to_owned() },
            promotion_codes: vec!["SUMMER2024".to_owned()],
            loyalty_points_to_use: 500,
        };
        change(&mut checkout);
        let address = r#"{"city":"San Francisco"}"#.to_owned();
        let new = NewCheckout {
            checkout,
            shipping_address: address.clone(),
            billing_address: address,
            notes: String::new(),
            expires_at: i64::MAX,
        };
        self.shop.insert_checkout(new).await.unwrap();
    }

    async fn confirm(&self, engine: &Engine, session: &str) -> SagaHandle<Confirmation> {
        let request = ConfirmCheckout { checkout_session_id: session.to_owned() };
        engine.start(&self.definition, session, request).await.unwrap()
    }

    /// Free, reserved, sold.
    async fn stock(&self) -> (i64, i64, i64) {
        let level = self.shop.stock().await.unwrap().remove(0);
        (level.free, level.reserved, level.sold)
    }

    async fn order(&self, session: &str) -> Option<(OrderStatus, String)> {
        let orders = self.shop.orders_of_cart(&format!("cart-of-{session}")).await.unwrap();
        assert!(orders.len() <= 1, "one order at most");
        orders.into_iter().next().map(|order| (order.status, order.payment_status))
    }
}

#[tokio::test]
async fn a_checkout_ends_paid_confirmed_sold_and_cleaned_up() {
    let bench = Bench::new().await;
    bench.checkout("s", |_| ()).await;
    let engine = bench.engine().open().await.unwrap();
    let saga = bench.confirm(&engine, "s").await;
    let SagaOutcome::Completed(confirmation) = saga.outcome().await.unwrap() else { panic!("not completed") };
    // 499.98 less 15 % and 5.00, plus 15.99 shipping and 8.8 % tax on the goods.
    assert_eq!(confirmation.total.to_decimal(), "472.93");
    assert_eq!(bench.order("s").await, Some((OrderStatus::Confirmed, "captured".to_owned())));
    assert_eq!(bench.stock().await, (8, 0, 2));
    assert_eq!(bench.gateway.net(), (47_293, 0));
    assert!(bench.shop.validate_checkout("s").await.is_err(), "the session is used up");
}

#[tokio::test]
async fn confirming_twice_is_confirming_once() {
    let bench = Bench::new().await;
    bench.checkout("s", |_| ()).await;
    let engine = bench.engine().open().await.unwrap();
    let (first, second) = (bench.confirm(&engine, "s").await, bench.confirm(&engine, "s").await);
    assert_eq!(first.id(), second.id());
    assert_eq!(first.outcome().await.unwrap(), second.outcome().await.unwrap());
    assert_eq!(bench.gateway.net(), (47_293, 0));
}

#[tokio::test]
async fn a_declined_card_leaves_nothing_behind() {
    let bench = Bench::new().await;
    bench.checkout("s", |_| ()).await;
    bench.gateway.fail("authorize", Fault::Declined);
    let engine = bench.engine().open().await.unwrap();
    let saga = bench.confirm(&engine, "s").await;
    let SagaOutcome::RolledBack(failure) = saga.outcome().await.unwrap() else { panic!("not rolled back") };
    assert_eq!(failure.to_string(), "authorize failed: declined");
    assert_eq!((bench.order("s").await, bench.stock().await), (None, (10, 0, 0)));
    assert_eq!(bench.gateway.net(), (0, 0));
    bench.shop.validate_checkout("s").await.unwrap();
}

#[tokio::test]
async fn a_declined_capture_voids_cancels_and_releases() {
    let bench = Bench::new().await;
    bench.checkout("s", |_| ()).await;
    bench.gateway.fail("capture", Fault::Declined);
    let engine = bench.engine().open().await.unwrap();
    let saga = bench.confirm(&engine, "s").await;
    assert!(matches!(saga.outcome().await.unwrap(), SagaOutcome::RolledBack(_)));
    assert_eq!(bench.order("s").await, Some((OrderStatus::Cancelled, "PAYMENT_FAILED".to_owned())));
    assert_eq!((bench.stock().await, bench.gateway.net()), ((10, 0, 0), (0, 0)));
}

/// The first defect: an error of the compensating action was ignored.
#[tokio::test]
async fn a_void_that_fails_for_good_is_a_dead_letter_and_never_ignored() {
    let bench = Bench::new().await;
    bench.checkout("s", |_| ()).await;
    bench.gateway.fail("capture", Fault::Declined);
    bench.gateway.fail("void", Fault::Unavailable);
    let engine = bench.engine().open().await.unwrap();
    let saga = bench.confirm(&engine, "s").await;
    let SagaOutcome::NeedsAttention(letters) = saga.outcome().await.unwrap() else { panic!("swallowed") };
    assert_eq!(letters[0].step.as_ref().unwrap().as_str(), "authorize");
    assert_eq!(bench.gateway.net(), (0, 47_293), "the hold stands, and a human knows");
    bench.gateway.mend("void");
    let retry = saga_core::machine::Resolution::Retry;
    engine.operator().resolve(saga.id(), "authorize", retry, "ann", "the gateway is back").await.unwrap();
    assert!(matches!(until_ended(&saga).await, SagaOutcome::RolledBack(_)));
    assert_eq!((bench.stock().await, bench.gateway.net()), ((10, 0, 0), (0, 0)));
}

async fn until_ended(saga: &SagaHandle<Confirmation>) -> SagaOutcome<Confirmation> {
    loop {
        match saga.outcome().await.unwrap() {
            SagaOutcome::NeedsAttention(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            ended => return ended,
        }
    }
}

/// The second defect: a crash between creating the order and capturing left it in limbo.
#[tokio::test]
async fn a_crash_between_order_and_capture_ends_as_no_crash_does() {
    let bench = Bench::new().await;
    bench.checkout("s", |_| ()).await;
    bench.gateway.fail("capture", Fault::HangOnce);
    let first = bench.engine().open().await.unwrap();
    let id = bench.confirm(&first, "s").await.id();
    while bench.gateway.calls("capture") == 0 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert_eq!(bench.order("s").await, Some((OrderStatus::PendingPayment, "authorized".to_owned())));
    drop(first);
    let second = bench.engine().open().await.unwrap();
    let saga = second.handle(&bench.definition, id);
    assert!(matches!(saga.outcome().await.unwrap(), SagaOutcome::Completed(_)));
    assert_eq!(bench.order("s").await, Some((OrderStatus::Confirmed, "captured".to_owned())));
    assert_eq!((bench.stock().await, bench.gateway.net()), ((8, 0, 2), (47_293, 0)));
}

#[tokio::test]
async fn an_authorization_whose_answer_is_lost_is_voided_on_the_way_back() {
    let bench = Bench::new().await;
    bench.checkout("s", |_| ()).await;
    bench.gateway.fail("authorize", Fault::AppliedAndLost);
    bench.gateway.fail("look_up", Fault::Unavailable);
    let engine = bench.engine().open().await.unwrap();
    let saga = bench.confirm(&engine, "s").await;
    assert!(matches!(saga.outcome().await.unwrap(), SagaOutcome::RolledBack(_)));
    assert_eq!((bench.order("s").await, bench.stock().await, bench.gateway.net()), (None, (10, 0, 0), (0, 0)));
}

#[tokio::test]
async fn a_capture_whose_answer_is_lost_goes_the_way_that_the_gateway_tells() {
    for (fault, expected) in [(Fault::AppliedAndLost, (47_293, 0)), (Fault::Unavailable, (0, 0))] {
        let bench = Bench::new().await;
        bench.checkout("s", |_| ()).await;
        bench.gateway.fail("capture", fault);
        let engine = bench.engine().open().await.unwrap();
        let saga = bench.confirm(&engine, "s").await;
        match saga.outcome().await.unwrap() {
            SagaOutcome::Completed(_) => assert_eq!(fault, Fault::AppliedAndLost),
            SagaOutcome::RolledBack(_) => assert_eq!(fault, Fault::Unavailable),
            SagaOutcome::NeedsAttention(letters) => panic!("{letters:?}"),
        }
        assert_eq!(bench.gateway.net(), expected);
    }
}

#[tokio::test]
async fn what_is_out_of_stock_is_refused_and_nothing_is_held() {
    let bench = Bench::new().await;
    bench.checkout("s", |checkout| checkout.items[0].quantity = 11).await;
    let engine = bench.engine().open().await.unwrap();
    let saga = bench.confirm(&engine, "s").await;
    let SagaOutcome::RolledBack(failure) = saga.outcome().await.unwrap() else { panic!("not rolled back") };
    assert_eq!(failure.to_string(), "reserve-stock failed: out of stock: SKU in W");
    assert_eq!((bench.stock().await, bench.gateway.calls("authorize")), ((10, 0, 0), 0));
}

#[tokio::test]
async fn cash_on_delivery_and_zero_totals_skip_the_gateway() {
    let bench = Bench::new().await;
    let cash = PaymentMethod { id: String::new(), kind: "cash_on_delivery".to_owned() };
    bench.checkout("cash", |checkout| checkout.payment_method = cash).await;
    bench.checkout("zero", |checkout| checkout.promotion_codes = vec!["FREE100".to_owned()]).await;
    let engine = bench.engine().open().await.unwrap();
    for session in ["cash", "zero"] {
        let saga = bench.confirm(&engine, session).await;
        assert!(matches!(saga.outcome().await.unwrap(), SagaOutcome::Completed(_)));
    }
    assert_eq!(bench.order("cash").await, Some((OrderStatus::Confirmed, "pending".to_owned())));
    assert_eq!(bench.order("zero").await, Some((OrderStatus::Confirmed, "paid".to_owned())));
    assert_eq!((bench.gateway.calls("authorize"), bench.gateway.calls("capture")), (0, 0));
}

#[tokio::test]
async fn a_reservation_that_cannot_be_confirmed_is_recorded_and_the_order_stands() {
    let bench = Bench::new().await;
    bench.checkout("s", |_| ()).await;
    let broken = "CREATE TRIGGER warehouse_down BEFORE UPDATE OF status ON reservations \
                  WHEN NEW.status = 'confirmed' BEGIN SELECT RAISE(ABORT, 'the warehouse is down'); END";
    sqlx::query(broken).execute(bench.shop.pool()).await.unwrap();
    let engine = bench.engine().open().await.unwrap();
    let saga = bench.confirm(&engine, "s").await;
    let SagaOutcome::Completed(confirmation) = saga.outcome().await.unwrap() else { panic!("not completed") };
    assert_eq!(bench.order("s").await, Some((OrderStatus::Confirmed, "captured".to_owned())));
    let metadata = bench.shop.order_metadata(&confirmation.order_id).await.unwrap();
    assert!(metadata.contains("reservation_confirmation_errors"), "{metadata}");
    assert!(metadata.contains("the warehouse is down"), "{metadata}");
}

#[tokio::test]
async fn a_second_session_on_an_ordered_cart_is_told_of_the_order() {
    let bench = Bench::new().await;
    bench.checkout("s", |_| ()).await;
    let checkout = bench.shop.validate_checkout("s").await.unwrap();
    let totals = checkout_workflows::pricing::Rates::default().totals(&checkout).unwrap();
    let new = || checkout_workflows::shop::NewOrder {
        checkout: checkout.clone(),
        totals: totals.clone(),
        payment_status: "pending",
    };
    let first = bench.shop.create_order("first", new()).await.unwrap();
    assert_eq!(bench.shop.create_order("first", new()).await.unwrap(), first, "again under the same key");
    let second = bench.shop.create_order("second", new()).await.unwrap_err().to_string();
    assert!(second.contains(&first.order_id), "{second}");
    bench.shop.cancel_order("first").await.unwrap();
    bench.shop.cancel_order("third").await.unwrap();
    let late = bench.shop.create_order("third", new()).await.unwrap_err().to_string();
    assert!(late.contains("was undone before it arrived"), "{late}");
    bench.shop.create_order("fourth", new()).await.unwrap();
}
