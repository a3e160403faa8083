//! Personal data is sealed wherever it comes to rest.

use std::path::Path;

use checkout_workflows::initiate::role::{Principal, Role};
use checkout_workflows::initiate::schema::{Call, ExecutionContextStatus as Status};
use checkout_workflows::initiate::service::Initiated;
use serde_json::{Value, json};

use crate::world::{NEW_PLAN, World, call, customer, headers, initiate, saga, status_at_the_end, until};

const ADDRESS: &str = "ADDRESS-MARKER-17";
const METHOD: &str = "METHOD-MARKER-18";

fn marked(request: &mut Value) {
    let item = &mut request["lineItems"]["created"][0];
    item["initialPostSellingPreferences"]["location"]["address"] = json!(ADDRESS);
    request["paymentPreferences"]["selectedOnlinePaymentInfo"]["paymentMethodIdentifier"] = json!(METHOD);
}

/// Whether any file of the database holds the text.
fn holds(dir: &Path, text: &str) -> bool {
    let files = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut files = files.filter(|path| path.is_file()).map(|path| std::fs::read(path).unwrap());
    files.any(|bytes| bytes.windows(text.len()).any(|window| window == text.as_bytes()))
}

async fn run(world: &World) -> (bool, bool, bool) {
    let service = world.open().await;
    initiate(&service, call(NEW_PLAN, "ctx_1", marked)).await.unwrap();
    world.pay(&service, "ctx_1").await;
    assert_eq!(status_at_the_end(&service, "ctx_1").await, Status::Completed);
    until("both events", async || world.publisher.published().len() == 2).await;
    // The customer sees what was asked.
    let shown = service.execution_context(&customer(), "ctx_1").await.unwrap();
    assert!(serde_json::to_string(&shown.request_params).unwrap().contains(ADDRESS));
    let history = service.engine().history(saga(&service, "ctx_1").await.id()).await.unwrap().unwrap();
    let journal = serde_json::to_string(&history.iter().map(|turn| &turn.records).collect::<Vec<_>>()).unwrap();
    assert!(journal.contains("user_123"), "the search looks where the data is");
    let events: String = world.publisher.arrived().into_iter().map(|event| event.payload).collect();
    let in_events = events.contains(ADDRESS) || events.contains(METHOD);
    let in_journal = journal.contains(ADDRESS) || journal.contains(METHOD);
    (in_journal, holds(world.dir.path(), ADDRESS) || holds(world.dir.path(), METHOD), in_events)
}

#[tokio::test]
async fn neither_the_journal_nor_the_tables_nor_the_events_hold_an_address_or_a_payment_method() {
    assert_eq!(run(&World::new().await).await, (false, false, false));
}

#[tokio::test]
async fn with_the_flag_off_they_are_there_and_so_the_search_finds_what_it_looks_for() {
    let mut world = World::new().await;
    let off = r#"{"isLineItemPIIDataEncryptionEnabled": {"on": false}}"#;
    world.flags = serde_json::from_str(off).unwrap();
    assert_eq!(run(&world).await, (true, true, false));
}

#[tokio::test]
async fn the_clients_token_for_the_vendor_is_not_kept_with_the_execution_context() {
    let world = World::new().await;
    let service = world.open().await;
    let response = initiate(&service, call(NEW_PLAN, "ctx_1", marked)).await.unwrap();
    let answered = serde_json::to_value(&response).unwrap();
    let params = &answered["paymentDetails"]["vendorTransactionInfo"]["processPaymentViaSDKParams"];
    let token = params["clientAuthToken"].as_str().unwrap().to_owned();
    world.pay(&service, "ctx_1").await;
    status_at_the_end(&service, "ctx_1").await;
    let row = world.stores.execution_contexts.get("ctx_1").await.unwrap().unwrap();
    assert!(!row.response.unwrap().contains(&token));
}

#[tokio::test]
async fn the_clients_token_for_the_vendor_is_shown_to_the_checkouts_owner_alone() {
    let world = World::new().await;
    let service = world.open().await;
    initiate(&service, call(NEW_PLAN, "ctx_1", marked)).await.unwrap();
    let admin = Principal { user_id: "ops".to_owned(), role: Role::Admin };
    let shown = async |caller: &Principal| {
        let context = service.execution_context(caller, "ctx_1").await.unwrap();
        let response = serde_json::to_value(context.response.unwrap()).unwrap();
        response["paymentDetails"]["vendorTransactionInfo"]["processPaymentViaSDKParams"].clone()
    };
    let (own, others) = (shown(&customer()).await, shown(&admin).await);
    assert!(own["clientAuthToken"].is_string(), "{own}");
    assert_eq!(others.get("clientAuthToken"), None);
    assert_eq!(others["vendorTransactionId"], own["vendorTransactionId"], "the rest is what there is to see");
    let resume = Call::from_json(br#"{"executionContextId":"ctx_1"}"#).unwrap();
    let resumed = service.initiate(&admin, resume, headers()).await.unwrap();
    let Initiated::Answered(resumed) = resumed else { unreachable!("{resumed:?}") };
    assert!(!serde_json::to_string(&resumed).unwrap().contains("clientAuthToken"));
}
