//! The confirm flow: both of its historical defects cannot happen, and each ending is the right one.

#![allow(clippy::unwrap_used, reason = "tests")]

mod fake;

use std::sync::Arc;
use std::time::Duration;

use checkout_workflows::money::Currency;
use checkout_workflows::payment::KeyRules;
use checkout_workflows::shop::{
    CartItem, Checkout, NewCheckout, NewOrder, OrderStatus, PaymentMethod, Shop, ShopError,
};
use checkout_workflows::{ConfirmCheckout, Confirmation, Money, Services, confirm_checkout};
use fake::{FakeGateway, Fault};
use saga_core::engine::EngineBuilder;
use saga_core::journal::{MemoryJournal, SagaStatus};
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
        Self::with(FakeGateway::default()).await
    }

    async fn with(gateway: FakeGateway) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("shop.db");
        std::fs::File::create(&file).unwrap();
        Self::on(&format!("sqlite://{}", file.display()), gateway, dir).await
    }

    async fn on(url: &str, gateway: FakeGateway, dir: tempfile::TempDir) -> Self {
        let shop = Shop::connect(url).await.unwrap();
        shop.migrate().await.unwrap();
        shop.insert_stock("SKU", "W", 10).await.unwrap();
        shop.credit_points("CUST-12345", 5_000).await.unwrap();
        let gateway = Arc::new(gateway);
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

    async fn points(&self) -> i64 {
        self.shop.points("CUST-12345").await.unwrap()
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
    assert_eq!(confirmation.pricing.total.to_decimal(), "472.93");
    assert_eq!(bench.order("s").await, Some((OrderStatus::Confirmed, "captured".to_owned())));
    assert_eq!(bench.stock().await, (8, 0, 2));
    assert_eq!((confirmation.payment.status.as_str(), confirmation.items.len()), ("captured", 1));
    assert_eq!(bench.gateway.net(), (47_293, 0));
    let (id, told) = bench.gateway.payments().remove(0);
    assert_eq!(bench.shop.payment(&id).await.unwrap(), Some(told), "the shop knows what the gateway knows");
    assert_eq!(bench.points().await, 4_500);
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
    assert_eq!((bench.points().await, bench.gateway.calls("void"), bench.gateway.calls("refund")), (5_000, 1, 0));
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
        authorization_id: None,
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

/// P03: void and refund are two verbs, and the gateway refuses the wrong one.
#[tokio::test]
async fn what_was_captured_in_between_is_paid_back_and_not_voided() {
    let bench = Bench::with(FakeGateway { captured_behind_our_back: true, ..FakeGateway::default() }).await;
    bench.checkout("s", |_| ()).await;
    bench.gateway.fail("capture", Fault::Declined);
    let engine = bench.engine().open().await.unwrap();
    let saga = bench.confirm(&engine, "s").await;
    assert!(matches!(saga.outcome().await.unwrap(), SagaOutcome::RolledBack(_)));
    assert_eq!(bench.gateway.net(), (0, 0));
    assert_eq!((bench.gateway.calls("void"), bench.gateway.calls("refund")), (1, 1));
    let (id, told) = bench.gateway.payments().remove(0);
    assert_eq!(bench.shop.payment(&id).await.unwrap(), Some(told));
    assert_eq!(told.status(), checkout_workflows::payment::PaymentStatus::Refunded);
}

/// P04: an authorization that has expired is not captured.
#[tokio::test]
async fn an_expired_authorization_turns_the_checkout_back_before_the_capture() {
    let past = Some(saga_core::Timestamp::from_micros(1));
    let bench = Bench::with(FakeGateway { capture_before: past, ..FakeGateway::default() }).await;
    bench.checkout("s", |_| ()).await;
    let engine = bench.engine().open().await.unwrap();
    let saga = bench.confirm(&engine, "s").await;
    let SagaOutcome::RolledBack(failure) = saga.outcome().await.unwrap() else { panic!("not rolled back") };
    assert_eq!(failure.to_string(), "capture failed: the authorization has expired");
    assert_eq!((bench.gateway.calls("capture"), bench.gateway.net(), bench.stock().await), (0, (0, 0), (10, 0, 0)));
}

/// P05: a gateway without tombstones carries out an authorization after it was compensated.
#[tokio::test]
async fn an_authorization_that_comes_after_its_compensation_is_found_and_voided() {
    let rules = KeyRules { closes_keys: false, horizon: Some(Duration::from_millis(600)), replays_errors: false };
    let bench = Bench::with(FakeGateway { rules, ..FakeGateway::default() }).await;
    bench.checkout("s", |_| ()).await;
    bench.gateway.fail("authorize", Fault::Late(Duration::from_millis(300)));
    let engine = bench.engine().open().await.unwrap();
    let saga = bench.confirm(&engine, "s").await;
    assert!(matches!(saga.outcome().await.unwrap(), SagaOutcome::RolledBack(_)));
    assert_eq!((bench.gateway.net(), bench.stock().await), ((0, 0), (10, 0, 0)), "nothing there, so far");
    while !matches!(engine.status(saga.id()).await.unwrap().unwrap().status, SagaStatus::Ended(_)) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!((bench.gateway.payments().len(), bench.gateway.net()), (1, (0, 0)), "it came, and was released");
    assert_eq!(bench.gateway.calls("void"), 1);
}

/// S06: a gateway that answers a failed key with the same failure for ever.
#[tokio::test]
async fn a_gateway_that_replays_its_errors_is_given_a_new_key_once_the_old_one_is_closed() {
    let rules = KeyRules { replays_errors: true, ..KeyRules::default() };
    let bench = Bench::with(FakeGateway { rules, ..FakeGateway::default() }).await;
    bench.checkout("s", |_| ()).await;
    bench.gateway.fail("authorize", Fault::HangOnce);
    let mut services = Services::new(bench.shop.clone(), bench.gateway.clone());
    services.retry = RetryPolicy::fixed(Duration::from_millis(1)).attempts(3);
    let definition = confirm_checkout(&services).unwrap();
    let journal = MemoryJournal::new();
    let first = Engine::builder(journal.clone()).register(&definition).lease_ttl(Duration::from_millis(100));
    let first = first.poll_interval(Duration::from_millis(10)).open().await.unwrap();
    let request = ConfirmCheckout { checkout_session_id: "s".to_owned() };
    let id = first.start(&definition, "s", request).await.unwrap().id();
    while bench.gateway.calls("authorize") == 0 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    drop(first);
    let second = Engine::builder(journal).register(&definition).poll_interval(Duration::from_millis(10));
    let second = second.lease_ttl(Duration::from_millis(100)).open().await.unwrap();
    let saga = second.handle(&definition, id);
    assert!(matches!(saga.outcome().await.unwrap(), SagaOutcome::Completed(_)));
    assert_eq!((bench.gateway.net(), bench.gateway.payments().len()), ((47_293, 0), 1));
}

/// P07: what is lost before the capture is not sold.
#[tokio::test]
async fn a_reservation_that_ran_out_fails_the_checkout_before_the_capture() {
    let bench = Bench::new().await;
    bench.checkout("s", |_| ()).await;
    bench.gateway.fail("authorize", Fault::HangOnce);
    let first = bench.engine().open().await.unwrap();
    let id = bench.confirm(&first, "s").await.id();
    while bench.gateway.calls("authorize") == 0 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    // The worker is away for longer than the reservation lasts, and somebody else needs the goods.
    drop(first);
    sqlx::query("UPDATE reservations SET expires_at = 1").execute(bench.shop.pool()).await.unwrap();
    bench.checkout("other", |checkout| checkout.items[0].quantity = 10).await;
    let second = bench.engine().open().await.unwrap();
    let saga = second.handle(&bench.definition, id);
    let other = bench.confirm(&second, "other").await;
    assert!(matches!(other.outcome().await.unwrap(), SagaOutcome::Completed(_)), "what ran out can be had");
    let SagaOutcome::RolledBack(failure) = saga.outcome().await.unwrap() else { panic!("sold twice") };
    assert!(failure.to_string().contains("does not hold any more"), "{failure}");
    assert_eq!(bench.stock().await, (0, 0, 10));
    assert_eq!(bench.gateway.net().1, 0, "no hold is left");
}

#[tokio::test]
async fn goods_do_not_run_out_while_nobody_knows_whether_they_were_paid() {
    let bench = Bench::new().await;
    bench.checkout("s", |_| ()).await;
    bench.gateway.fail("capture", Fault::HangOnce);
    let engine = bench.engine().open().await.unwrap();
    bench.confirm(&engine, "s").await;
    while bench.gateway.calls("capture") == 0 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let until = "SELECT min(expires_at) FROM reservations WHERE status = 'held'";
    let until: i64 = sqlx::query_scalar(until).fetch_one(bench.shop.pool()).await.unwrap();
    assert_eq!(until, i64::MAX, "a gateway that is down for hours, a human who decides tomorrow");
    assert_eq!(bench.shop.release_expired().await.unwrap(), 0);
    assert_eq!(bench.stock().await, (8, 2, 0));
}

#[tokio::test]
async fn points_that_the_customer_does_not_have_are_refused_and_a_code_counts_once() {
    let bench = Bench::new().await;
    bench.checkout("poor", |checkout| checkout.loyalty_points_to_use = 5_001).await;
    bench
        .checkout("twice", |checkout| {
            checkout.promotion_codes = vec!["SUMMER2024".to_owned(), "SUMMER2024".to_owned()];
        })
        .await;
    let engine = bench.engine().open().await.unwrap();
    let saga = bench.confirm(&engine, "poor").await;
    let SagaOutcome::RolledBack(failure) = saga.outcome().await.unwrap() else { panic!("not rolled back") };
    assert!(failure.to_string().contains("has not the 5001 loyalty points"), "{failure}");
    assert_eq!((bench.points().await, bench.stock().await), (5_000, (10, 0, 0)));
    let saga = bench.confirm(&engine, "twice").await;
    let SagaOutcome::Completed(confirmation) = saga.outcome().await.unwrap() else { panic!("not completed") };
    assert_eq!(confirmation.pricing.total.to_decimal(), "472.93");
}

#[tokio::test]
async fn the_shop_keeps_its_books_on_postgres_as_well() {
    let database = saga_testkit::postgres::Cluster::shared().await.unwrap().database().await.unwrap();
    let migrations: Vec<_> = (0..4)
        .map(|_| {
            let url = database.url().to_owned();
            tokio::spawn(async move { Shop::connect(&url).await.unwrap().migrate().await.unwrap() })
        })
        .collect();
    for migration in migrations {
        migration.await.unwrap();
    }
    let bench = Bench::on(database.url(), FakeGateway::default(), tempfile::tempdir().unwrap()).await;
    let engine = bench.engine().open().await.unwrap();
    bench.checkout("good", |_| ()).await;
    let saga = bench.confirm(&engine, "good").await;
    assert!(matches!(saga.outcome().await.unwrap(), SagaOutcome::Completed(_)));
    assert_eq!(bench.order("good").await, Some((OrderStatus::Confirmed, "captured".to_owned())));
    bench.checkout("bad", |_| ()).await;
    bench.gateway.fail("capture", Fault::Declined);
    let saga = bench.confirm(&engine, "bad").await;
    assert!(matches!(saga.outcome().await.unwrap(), SagaOutcome::RolledBack(_)));
    assert_eq!(bench.order("bad").await, Some((OrderStatus::Cancelled, "PAYMENT_FAILED".to_owned())));
    assert_eq!((bench.stock().await, bench.points().await, bench.gateway.net()), ((8, 0, 2), 4_500, (47_293, 0)));
    for (id, told) in bench.gateway.payments() {
        assert_eq!(bench.shop.payment(&id).await.unwrap(), Some(told));
    }
    books_do_not_lie(&bench).await;
}

#[tokio::test]
async fn the_shop_refuses_what_would_make_its_books_lie() {
    let bench = Bench::new().await;
    books_do_not_lie(&bench).await;
}

/// Reservations and orders that are somewhere else than they must be.
async fn books_do_not_lie(bench: &Bench) {
    let shop = &bench.shop;
    let before = bench.stock().await;
    bench.checkout("books", |_| ()).await;
    let checkout = shop.validate_checkout("books").await.unwrap();
    let lost = |answer: Result<(), ShopError>| assert!(matches!(answer, Err(ShopError::ReservationLost { .. })));
    lost(shop.confirm_reservation("never made").await);
    shop.reserve("r1", &checkout.items).await.unwrap();
    shop.release("r1").await.unwrap();
    lost(shop.confirm_reservation("r1").await);
    lost(shop.extend_reservation("r1").await.map(drop));
    lost(shop.pin_reservation("r1").await);
    assert!(matches!(shop.reserve("r1", &checkout.items).await, Err(ShopError::Undone { .. })));
    shop.reserve("r2", &checkout.items).await.unwrap();
    assert_eq!(shop.release_expired().await.unwrap(), 0, "it has not run out");
    sqlx::query("UPDATE reservations SET expires_at = 1 WHERE operation_key = 'r2'")
        .execute(shop.pool())
        .await
        .unwrap();
    assert_eq!(shop.release_expired().await.unwrap(), 1);
    assert_eq!(shop.release_expired().await.unwrap(), 0);
    lost(shop.extend_reservation("r2").await.map(drop));
    lost(shop.confirm_reservation("r2").await);
    assert_eq!(bench.stock().await, before, "what ran out is back on the shelf, once");
    shop.reserve("r3", &checkout.items).await.unwrap();
    shop.confirm_reservation("r3").await.unwrap();
    shop.confirm_reservation("r3").await.unwrap();
    shop.release("r3").await.unwrap();
    assert_eq!(bench.stock().await, (before.0 - 2, 0, before.2 + 2), "sold once, and not released afterwards");

    let totals = checkout_workflows::pricing::Rates::default().totals(&checkout).unwrap();
    let new = || NewOrder {
        checkout: checkout.clone(),
        totals: totals.clone(),
        payment_status: "pending",
        authorization_id: None,
    };
    let wrong = |answer: Result<(), ShopError>| assert!(matches!(answer, Err(ShopError::OrderState { .. })));
    let first = shop.create_order("o1", new()).await.unwrap();
    shop.cancel_order("o1").await.unwrap();
    wrong(shop.confirm_order(&first.order_id, None).await.map(drop));
    let second = shop.create_order("o2", new()).await.unwrap();
    shop.confirm_order(&second.order_id, None).await.unwrap();
    shop.confirm_order(&second.order_id, None).await.unwrap();
    wrong(shop.cancel_order("o2").await);
    assert_eq!(shop.orders_of_cart("cart-of-books").await.unwrap().len(), 2);
}
