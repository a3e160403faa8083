//! A marketplace in a temporary directory: its tables, its vendor, its journal and its events.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use checkout_workflows::Money;
use checkout_workflows::initiate::checkout::InitiateServices;
use checkout_workflows::initiate::flags::ConfiguredFlags;
use checkout_workflows::initiate::pii::KeyRing;
use checkout_workflows::initiate::policy::Policies;
use checkout_workflows::initiate::repeat_program::LocalRepeatProgram;
use checkout_workflows::initiate::role::{Principal, Role};
use checkout_workflows::initiate::schema::{Call, ExecutionContextStatus, InitiateCheckoutResponse};
use checkout_workflows::initiate::service::{CallHeaders, InitiateError, InitiateFlow, InitiateService, Initiated};
use checkout_workflows::initiate::store::{
    Amounts, CatalogueSeed, Coupon, Credits, Discount, NewLineItem, Plan, Slot, Stores, Upsert,
};
use checkout_workflows::initiate::vendor::{Behaviour, LocalVendor, SignedWebhook};
use checkout_workflows::initiate::webhook::WebhookSecrets;
use checkout_workflows::money::Currency;
use chrono::DateTime;
use saga_core::engine::{EngineBuilder, Signalled};
use saga_core::journal::MemoryJournal;
use saga_core::{Engine, RetryPolicy, SagaHandle};
use saga_testkit::faults::FaultJournal;
use saga_testkit::publisher::RecordingPublisher;
use serde_json::Value;

pub(crate) const NEW_PLAN: &str = include_str!("../fixtures/initiate/new_plan_purchase.request.json");
pub(crate) const NEW_PLAN_RESPONSE: &str = include_str!("../fixtures/initiate/new_plan_purchase.response.json");
pub(crate) const TIP: &str = include_str!("../fixtures/initiate/tip_update.request.json");
pub(crate) const RENEWAL: &str = include_str!("../fixtures/initiate/renewal_payable_zero.request.json");
pub(crate) const BUS_SECRET: &[u8] = b"the secret that the bus signs its events with";
const SECRET: &[u8] = b"the secret that the vendor signs its webhooks with";

pub(crate) type Events = Arc<Mutex<Vec<SignedWebhook>>>;

pub(crate) struct World {
    pub(crate) stores: Stores,
    pub(crate) vendor: LocalVendor,
    pub(crate) repeats: LocalRepeatProgram,
    pub(crate) journal: FaultJournal<MemoryJournal>,
    pub(crate) publisher: RecordingPublisher,
    pub(crate) webhooks: Events,
    pub(crate) services: InitiateServices,
    pub(crate) flags: ConfiguredFlags,
    pub(crate) dir: tempfile::TempDir,
}

impl World {
    pub(crate) async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("initiate.db");
        std::fs::File::create(&file).unwrap();
        let stores = Stores::open(&format!("sqlite://{}", file.display())).await.unwrap();
        stores.migrate().await.unwrap();
        seed(&stores).await;
        let webhooks = Events::default();
        let sink = webhooks.clone();
        let vendor = LocalVendor::new(SECRET).unwrap();
        let vendor = vendor.with_webhooks(Arc::new(move |webhook| sink.lock().unwrap().push(webhook)));
        vendor.behave(Behaviour::Wait);
        let pii = KeyRing::new("k1", &[7; 32]).unwrap();
        let mut services = InitiateServices::new(stores.clone(), Arc::new(vendor.clone()), pii);
        let repeats = LocalRepeatProgram::new();
        services.repeat_program = Arc::new(repeats.clone());
        services.policies = quick();
        services.patience = RetryPolicy::fixed(Duration::from_millis(2)).attempts(5);
        services.payment_wait = Duration::from_secs(60);
        Self {
            stores,
            vendor,
            repeats,
            journal: FaultJournal::new(MemoryJournal::new()),
            publisher: RecordingPublisher::new(),
            webhooks,
            services,
            flags: ConfiguredFlags::default(),
            dir,
        }
    }

    pub(crate) fn builder(&self, flow: &InitiateFlow) -> EngineBuilder {
        let engine = flow.register(Engine::builder(self.journal.clone())).publisher(self.publisher.clone());
        engine.poll_interval(Duration::from_millis(10)).lease_ttl(Duration::from_millis(150))
    }

    /// A server of the marketplace.
    pub(crate) async fn open(&self) -> InitiateService {
        let flow = InitiateFlow::new(self.services.clone()).unwrap();
        let engine = self.builder(&flow).open().await.unwrap();
        let secrets = WebhookSecrets::new(SECRET).unwrap();
        let service = InitiateService::new(flow, engine, self.flags.clone(), secrets);
        let bus = WebhookSecrets::new(BUS_SECRET).unwrap();
        service.consumes_events(bus).answer_within(Duration::from_secs(10))
    }

    /// Posts the webhooks that the vendor has sent so far.
    pub(crate) async fn post_webhooks(&self, service: &InitiateService) -> Vec<Signalled> {
        let sent = std::mem::take(&mut *self.webhooks.lock().unwrap());
        let mut answers = Vec::new();
        for webhook in sent {
            answers.push(service.payment_webhook(&webhook.body, &webhook.signature).await.unwrap());
        }
        answers
    }

    /// The vendor's reference of the one payment that was asked for.
    pub(crate) async fn reference(&self, id: &str) -> String {
        let rows = self.stores.requirements.of_context(id).await.unwrap();
        let [row] = rows.as_slice() else { unreachable!("{} requirements of {id}", rows.len()) };
        row.merchant_reference.clone()
    }

    /// The customer pays, and the vendor says so.
    pub(crate) async fn pay(&self, service: &InitiateService, id: &str) -> Vec<Signalled> {
        self.vendor.pay(&self.reference(id).await).unwrap();
        self.post_webhooks(service).await
    }

    /// How often each topic was published about this execution, as consumers see it.
    pub(crate) fn published(&self, topic: &str, id: &str) -> usize {
        let published = self.publisher.published();
        let of = |payload: &str| serde_json::from_str::<Value>(payload).unwrap()["executionContextId"] == id;
        published.iter().filter(|event| event.topic == topic && of(&event.payload)).count()
    }

    /// Whether the books hold: money was taken if the checkout is completed, and else is not there.
    pub(crate) async fn audit(&self, id: &str) {
        let audit = self.vendor.audit();
        assert_eq!(audit.contradictions, Vec::<String>::new());
        let context = self.stores.execution_contexts.get(id).await.unwrap();
        let completed = context.is_some_and(|context| context.status.as_str() == "COMPLETED");
        for row in self.stores.requirements.of_context(id).await.unwrap() {
            let net = audit.net_minor.get(&row.merchant_reference).copied().unwrap_or(0);
            let due = if completed { row.amount.minor() } else { 0 };
            assert_eq!(net, due, "{} of a checkout that is completed: {completed}", row.merchant_reference);
        }
        assert_eq!(self.published("line_items_confirmed", id), usize::from(completed));
    }
}

