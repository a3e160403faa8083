//! What goes over the wire is what is documented.

use checkout_workflows::Money;
use checkout_workflows::initiate::classify::{ErrorCode, ServiceError};
use checkout_workflows::initiate::schema::{
    Call, Decimal, Envelope, ErrorResponse, EventHeaders, EventName, ExecutionContext, InitiateCheckoutRequest,
    InitiateCheckoutResponse, LineItemsUpdated, PaymentCollectionRequirementSuccess, PaymentDetails, SdkParams,
};
use checkout_workflows::initiate::validate::{ViolationCode, Violations};
use checkout_workflows::money::Currency;
use proptest::prelude::*;
use saga_core::Checkpoint;
use serde_json::{Value, json};

use crate::fixture::{NEW_PLAN, NEW_PLAN_RESPONSE, RENEWAL, TIP, request};

#[test]
fn the_documented_requests_are_read_and_nothing_of_them_is_lost() {
    for text in [NEW_PLAN, TIP, RENEWAL] {
        let read = request(text);
        let given: Value = serde_json::from_str(text).unwrap();
        assert_eq!(request(&serde_json::to_string(&read).unwrap()), read);
        contains(&serde_json::to_value(&read).unwrap(), &given, "");
    }
    assert_eq!(request(TIP).line_items.updated[0].preferences.tip.as_ref().unwrap().amount.as_str(), "200");
    assert!(request(RENEWAL).execution_context_id.is_none());
}

/// Everything of `part` is in `whole`; empty lists may be left out.
fn contains(whole: &Value, part: &Value, at: &str) {
    match part {
        Value::Object(fields) => {
            for (name, value) in fields {
                let empty = value.as_array().is_some_and(Vec::is_empty);
                if !(empty && whole.get(name).is_none()) {
                    contains(&whole[name], value, &format!("{at}/{name}"));
                }
            }
        }
        Value::Array(items) => {
            for (nth, value) in items.iter().enumerate() {
                contains(&whole[nth], value, &format!("{at}/{nth}"));
            }
        }
        other => assert_eq!(whole, other, "{at}"),
    }
}

#[test]
fn a_request_with_every_documented_field_is_read() {
    let mut full: Value = serde_json::from_str(NEW_PLAN).unwrap();
    let more = json!({
        "journeyContext": { "id": "j", "type": "CUSTOMER_JOURNEY" },
        "pricing": { "coupon": { "code": "SAVE", "lockSessionId": "lock" } },
        "invoice": {
            "summaryComponents": {
                "charges": [{ "type": "SURGE_SLOT_FEE", "value": 49.5 }],
                "discounts": [{ "type": "COUPON", "value": 100 }],
            },
            "shouldAttachArrears": true,
            "arrearContext": { "anything": { "goes": 1 } },
            "editStrategy": "REPLACE",
        },
        "planPreferences": { "routines": {
            "preferences": [{ "oldOptinContext": { "id": "optin_1" } }],
            "updationContext": { "strategy": "KEEP" },
        } },
        "isMock": false,
        "executionContextId": "ctx_123",
        "categoriesData": [{ "categoryKey": "cleaning", "pricing": { "base": 1500 } }],
    });
    full.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let read: InitiateCheckoutRequest = serde_json::from_value(full.clone()).unwrap();
    assert_eq!(serde_json::to_value(&read).unwrap(), full);
}

#[test]
fn unknown_fields_are_refused_where_the_document_is_closed_and_kept_where_it_is_open() {
    let mut closed: Value = serde_json::from_str(NEW_PLAN).unwrap();
    closed["device"]["colour"] = json!("red");
    let refused = Call::from_json(closed.to_string().as_bytes()).unwrap_err();
    assert!(refused.to_string().contains("unknown field `colour`"), "{refused}");
    let mut open: Value = serde_json::from_str(NEW_PLAN).unwrap();
    let location = &mut open["lineItems"]["created"][0]["initialPostSellingPreferences"]["location"];
    location["floor"] = json!({ "number": 4 });
    let read: InitiateCheckoutRequest = serde_json::from_value(open.clone()).unwrap();
    let preferences = read.line_items.created[0].initial_post_selling_preferences.clone().unwrap();
    assert_eq!(preferences.location.unwrap().0["floor"]["number"], 4);
}

#[test]
fn neither_debug_nor_errors_show_an_address() {
    assert!(!format!("{:?}", request(NEW_PLAN)).contains("Main St"));
    let mut wrong: Value = serde_json::from_str(NEW_PLAN).unwrap();
    wrong["lineItems"]["created"][0]["initialPostSellingPreferences"]["location"] = json!("123 Main St");
    let refused = Call::from_json(wrong.to_string().as_bytes()).unwrap_err();
    assert!(!format!("{refused} {refused:?}").contains("Main St"));
}

