//! Two databases for each story, and what the stories are about.

use checkout_workflows::Money;
use checkout_workflows::initiate::store::{
    Amounts, Location, NewArrear, NewCheckoutOrder, NewExecutionContext, NewLineItem, NewOptIn, NewPaymentGroup,
    NewPreference, NewRequirement, NewSettlement, Stores, Upsert,
};
use checkout_workflows::money::Currency;
use chrono::{DateTime, Utc};
use saga_testkit::postgres::Cluster;

/// Runs each story on SQLite and on Postgres.
macro_rules! on_both {
    ($($story:ident)+) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $story() {
                let dir = tempfile::tempdir().unwrap();
                super::$story(crate::world::on_sqlite(&dir).await).await;
            })+
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $story() {
                super::$story(crate::world::on_postgres().await).await;
            })+
        }
    };
}
pub(crate) use on_both;

pub(crate) async fn on_sqlite(dir: &tempfile::TempDir) -> Stores {
    let file = dir.path().join("initiate.db");
    std::fs::File::create(&file).unwrap();
    ready(&format!("sqlite://{}", file.display())).await
}

pub(crate) async fn on_postgres() -> Stores {
    let database = Cluster::shared().await.unwrap().database().await.unwrap();
    ready(database.url()).await
}

async fn ready(url: &str) -> Stores {
    let stores = Stores::open(url).await.unwrap();
    stores.migrate().await.unwrap();
    stores
}

pub(crate) fn inr(minor: i64) -> Money {
    Money::new(minor, Currency::INR)
}

/// So many seconds after the beginning of the story.
pub(crate) fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000 + seconds, 0).unwrap()
}

pub(crate) fn context(id: &str) -> NewExecutionContext {
    NewExecutionContext {
        execution_context_id: id.to_owned(),
        task_name: "INITIATE_CHECKOUT".to_owned(),
        request: r#"{"userId":"user_123"}"#.to_owned(),
        request_digest: "digest".to_owned(),
        reference_ids: vec!["pg_123".to_owned()],
        at: at(0),
    }
}

pub(crate) fn group(id: &str) -> NewPaymentGroup {
    NewPaymentGroup {
        execution_context_id: id.to_owned(),
        user_id: "user_123".to_owned(),
        line_item_ids: vec!["li_b".to_owned(), "li_a".to_owned()],
    }
}

pub(crate) fn order(context: &str) -> NewCheckoutOrder {
    NewCheckoutOrder { execution_context_id: context.to_owned(), user_id: "user_123".to_owned(), total: inr(150_000) }
}

pub(crate) fn opt_in() -> NewOptIn {
    NewOptIn {
        execution_context_id: "ctx".to_owned(),
        user_id: "user_123".to_owned(),
        plan_id: "plan_789".to_owned(),
        mandate_id: None,
        preferences: serde_json::json!({ "weekday": "MONDAY" }),
    }
}

pub(crate) fn preference() -> NewPreference {
    NewPreference {
        execution_context_id: "ctx".to_owned(),
        user_id: "user_123".to_owned(),
        location: Some(Location::Sealed("c2VhbGVk".to_owned())),
        details: serde_json::json!({ "gate": 4 }),
    }
}

pub(crate) fn requirement(reference: &str) -> NewRequirement {
    NewRequirement {
        execution_context_id: "ctx".to_owned(),
        checkout_order_id: "co".to_owned(),
        user_id: "user_123".to_owned(),
        merchant_reference: reference.to_owned(),
        amount: inr(150_000),
    }
}

pub(crate) fn arrear(requirement: &str) -> NewArrear {
    NewArrear {
        user_id: "user_123".to_owned(),
        requirement_id: requirement.to_owned(),
        amount: inr(150_000),
        due_at: at(86_400),
    }
}

pub(crate) fn settlement(order: &str) -> NewSettlement {
    NewSettlement { checkout_order_id: order.to_owned(), tranche: 1, amount: inr(50_000), due_at: at(86_400) }
}

pub(crate) fn line_item(id: &str) -> NewLineItem {
    NewLineItem {
        line_item_id: id.to_owned(),
        execution_context_id: "ctx".to_owned(),
        user_id: "user_123".to_owned(),
        payment_group_id: None,
        plan_id: "plan_789".to_owned(),
        slot_id: Some("slot_1".to_owned()),
        location: Some(Location::Plain(serde_json::json!({ "address": "123 Main St" }))),
        amounts: amounts(0),
    }
}

/// A plan of 1500.00 with a slot fee of 99.00 and this tip.
pub(crate) fn amounts(tip: i64) -> Amounts {
    Amounts::new(inr(150_000), inr(9_900), inr(tip), inr(0)).unwrap()
}

/// Creates this one.
pub(crate) fn created(id: &str) -> Upsert {
    Upsert { created: vec![line_item(id)], updated: Vec::new() }
}
