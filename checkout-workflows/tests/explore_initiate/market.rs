//! The marketplace's tables, fresh for every run: a copy of a file that was filled once.

use std::path::Path;
use std::sync::Arc;

use checkout_workflows::Money;
use checkout_workflows::initiate::checkout::{InitiateServices, Initiation, initiate_checkout};
use checkout_workflows::initiate::flags::FlagSet;
use checkout_workflows::initiate::pii::KeyRing;
use checkout_workflows::initiate::policy::Policies;
use checkout_workflows::initiate::schema::{Call, InitiateCheckoutResponse};
use checkout_workflows::initiate::sealed_request::seal_request;
use checkout_workflows::initiate::store::{CatalogueSeed, Plan, Stores};
use checkout_workflows::initiate::vendor::{Behaviour, LocalVendor};
use checkout_workflows::money::Currency;
use saga_core::Definition;
use saga_testkit::World;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::vendor::{Complaints, Customer, ScheduledVendor};

/// What the kit starts its saga under: the execution context's id, as in production.
pub(crate) const ID: &str = "saga";
const NEW_PLAN: &str = include_str!("../fixtures/initiate/new_plan_purchase.request.json");
const SECRET: &[u8] = b"the secret that the vendor signs its webhooks with";
const FLAGS: FlagSet = FlagSet { line_item_pii_data_encryption: true, execution_context_persistence: true };

/// A marketplace with a catalogue, as the bytes of its file.
pub(crate) struct Template(Vec<u8>);

/// What one run works on.
#[derive(Debug)]
pub(crate) struct Market {
    pub(crate) stores: Stores,
    pub(crate) vendor: LocalVendor,
    pub(crate) complaints: Complaints,
    pub(crate) policies: Policies,
    /// What the vendor has in the end, when the checkout is completed.
    pub(crate) due: i64,
    pub(crate) definition: Definition<Initiation, InitiateCheckoutResponse>,
    _dir: TempDir,
}

/// In memory where there is a place for it: nothing here has to survive a power cut.
fn directory() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { TempDir::new_in(memory).unwrap() } else { TempDir::new().unwrap() }
}

fn url(dir: &TempDir) -> String {
    format!("sqlite://{}", dir.path().join("market.db").display())
}

fn ring() -> KeyRing {
    KeyRing::new("k1", &[7; 32]).unwrap()
}

impl Template {
    pub(crate) fn new() -> Self {
        let dir = directory();
        let file = dir.path().join("market.db");
        std::fs::File::create(&file).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let stores = Stores::open(&url(&dir)).await.unwrap();
            stores.migrate().await.unwrap();
            let plan = Plan {
                plan_id: "plan_789".to_owned(),
                category: "cleaning".to_owned(),
                name: "A clean home".to_owned(),
                price: Money::new(150_000, Currency::INR),
            };
            let seed = CatalogueSeed { plans: vec![plan], slots: Vec::new(), coupons: Vec::new(), credits: Vec::new() };
            stores.catalogue.seed(seed).await.unwrap();
            stores.pool().close().await;
        });
        Self(std::fs::read(&file).unwrap())
    }

    pub(crate) async fn market(&self, customer: Customer, due: i64, world: World) -> Market {
        let dir = directory();
        std::fs::write(dir.path().join("market.db"), &self.0).unwrap();
        let stores = Stores::open(&url(&dir)).await.unwrap();
        let vendor = LocalVendor::new(SECRET).unwrap();
        vendor.behave(Behaviour::Wait);
        let complaints = Complaints::default();
        let scheduled = ScheduledVendor {
            vendor: vendor.clone(),
            customer,
            world,
            stores: stores.clone(),
            complaints: complaints.clone(),
        };
        let services = InitiateServices::new(stores.clone(), Arc::new(scheduled), ring());
        let (policies, definition) = (services.policies.clone(), initiate_checkout(&services).unwrap());
        Market { stores, vendor, complaints, policies, due, definition, _dir: dir }
    }
}

/// What a new plan's purchase begins with; `PAY_NOW` or `PAY_LATER`.
pub(crate) fn initiation(intent: &str) -> Initiation {
    let mut request: Value = serde_json::from_str(NEW_PLAN).unwrap();
    request["executionContextId"] = ID.into();
    request["payments"]["userPaymentIntent"] = json!(intent);
    let Call::Initiate(request) = Call::from_json(request.to_string().as_bytes()).unwrap() else { unreachable!() };
    let mut request = *request;
    seal_request(&mut request, ID, &ring(), FLAGS).unwrap();
    Initiation {
        execution_context_id: ID.to_owned(),
        request,
        request_digest: "digest".to_owned(),
        flags: FLAGS,
        currency: Currency::INR,
        tenant: "marketplace".to_owned(),
        request_id: "req_1".to_owned(),
    }
}
