//! Bodies of `POST /orchestration/checkout/initiate`: a request is written again as it was, and a body that is refused
//! writes nothing.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use checkout_workflows::initiate::checkout::InitiateServices;
use checkout_workflows::initiate::flags::ConfiguredFlags;
use checkout_workflows::initiate::pii::KeyRing;
use checkout_workflows::initiate::role::{Principal, Role};
use checkout_workflows::initiate::schema::Call;
use checkout_workflows::initiate::service::{CallHeaders, InitiateFlow, InitiateService};
use checkout_workflows::initiate::store::Stores;
use checkout_workflows::initiate::validate::{Facts, validate};
use checkout_workflows::initiate::vendor::LocalVendor;
use checkout_workflows::initiate::webhook::WebhookSecrets;
use checkout_workflows::money::Currency;
use saga_core::journal::{Journal as _, ListFilter, MemoryJournal};
use saga_core::{Engine, Timestamp};
use tokio::runtime::Runtime;

const SECRET: &[u8] = b"the secret of the fuzz targets";
/// A marketplace is closed once it has so many checkouts: nobody works on them.
const CHECKOUTS_MAX: usize = 200;

/// Reads the bytes as a body, and has the service answer it.
pub fn run(bytes: &[u8]) {
    let Ok(call) = Call::from_json(bytes) else { return };
    if let Call::Initiate(request) = &call {
        let again = serde_json::to_vec(request).unwrap();
        assert_eq!(Call::from_json(&again).unwrap(), call);
        for currency in [Currency::INR, Currency::JPY] {
            // With nothing known, it is refused or priced; it is never a panic.
            validate(request, &Facts::none(Timestamp::from_micros(0), currency)).ok();
        }
    }
    MARKET.with_borrow_mut(|market| {
        let mut open = market.take().unwrap_or_else(Market::open);
        open.answer(call);
        *market = Some(open).filter(|open| open.checkouts < CHECKOUTS_MAX);
    });
}

thread_local! {
    static MARKET: RefCell<Option<Market>> = const { RefCell::new(None) };
}

/// The service, with tables and a journal, and without a worker.
struct Market {
    runtime: Runtime,
    service: InitiateService,
    journal: MemoryJournal,
    checkouts: usize,
    dir: tempfile::TempDir,
}

impl Market {
    fn open() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (dir, journal) = (tempfile::tempdir().unwrap(), runtime.block_on(async { MemoryJournal::new() }));
        let service = runtime.block_on(async {
            let file = dir.path().join("initiate.db");
            std::fs::File::create(&file).unwrap();
            let stores = Stores::open(&format!("sqlite://{}", file.display())).await.unwrap();
            stores.migrate().await.unwrap();
            let vendor = Arc::new(LocalVendor::new(SECRET).unwrap());
            let services = InitiateServices::new(stores, vendor, KeyRing::new("k1", &[7; 32]).unwrap());
            let flow = InitiateFlow::new(services).unwrap();
            let engine = flow.register(Engine::builder(journal.clone()).client_only()).open().await.unwrap();
            let secrets = WebhookSecrets::new(SECRET).unwrap();
            let service = InitiateService::new(flow, engine, ConfiguredFlags::default(), secrets);
            service.answer_within(Duration::from_millis(1))
        });
        Self { runtime, service, journal, checkouts: 0, dir }
    }

    fn answer(&mut self, call: Call) {
        let user_id = match &call {
            Call::Initiate(request) => request.user_id.clone(),
            Call::Resume { .. } => "user_123".to_owned(),
        };
        let caller = Principal { user_id, role: Role::Customer };
        let headers = CallHeaders { tenant: "marketplace".to_owned(), request_id: "req_1".to_owned() };
        let before = self.tables();
        let answered = self.runtime.block_on(self.service.initiate(&caller, call, headers));
        let listed = self.runtime.block_on(self.journal.list(&ListFilter::default(), CHECKOUTS_MAX + 1)).unwrap().len();
        if let Err(error) = answered {
            assert_eq!((listed, self.tables()), (self.checkouts, before), "a refused body wrote something: {error}");
        }
        self.checkouts = listed;
    }

    /// The state of the files with the tables: their sizes, and when they were written last.
    fn tables(&self) -> Vec<(u64, SystemTime)> {
        let mut files: Vec<_> = std::fs::read_dir(self.dir.path()).unwrap().map(|file| file.unwrap().path()).collect();
        files.retain(|file| !file.to_string_lossy().ends_with("-shm"));
        files.sort();
        let state = |file: std::path::PathBuf| {
            let data = file.metadata().unwrap();
            (data.len(), data.modified().unwrap())
        };
        files.into_iter().map(state).collect()
    }
}
