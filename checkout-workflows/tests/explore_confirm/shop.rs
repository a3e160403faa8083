//! The shop's tables, fresh for every run: a copy of a file that was filled once.

use std::path::Path;
use std::sync::Arc;

use checkout_workflows::money::Currency;
use checkout_workflows::payment::KeyRules;
use checkout_workflows::shop::{CartItem, Checkout, NewCheckout, OrderStatus, PaymentMethod, Shop, StockLevel};
use checkout_workflows::{ConfirmCheckout, Confirmation, Money, Services, confirm_checkout};
use saga_core::Definition;
use saga_testkit::World;
use tempfile::TempDir;

use super::fake::FakeGateway;
use super::gateway::ScheduledGateway;

/// A filled shop, as the bytes of its file.
pub(crate) struct Template(Vec<u8>);

/// What one run works on.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) shop: Shop,
    pub(crate) gateway: Arc<ScheduledGateway>,
    pub(crate) definition: Definition<ConfirmCheckout, Confirmation>,
    _dir: TempDir,
}

/// In memory where there is a place for it: nothing here has to survive a power cut.
fn directory() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { TempDir::new_in(memory).unwrap() } else { TempDir::new().unwrap() }
}

fn url(dir: &TempDir) -> String {
    format!("sqlite://{}", dir.path().join("shop.db").display())
}

impl Template {
    pub(crate) fn new() -> Self {
        let dir = directory();
        let file = dir.path().join("shop.db");
        std::fs::File::create(&file).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let shop = Shop::connect(&url(&dir)).await.unwrap();
            shop.migrate().await.unwrap();
            fill(&shop).await;
            shop.pool().close().await;
        });
        Self(std::fs::read(&file).unwrap())
    }

    pub(crate) async fn bench(&self, rules: KeyRules, world: World) -> Bench {
        let dir = directory();
        std::fs::write(dir.path().join("shop.db"), &self.0).unwrap();
        let shop = Shop::connect(&url(&dir)).await.unwrap();
        let gateway = Arc::new(ScheduledGateway { books: FakeGateway { rules, ..FakeGateway::default() }, world });
        let definition = confirm_checkout(&Services::new(shop.clone(), gateway.clone())).unwrap();
        Bench { shop, gateway, definition, _dir: dir }
    }
}

async fn fill(shop: &Shop) {
    shop.insert_stock("SKU", "W", 10).await.unwrap();
    shop.credit_points("CUST", 5_000).await.unwrap();
    let checkout = Checkout {
        checkout_session_id: "s".to_owned(),
        cart_id: "cart".to_owned(),
        customer_id: "CUST".to_owned(),
        currency: Currency::USD,
        items: vec![CartItem {
            product_id: "PROD".to_owned(),
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
    let address = r#"{"city":"San Francisco"}"#.to_owned();
    let new = NewCheckout {
        checkout,
        shipping_address: address.clone(),
        billing_address: address,
        notes: String::new(),
        expires_at: i64::MAX,
    };
    shop.insert_checkout(new).await.unwrap();
}

impl Bench {
    pub(crate) async fn stock(&self) -> StockLevel {
        self.shop.stock().await.unwrap().remove(0)
    }

    pub(crate) async fn points(&self) -> i64 {
        self.shop.points("CUST").await.unwrap()
    }

    pub(crate) async fn order(&self) -> Option<OrderStatus> {
        let orders = self.shop.orders_of_cart("cart").await.unwrap();
        assert!(orders.len() <= 1, "one order at most");
        orders.into_iter().next().map(|order| order.status)
    }
}