#[test]
fn the_id_of_an_execution_alone_resumes_it() {
    let call = Call::from_json(br#"{"executionContextId":"ctx_123"}"#).unwrap();
    assert_eq!(call, Call::Resume { execution_context_id: "ctx_123".to_owned() });
    let mut whole: Value = serde_json::from_str(TIP).unwrap();
    whole["executionContextId"] = json!("ctx_123");
    let call = Call::from_json(whole.to_string().as_bytes()).unwrap();
    assert!(matches!(call, Call::Initiate(_)));
    assert_eq!(call.execution_context_id(), Some("ctx_123"));
    assert!(Call::from_json(b"{").unwrap_err().to_string().contains("not JSON"));
}

#[test]
fn amounts_that_are_not_exact_are_refused() {
    let exact = |text: &str, currency| serde_json::from_str::<Decimal>(text).unwrap().to_money(currency);
    assert_eq!(exact("1500", Currency::INR).unwrap().minor(), 150_000);
    assert_eq!(exact("1500.5", Currency::INR).unwrap().minor(), 150_050);
    assert_eq!(exact("12.340", Currency::INR).unwrap().minor(), 1_234);
    assert_eq!(exact("100", Currency::JPY).unwrap().minor(), 100);
    // Would be 0.1 in floating point.
    for wrong in ["12.345", "0.1000000000000000055511151231257827", "1e3", "92233720368547758070"] {
        assert!(exact(wrong, Currency::INR).is_err(), "{wrong}");
    }
    for wrong in [r#""12.345""#, r#""12""#, "true", "null", "[1]", "{}", "01", "+1"] {
        assert!(serde_json::from_str::<Decimal>(wrong).is_err(), "{wrong}");
    }
}

proptest! {
    #[test]
    fn amounts_go_out_and_come_in_again_unchanged(minor in any::<i64>(), places in 0_usize..3) {
        let currency = [Currency::JPY, Currency::INR, Currency::KWD][places];
        prop_assume!(minor != i64::MIN);
        let money = Money::new(minor, currency);
        let text = serde_json::to_string(&Decimal::from_money(money).unwrap()).unwrap();
        prop_assert_eq!(serde_json::from_str::<Decimal>(&text).unwrap().to_money(currency).unwrap(), money);
    }
}

#[test]
fn the_response_has_the_documented_shape() {
    let documented: Value = serde_json::from_str(NEW_PLAN_RESPONSE).unwrap();
    let read: InitiateCheckoutResponse = serde_json::from_str(NEW_PLAN_RESPONSE).unwrap();
    assert_eq!(serde_json::to_value(&read).unwrap(), documented);

    let mut params = SdkParams::new("razorpay", "txn_456", Money::new(150_000, Currency::INR)).unwrap();
    params.client_auth_token = Some("token_789".to_owned());
    let made = InitiateCheckoutResponse { payment_details: Some(PaymentDetails::via_sdk(params.clone())), ..read };
    assert_eq!(serde_json::to_value(&made).unwrap(), documented);
    assert!(!format!("{made:?}").contains("token_789"), "the token is a secret");

    params.return_url = Some("https://shop/back".to_owned());
    params.redirect_url = Some("https://vendor/pay".to_owned());
    params.is_mandate_setup_order = true;
    let waiting = InitiateCheckoutResponse {
        payment_details: Some(PaymentDetails::via_sdk(params)),
        execution_context_id: Some("ctx_1".to_owned()),
        ..made
    };
    let text = serde_json::to_value(&waiting).unwrap();
    let sdk = &text["paymentDetails"]["vendorTransactionInfo"]["processPaymentViaSDKParams"];
    assert_eq!(sdk["returnUrl"], "https://shop/back");
    assert_eq!(sdk["redirectUrl"], "https://vendor/pay");
    assert_eq!(sdk["isMandateSetupOrder"], true);
    assert_eq!(text["executionContextId"], "ctx_1");
    let skipped = serde_json::to_value(PaymentDetails::skipped()).unwrap();
    assert_eq!(skipped, json!({ "vendorTransactionInfo": { "skipProcessCall": true } }));
}

#[test]
fn an_execution_context_has_the_documented_shape() {
    let documented = json!({
        "executionContextId": "ctx_1",
        "taskName": "INITIATE_CHECKOUT",
        "requestParams": serde_json::to_value(request(NEW_PLAN)).unwrap(),
        "referenceIds": [{ "id": "pg_1" }],
        "response": serde_json::from_str::<Value>(NEW_PLAN_RESPONSE).unwrap(),
        "contexts": [{ "step": "create_checkout_order", "status": "SUCCEEDED", "attempts": 1 }],
        "status": "ROLLEDBACK",
        "retryTimestamps": ["2026-01-01T00:00:00Z"],
    });
    let read: ExecutionContext = serde_json::from_value(documented.clone()).unwrap();
    assert_eq!(serde_json::to_value(read).unwrap(), documented);
}

#[test]
fn events_carry_the_four_headers() {
    let headers = EventHeaders {
        tenant: "in".to_owned(),
        city: "delhi".to_owned(),
        request_id: "req_1".to_owned(),
        idempotency_key: "key_1".to_owned(),
    };
    assert_eq!(headers.pairs().map(|(name, _)| name), ["tenant", "city", "requestId", "idempotencyKey"]);
    assert_eq!(EventHeaders::from_pairs(headers.pairs()).unwrap(), headers);
    for missing in ["tenant", "city", "requestId", "idempotencyKey"] {
        let rest = headers.pairs().into_iter().filter(|(name, _)| *name != missing);
        assert_eq!(EventHeaders::from_pairs(rest).unwrap_err().name, missing);
    }
    let payload = LineItemsUpdated {
        execution_context_id: "ctx_1".to_owned(),
        checkout_order_id: "co_1".to_owned(),
        user_id: "user_123".to_owned(),
        payment_group_ids: vec!["pg_1".to_owned()],
        created: Vec::new(),
        updated: Vec::new(),
    };
    let event = Envelope { event: EventName::LineItemsUpdated, headers, payload };
    let text = serde_json::to_value(&event).unwrap();
    assert_eq!(text["event"], "line_items_updated");
    assert_eq!(text["headers"]["requestId"], "req_1");
    assert_eq!(text["payload"]["paymentGroupIds"][0], "pg_1");
    for name in [
        EventName::LineItemsUpdated,
        EventName::LineItemsConfirmed,
        EventName::PaymentCollectionRequirementSuccess,
        EventName::PaymentCollectionRequirementFailed,
    ] {
        assert_eq!(serde_json::to_value(name).unwrap(), name.as_str());
    }
    let paid: PaymentCollectionRequirementSuccess = serde_json::from_value(json!({
        "paymentCollectionRequirementId": "pcr_1", "vendorTransactionId": "txn_1", "amount": 15.5, "currency": "INR",
    }))
    .unwrap();
    assert_eq!(paid.amount.to_money(paid.currency).unwrap().minor(), 1_550);
}

#[test]
fn errors_are_told_in_one_shape() {
    let mut violations = Violations::default();
    violations.add(ViolationCode::UserUnknown, "/userId", "there is no such user");
    let invalid = ErrorResponse::from(violations).of_execution("ctx_1");
    assert_eq!(invalid.http_status(), 422);
    assert_eq!(
        serde_json::to_value(&invalid).unwrap(),
        json!({ "error": {
            "code": "VALIDATION_FAILED",
            "message": "the request breaks rules",
            "executionContextId": "ctx_1",
            "violations": [{ "code": "USER_UNKNOWN", "pointer": "/userId", "message": "there is no such user" }],
        } })
    );
    let malformed = ErrorResponse::from(&Call::from_json(b"[").unwrap_err());
    assert_eq!((malformed.http_status(), malformed.error.code), (400, ErrorCode::MalformedRequest));
    let declined = ErrorResponse::from(&ServiceError::new(ErrorCode::InsufficientFunds, "no money"));
    assert_eq!(
        serde_json::to_value(&declined).unwrap(),
        json!({ "error": { "code": "INSUFFICIENT_FUNDS", "message": "no money" } })
    );
}

#[test]
fn a_request_lies_in_the_journal_as_it_came() {
    for text in [NEW_PLAN, TIP, RENEWAL] {
        let stored = request(text).encode().unwrap();
        assert_eq!(InitiateCheckoutRequest::decode(&stored).unwrap(), request(text));
    }
}

#[cfg(feature = "openapi")]
#[test]
fn the_schemas_document_themselves() {
    use checkout_workflows::initiate::openapi::InitiateApi;
    use utoipa::{OpenApi, ToSchema};
    let api: Value = serde_json::from_str(&InitiateApi::openapi().to_json().unwrap()).unwrap();
    assert!(api["paths"]["/orchestration/checkout/initiate"]["post"]["responses"]["422"].is_object());
    let schemas = &api["components"]["schemas"];
    for named in ["InitiateCheckoutRequest", "SdkParams", "ErrorCode", "ViolationCode", "ExecutionContextStatus"] {
        assert!(schemas[named].is_object(), "{named}");
    }
    assert_eq!(schemas["Decimal"]["type"], "number");
    assert!(schemas["SdkParams"]["properties"]["vendorTransactionId"].is_object());
    assert_eq!(schemas["OpenObject"]["type"], "object");
    let mut schemas = Vec::new();
    InitiateCheckoutRequest::schemas(&mut schemas);
    let names: Vec<&str> = schemas.iter().map(|(name, _)| name.as_str()).collect();
    assert!(names.contains(&"CreatedLineItem") && names.contains(&"MandateInfo"), "{names:?}");
}