/// The documented policies, without the waiting.
fn quick() -> Policies {
    let quick = r#"{"base_ms": 1, "cap_ms": 5, "breaker": {"failures": 5, "open_for_ms": 100}}"#;
    let services = ["payment_group", "invoice", "line_items", "payment_requirement", "events", "other"];
    let all: Vec<String> = services.iter().map(|service| format!("\"{service}\": {quick}")).collect();
    serde_json::from_str(&format!("{{{}}}", all.join(","))).unwrap()
}

pub(crate) fn rupees(amount: i64) -> Money {
    Money::new(amount * 100, Currency::INR)
}

async fn seed(stores: &Stores) {
    let plan = |id: &str, price| Plan {
        plan_id: id.to_owned(),
        category: "cleaning".to_owned(),
        name: "A clean home".to_owned(),
        price: rupees(price),
    };
    let slot = |id: &str, fee, available, starts_at| Slot {
        slot_id: id.to_owned(),
        city: "delhi".to_owned(),
        category: "cleaning".to_owned(),
        starts_at: DateTime::from_timestamp(starts_at, 0).unwrap(),
        available,
        surge_fee: rupees(fee),
    };
    let coupon = Coupon {
        code: "TENOFF".to_owned(),
        currency: Currency::INR,
        discount: Discount::BasisPoints(1_000),
        valid_until: DateTime::from_timestamp(4_000_000_000, 0).unwrap(),
    };
    let seed = CatalogueSeed {
        plans: vec![plan("plan_789", 1_500)],
        slots: vec![
            slot("slot_evening", 99, 2, 4_000_000_000),
            slot("slot_night", 149, 1, 4_000_000_000),
            slot("slot_noon", 0, 5, 4_000_000_000),
            slot("slot_full", 99, 0, 4_000_000_000),
            slot("slot_past", 99, 5, 1_000_000_000),
        ],
        coupons: vec![coupon],
        credits: vec![Credits { user_id: "user_123".to_owned(), balance: rupees(1_000) }],
    };
    stores.catalogue.seed(seed).await.unwrap();
    let item = |id: &str| NewLineItem {
        line_item_id: id.to_owned(),
        execution_context_id: "ctx_before".to_owned(),
        user_id: "user_123".to_owned(),
        payment_group_id: None,
        plan_id: "plan_789".to_owned(),
        slot_id: None,
        location: None,
        amounts: Amounts::new(rupees(1_000), rupees(0), rupees(0), rupees(0)).unwrap(),
    };
    let created = vec![item("li_existing_123"), item("li_renewal_789")];
    stores.line_items.upsert("before", Upsert { created, updated: Vec::new() }).await.unwrap();
    let ids = vec!["li_existing_123".to_owned(), "li_renewal_789".to_owned()];
    stores.line_items.confirm("before", ids).await.unwrap();
}

pub(crate) fn customer() -> Principal {
    Principal { user_id: "user_123".to_owned(), role: Role::Customer }
}

pub(crate) fn headers() -> CallHeaders {
    CallHeaders { tenant: "marketplace".to_owned(), request_id: "req_1".to_owned() }
}

/// The example under this execution context id, changed so.
pub(crate) fn call(text: &str, id: &str, change: impl FnOnce(&mut Value)) -> Call {
    let mut value: Value = serde_json::from_str(text).unwrap();
    value["executionContextId"] = id.into();
    change(&mut value);
    Call::from_json(value.to_string().as_bytes()).unwrap()
}

pub(crate) fn as_it_is(_: &mut Value) {}

pub(crate) async fn initiate(service: &InitiateService, call: Call) -> Result<InitiateCheckoutResponse, InitiateError> {
    match service.initiate(&customer(), call, headers()).await? {
        Initiated::Answered(response) => Ok(*response),
        Initiated::Accepted(accepted) => unreachable!("{accepted:?}"),
    }
}

pub(crate) async fn saga(service: &InitiateService, id: &str) -> SagaHandle<InitiateCheckoutResponse> {
    service.engine().find(service.definition(), id).await.unwrap().unwrap()
}

/// Waits until the checkout is over.
pub(crate) async fn status_at_the_end(service: &InitiateService, id: &str) -> ExecutionContextStatus {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    loop {
        let status = service.execution_context(&customer(), id).await.unwrap().status;
        if status != ExecutionContextStatus::Initialized {
            return status;
        }
        assert!(tokio::time::Instant::now() < deadline, "the checkout {id} does not come to an end");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Waits until something holds.
pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while !holds().await {
        assert!(tokio::time::Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
