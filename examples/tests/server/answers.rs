//! What requests are answered with.

use examples::server::{CANCEL, ROLL_BACK};
use serde_json::{Value, json};

use crate::fixture::{NEW_PLAN, RENEWAL, Running, TIP, problem, transaction, with};

#[tokio::test]
async fn the_documented_examples_are_answered_in_the_documented_shape() {
    let server = Running::start(&[]).await;
    let answer = server.initiate(NEW_PLAN).await;
    assert_eq!(answer.status(), 200);
    let plan: Value = answer.json().await.unwrap();
    let documented: Value = serde_json::from_str(include_str!(
        "../../../checkout-workflows/tests/fixtures/initiate/new_plan_purchase.response.json"
    ))
    .unwrap();
    assert_eq!(plan["sourceContext"], documented["sourceContext"]);
    assert_eq!(plan["lineItems"]["created"][0]["lineItemId"], "li_456");
    assert_same_fields(&documented, &plan, "");
    let sdk = &plan["paymentDetails"]["vendorTransactionInfo"]["processPaymentViaSDKParams"];
    assert_eq!((&sdk["amount"], &sdk["currency"]), (&json!(1500), &json!("INR")));

    let tip: Value = server.initiate(TIP).await.json().await.unwrap();
    assert_eq!(tip["lineItems"]["updated"][0]["lineItemId"], "li_existing_123");
    let info = &tip["paymentDetails"]["vendorTransactionInfo"];
    assert_eq!(info["processPaymentViaSDKParams"]["amount"], 200);
    assert_eq!(info["processPaymentViaSDKParams"]["isMandateSetupOrder"], true, "there is no mandate yet");

    let renewal: Value = server.initiate(RENEWAL).await.json().await.unwrap();
    assert!(renewal.get("paymentDetails").is_none(), "nothing is payable: {renewal:#}");
    server.until(renewal["executionContextId"].as_str().unwrap(), "COMPLETED").await;
    server.stop().await;
}

/// Every field that is documented is there.
fn assert_same_fields(documented: &Value, answered: &Value, at: &str) {
    match documented {
        Value::Object(fields) => {
            for (name, value) in fields {
                assert!(answered.get(name).is_some(), "{at}/{name} is missing in {answered:#}");
                assert_same_fields(value, &answered[name], &format!("{at}/{name}"));
            }
        }
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(n, item)| assert_same_fields(item, &answered[n], &format!("{at}/{n}")));
        }
        _ => assert_eq!(documented.is_string(), answered.is_string(), "{at}"),
    }
}

#[tokio::test]
async fn the_same_request_is_answered_from_what_was_kept_and_another_one_under_its_id_is_a_conflict() {
    let server = Running::start(&[]).await;
    let request = with(NEW_PLAN, &[("/executionContextId", json!("ctx_once"))]);
    let first: Value = server.initiate(request.clone()).await.json().await.unwrap();
    let again: Value = server.initiate(request.clone()).await.json().await.unwrap();
    assert_eq!(first, again);
    let resumed: Value = server.initiate(r#"{"executionContextId":"ctx_once"}"#).await.json().await.unwrap();
    assert_eq!(first, resumed);

    let changed = with(&request, &[("/device/version", json!("13")), ("/pricing", json!({}))]);
    let conflict = problem(server.initiate(changed).await, 409, "IDEMPOTENCY_CONFLICT").await;
    assert_eq!(conflict["executionContextId"], "ctx_once");
    assert_eq!(conflict["differs"], json!(["device", "pricing"]));

    server.customer("pay", &transaction(&first)).await;
    let context = server.until("ctx_once", "COMPLETED").await;
    assert_eq!(context["taskName"], "INITIATE_CHECKOUT");
    assert!(context["referenceIds"][0]["id"].as_str().unwrap().starts_with("pg_"), "its payment groups: {context:#}");
    let after: Value = server.initiate(request).await.json().await.unwrap();
    assert_eq!(first, after, "also after it is complete");
    let books = server.books().await;
    assert_eq!(books["netMinor"].as_object().unwrap().len(), 1, "one payment, of {books}");
    server.stop().await;
}

#[tokio::test]
async fn an_invalid_request_is_told_all_that_is_wrong_with_it() {
    let server = Running::start(&[]).await;
    let wrong = with(
        NEW_PLAN,
        &[
            ("/lineItems/created/0/plan/planId", json!("plan_unknown")),
            ("/lineItems/existing", json!([{ "lineItemId": "li_unknown" }])),
            ("/pricing", json!({ "coupon": { "code": "NO_SUCH" } })),
            ("/paymentPreferences/selectedOnlinePaymentInfo/paymentMethodIdentifier", json!(" ")),
        ],
    );
    let told = problem(server.initiate(wrong).await, 422, "VALIDATION_FAILED").await;
    let mut codes: Vec<&str> = told["violations"].as_array().unwrap().iter().map(code).collect();
    codes.sort_unstable();
    assert_eq!(codes, ["COUPON_UNKNOWN", "LINE_ITEM_UNKNOWN", "PAYMENT_METHOD_MISSING", "PLAN_UNKNOWN"]);

    for id in ["", "a\nb", &"x".repeat(240), &"x".repeat(5_000)] {
        let unusable = with(NEW_PLAN, &[("/executionContextId", json!(id))]);
        let told = problem(server.initiate(unusable).await, 422, "VALIDATION_FAILED").await;
        assert_eq!(code(&told["violations"][0]), "NAME_UNUSABLE");
    }
    problem(server.initiate("{").await, 400, "MALFORMED_REQUEST").await;
    let misspelt = with(NEW_PLAN, &[("/payment", json!({}))]);
    let told = problem(server.initiate(misspelt).await, 400, "MALFORMED_REQUEST").await;
    assert!(told["detail"].as_str().unwrap().contains("payment"));
    server.stop().await;
}

fn code(violation: &Value) -> &str {
    violation["code"].as_str().unwrap()
}

#[tokio::test]
async fn a_declined_payment_rolls_back_and_a_customer_who_gives_up_too() {
    let server = Running::start(&[]).await;
    let method = "/paymentPreferences/selectedOnlinePaymentInfo/paymentMethodIdentifier";
    let declined = with(NEW_PLAN, &[(method, json!("pm+decline")), ("/executionContextId", json!("ctx_declined"))]);
    let told = problem(server.initiate(declined).await, 402, "PAYMENT_DECLINED").await;
    assert_eq!(told["executionContextId"], "ctx_declined");
    server.until("ctx_declined", "ROLLEDBACK").await;

    let gives_up = [("/executionContextId", json!("ctx_up")), ("/lineItems/created/0/lineItemId", json!("li_up"))];
    let answer: Value = server.initiate(with(NEW_PLAN, &gives_up)).await.json().await.unwrap();
    assert_eq!(server.customer("fail", &transaction(&answer)).await, 204);
    server.until("ctx_up", "ROLLEDBACK").await;
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_would_wait_too_long_is_told_where_to_look() {
    let server = Running::start(&["--answer-within-ms", "0"]).await;
    let answer = server.initiate(with(NEW_PLAN, &[("/executionContextId", json!("ctx_later"))])).await;
    // The saga may be quick enough, and is not with a journal that writes to a disk.
    if answer.status() == 202 {
        let at = "/orchestration/checkout/execution-contexts/ctx_later";
        assert_eq!(answer.headers()["location"], at);
        let accepted: Value = answer.json().await.unwrap();
        assert_eq!(accepted, json!({ "executionContextId": "ctx_later", "status": "INITIALIZED" }));
    }
    server.stop().await;
}

#[tokio::test]
async fn checkouts_are_cancelled_by_their_customers_and_turned_back_by_admins_until_they_are_paid() {
    let server = Running::start(&[]).await;
    let turn_back = async |to: &str, id: &str, user: &str, role: &str, body: Value| {
        let path = to.replace("{executionContextId}", id);
        server.post(&path).bearer_auth(server.token(user, role)).body(body.to_string()).send().await.unwrap()
    };
    let begun = async || {
        let answer: Value = server.initiate(TIP).await.json().await.unwrap();
        (answer["executionContextId"].as_str().unwrap().to_owned(), transaction(&answer))
    };
    let because = || json!({ "reason": "the customer called" });
    let (first, _) = begun().await;
    problem(turn_back(CANCEL, &first, "user_9", "CUSTOMER", because()).await, 403, "FORBIDDEN").await;
    problem(turn_back(ROLL_BACK, &first, "user_123", "CUSTOMER", because()).await, 403, "FORBIDDEN").await;
    problem(turn_back(CANCEL, &first, "user_123", "CUSTOMER", json!({})).await, 400, "MALFORMED_REQUEST").await;
    problem(turn_back(CANCEL, "ctx_none", "user_123", "CUSTOMER", because()).await, 404, "NOT_FOUND").await;
    assert_eq!(turn_back(CANCEL, &first, "user_123", "CUSTOMER", because()).await.status(), 202);
    server.until(&first, "ROLLEDBACK").await;
    let (second, _) = begun().await;
    assert_eq!(turn_back(ROLL_BACK, &second, "ops", "ADMIN", because()).await.status(), 202);
    server.until(&second, "ROLLEDBACK").await;
    let (third, paid) = begun().await;
    assert_eq!(server.customer("pay", &paid).await, 204);
    server.until(&third, "COMPLETED").await;
    problem(turn_back(CANCEL, &third, "user_123", "CUSTOMER", because()).await, 409, "STATE_CONFLICT").await;
    server.stop().await;
}
