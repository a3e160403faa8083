//! Looks at what is left: the tables, the journal, the vendor's books, the events, and what clients were told.

use std::collections::{BTreeMap, BTreeSet};

use checkout_workflows::initiate::store::{ExecutionStatus, Stores};
use reqwest::StatusCode;
use saga_core::Engine;
use saga_core::journal::{End, JournalError, ListFilter, SagaStatus};
use sqlx::Row as _;
use sqlx::any::AnyRow;

use super::CampaignError;
use super::events::{Arrived, once};
use super::report::Report;
use super::scenario::Checkout;
use super::traffic::Answered;
use crate::vendor::Booked;

/// How much of the journal is looked at: more than a campaign leaves.
const PAGE: usize = 100_000;

/// What is left of a campaign.
pub(super) struct World<'w> {
    pub(super) checkouts: &'w [Checkout],
    pub(super) answered: &'w [Answered],
    pub(super) arrived: &'w [Arrived],
    pub(super) booked: &'w Booked,
    pub(super) stores: &'w Stores,
    pub(super) engine: &'w Engine,
}

/// Looks at everything, and writes down what should not be.
pub(super) async fn audit(world: &World<'_>, mut report: Report) -> Result<Report, CampaignError> {
    let statuses = statuses(world, &mut report).await?;
    events(world, &statuses, &mut report);
    payments(world, &statuses, &mut report).await?;
    tables(world, &statuses, &mut report).await?;
    journal(world, &mut report).await?;
    answers(world, &statuses, &mut report);
    Ok(report)
}

/// Completed or not, by execution context.
type Statuses = BTreeMap<String, bool>;

async fn statuses(world: &World<'_>, report: &mut Report) -> Result<Statuses, CampaignError> {
    let mut statuses = Statuses::new();
    let sagas = sagas(world.engine).await?;
    for checkout in world.checkouts {
        let id = &checkout.id;
        let row = world.stores.execution_contexts.get(id).await?.map(|context| context.status);
        let by_row = match row {
            Some(ExecutionStatus::Completed) => Some(true),
            Some(ExecutionStatus::RolledBack) => Some(false),
            Some(ExecutionStatus::Initialized) | None => None,
        };
        let by_saga = match sagas.get(id) {
            Some(SagaStatus::Ended(End::Completed)) => Some(true),
            Some(SagaStatus::Ended(End::RolledBack) | SagaStatus::Watching) => Some(false),
            _ => None,
        };
        let completed = match (by_saga, by_row) {
            (Some(by_saga), Some(by_row)) if by_saga == by_row => by_row,
            // Killed each time before its first row was written.
            (Some(false), None) if row.is_none() => false,
            _ if row.is_none() && !sagas.contains_key(id) => {
                report.findings.push(format!("{id} was initiated, and there is no trace of it"));
                continue;
            }
            _ => {
                let saga = sagas.get(id);
                report.findings.push(format!("{id} ({}) is {row:?}, and its saga {saga:?}", checkout.scenario));
                let Some(completed) = by_row else { continue };
                completed
            }
        };
        if completed && !checkout.may_complete {
            report.findings.push(format!("{id} ({}) is completed", checkout.scenario));
        }
        let counts = report.scenarios.entry(checkout.scenario.to_owned()).or_default();
        counts.0 += usize::from(completed);
        counts.1 += usize::from(!completed);
        report.completed += usize::from(completed);
        report.rolled_back += usize::from(!completed);
        statuses.insert(id.clone(), completed);
    }
    Ok(statuses)
}

/// How the checkouts' sagas stand, by key.
async fn sagas(engine: &Engine) -> Result<BTreeMap<String, SagaStatus>, JournalError> {
    let definition = Some(checkout_workflows::initiate::checkout::NAME.to_owned());
    let filter = ListFilter { definition, ..ListFilter::default() };
    Ok(engine.list(&filter, PAGE).await?.into_iter().map(|saga| (saga.header.key, saga.status)).collect())
}

/// `line_items_confirmed` once for what is completed and never for what was rolled back.
fn events(world: &World<'_>, statuses: &Statuses, report: &mut Report) {
    let once = once(world.arrived);
    let count = |id: &str, topic: &str| once.get(&(id, topic)).map_or(0, BTreeSet::len);
    for (id, completed) in statuses {
        let (updated, confirmed) = (count(id, "line_items_updated"), count(id, "line_items_confirmed"));
        if confirmed != usize::from(*completed) {
            report.findings.push(format!("{id}: completed {completed}, and {confirmed} line_items_confirmed"));
        }
        if updated > 1 || (*completed && updated == 0) {
            report.findings.push(format!("{id}: completed {completed}, and {updated} line_items_updated"));
        }
    }
    let checkouts: BTreeSet<&str> = world.checkouts.iter().map(|checkout| checkout.id.as_str()).collect();
    let of_nobody = |event: &&Arrived| !checkouts.contains(event.execution_context_id.as_str());
    for event in world.arrived.iter().filter(of_nobody) {
        report.findings.push(format!("an event {} of nobody: {}", event.topic, event.execution_context_id));
    }
    for event in world.arrived.iter().filter(|event| event.idempotency_key.is_empty() || event.id.is_empty()) {
        report.findings.push(format!("{}: {} without a key", event.execution_context_id, event.topic));
    }
    report.events = world.arrived.len();
    report.event_copies = world.arrived.len() - once.values().map(BTreeSet::len).sum::<usize>();
}

/// What was taken is what was bought: the amount for what is completed, nothing for all others.
async fn payments(world: &World<'_>, statuses: &Statuses, report: &mut Report) -> Result<(), CampaignError> {
    report.refunds = world.booked.refunds;
    report.findings.extend(world.booked.contradictions.iter().cloned());
    let select = "SELECT execution_context_id, merchant_reference, amount, state FROM payment_requirements";
    let mut left = world.booked.net_minor.clone();
    let mut paid = BTreeMap::new();
    for row in sqlx::query(select).fetch_all(world.stores.pool()).await? {
        let (id, reference): (String, String) = (row.try_get(0)?, row.try_get(1)?);
        let (amount, state): (i64, String) = (row.try_get(2)?, row.try_get(3)?);
        let net = left.remove(&reference).unwrap_or(0);
        *paid.entry(id.clone()).or_insert(0_usize) += 1;
        // Of those that have not ended nothing more can be said.
        let Some(completed) = statuses.get(&id).copied() else { continue };
        if net != if completed { amount } else { 0 } {
            let problem = format!("{id}: completed {completed}, {state}, and the vendor has {net} of {amount}");
            report.findings.push(problem);
        }
        let open = matches!(state.as_str(), "CREATED" | "PENDING");
        if completed != (state == "SUCCEEDED") || open {
            report.findings.push(format!("{id}: completed {completed}, and its payment is {state}"));
        }
    }
    for (id, count) in paid.into_iter().filter(|(_, count)| *count > 1) {
        report.findings.push(format!("{id} asks for {count} payments"));
    }
    for (reference, net) in left.into_iter().filter(|(_, net)| *net != 0) {
        report.findings.push(format!("the vendor has {net} for {reference}, which nobody knows"));
    }
    Ok(())
}

/// A table, what its rows are when the checkout is completed, and when it was rolled back.
type Expected = (&'static str, &'static str, &'static [&'static str], &'static [&'static str]);

const TABLES: [Expected; 4] = [
    ("line_items", "SELECT execution_context_id, state FROM line_items", &["CONFIRMED"], &["CANCELLED"]),
    ("checkout_orders", "SELECT execution_context_id, state FROM checkout_orders", &["COMPLETED"], &["FAILED"]),
    ("opt_ins", "SELECT execution_context_id, state FROM opt_ins", &["ACTIVE"], &["CANCELLED"]),
    // Cash is collected at the door.
    ("payment_groups", "SELECT execution_context_id, state FROM payment_groups", &["COMPLETED", "ACTIVE"], &["FAILED"]),
];

async fn tables(world: &World<'_>, statuses: &Statuses, report: &mut Report) -> Result<(), CampaignError> {
    for (table, select, of_completed, of_rolled_back) in TABLES {
        let mut rows = 0;
        for row in sqlx::query(select).fetch_all(world.stores.pool()).await? {
            let (id, state) = pair(&row)?;
            let Some(completed) = statuses.get(&id) else { continue };
            let expected = if *completed { of_completed } else { of_rolled_back };
            if !expected.contains(&state.as_str()) {
                report.findings.push(format!("{id}: completed {completed}, and {table} has {state}"));
            }
            rows += usize::from(*completed);
        }
        let completed = statuses.values().filter(|completed| **completed).count();
        if rows != completed {
            report.findings.push(format!("{completed} checkouts are completed, and {table} has {rows} rows of them"));
        }
    }
    Ok(())
}

fn pair(row: &AnyRow) -> Result<(String, String), sqlx::Error> {
    Ok((row.try_get(0)?, row.try_get(1)?))
}

/// Nothing is locked, unfinished, or left to a human.
async fn journal(world: &World<'_>, report: &mut Report) -> Result<(), CampaignError> {
    let engine = world.engine;
    for lock in engine.operator().locks(PAGE).await? {
        report.findings.push(format!("a lock is left: {lock:?}"));
    }
    for letter in engine.dead_letters(PAGE).await? {
        report.findings.push(format!("{} waits for a human: {}", letter.key, letter.error));
    }
    for event in engine.operator().dead_events(PAGE).await? {
        report.findings.push(format!("an event was not published: {event:?}"));
    }
    for (key, status) in unfinished(engine).await? {
        report.findings.push(format!("{key} is {status:?}"));
    }
    let late = ListFilter {
        definition: Some(checkout_workflows::initiate::late_payment::NAME.to_owned()),
        ..ListFilter::default()
    };
    report.late_payments = engine.list(&late, PAGE).await?.len();
    Ok(())
}

/// Sagas that have not ended, by key.
pub(super) async fn unfinished(engine: &Engine) -> Result<Vec<(String, SagaStatus)>, JournalError> {
    let mut unfinished = Vec::new();
    for status in [SagaStatus::Running, SagaStatus::Waiting, SagaStatus::NeedsAttention] {
        let filter = ListFilter { status: Some(status), ..ListFilter::default() };
        unfinished.extend(engine.list(&filter, PAGE).await?.into_iter().map(|saga| (saga.header.key, saga.status)));
    }
    Ok(unfinished)
}

/// What a client was told holds.
fn answers(world: &World<'_>, statuses: &Statuses, report: &mut Report) {
    for Answered { id, status, body, findings } in world.answered {
        report.findings.extend(findings.iter().cloned());
        let completed = statuses.get(id).copied();
        if status.is_success() {
            if body["executionContextId"] != id.as_str() {
                report.findings.push(format!("{id} was answered with another one's: {body}"));
            }
        } else if completed != Some(false) || *status == StatusCode::CONFLICT || *status == StatusCode::FORBIDDEN {
            report.findings.push(format!("{id}: completed {completed:?}, and the client was told {status}: {body}"));
        }
    }
    report.requests = world.checkouts.len();
    if world.answered.len() != world.checkouts.len() {
        let (asked, answered) = (world.checkouts.len(), world.answered.len());
        report.findings.push(format!("{asked} clients asked, and {answered} were answered"));
    }
}

#[cfg(test)]
mod tests {
    use checkout_workflows::Money;
    use checkout_workflows::initiate::store::{Amounts, NewExecutionContext, NewLineItem, NewRequirement, Upsert};
    use checkout_workflows::money::Currency;
    use saga_core::Timestamp;
    use saga_sqlite::SqliteJournal;
    use serde_json::json;

    use super::super::scenario::checkouts;
    use super::*;
    use crate::server::for_operators;

    fn new(id: &str) -> NewExecutionContext {
        NewExecutionContext {
            execution_context_id: id.to_owned(),
            task_name: "INITIATE_CHECKOUT".to_owned(),
            request: "{}".to_owned(),
            request_digest: "digest".to_owned(),
            reference_ids: Vec::new(),
            at: AT.to_utc(),
        }
    }

    /// In the middle of the story.
    const AT: Timestamp = Timestamp::from_micros(1_800_000_000_000_000);

    /// A checkout that is completed, and the row of its payment.
    async fn completed(stores: &Stores, id: &str) {
        stores.execution_contexts.open(&format!("{id}:open"), new(id)).await.unwrap();
        stores.execution_contexts.complete(&format!("{id}:done"), id, "{}".to_owned(), AT.to_utc()).await.unwrap();
        let requirement = NewRequirement {
            execution_context_id: id.to_owned(),
            checkout_order_id: "co".to_owned(),
            user_id: "user_1".to_owned(),
            merchant_reference: format!("pcr_{id}"),
            amount: Money::new(150_000, Currency::INR),
        };
        stores.requirements.create(&format!("{id}:pay"), requirement).await.unwrap();
    }

    #[tokio::test]
    async fn every_kind_of_damage_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("initiate.db");
        let journal = SqliteJournal::open(&file).await.unwrap();
        let url = format!("sqlite://{}", file.display());
        let stores = Stores::open(&url).await.unwrap();
        stores.migrate().await.unwrap();
        let engine = for_operators(Engine::builder(journal), &url).await.unwrap().client_only().open().await.unwrap();
        let checkouts = checkouts(4, 1);
        let [paid, open, rolled_back, _lost] = checkouts.as_slice() else { unreachable!("four were asked for") };
        completed(&stores, &paid.id).await;
        stores.execution_contexts.open("open", new(&open.id)).await.unwrap();
        stores.execution_contexts.open("undone", new(&rolled_back.id)).await.unwrap();
        stores.execution_contexts.undo_open("undone", "by", &rolled_back.id, AT.to_utc()).await.unwrap();
        let zero = Money::zero(Currency::INR);
        let item = NewLineItem {
            line_item_id: "li".to_owned(),
            execution_context_id: rolled_back.id.clone(),
            user_id: "user_1".to_owned(),
            payment_group_id: None,
            plan_id: "plan_789".to_owned(),
            slot_id: None,
            location: None,
            amounts: Amounts::new(zero, zero, zero, zero).unwrap(),
        };
        stores.line_items.upsert("li", Upsert { created: vec![item], updated: Vec::new() }).await.unwrap();
        let confirmed = |id: &str, nth: u32| Arrived {
            id: format!("{id}:{nth}"),
            topic: "line_items_confirmed".to_owned(),
            execution_context_id: id.to_owned(),
            idempotency_key: "key".to_owned(),
        };
        let arrived = [
            confirmed(&paid.id, 1),
            confirmed(&paid.id, 1),
            confirmed(&paid.id, 2),
            confirmed(&rolled_back.id, 1),
            confirmed("ctx_of_nobody", 1),
        ];
        let booked = Booked {
            net_minor: BTreeMap::from([(format!("pcr_{}", paid.id), 300_000), ("pcr_of_nobody".to_owned(), 7)]),
            refunds: 0,
            contradictions: vec!["taken twice".to_owned()],
        };
        let told = Answered {
            id: paid.id.clone(),
            status: StatusCode::PAYMENT_REQUIRED,
            body: json!({}),
            findings: vec!["was answered in two ways".to_owned()],
        };
        let answered = [told];
        let world = World {
            checkouts: &checkouts,
            answered: &answered,
            arrived: &arrived,
            booked: &booked,
            stores: &stores,
            engine: &engine,
        };
        let report = audit(&world, Report::default()).await.unwrap();
        let found = report.findings.join("\n");
        for damage in [
            "there is no trace of it",
            "is Some(Initialized), and its saga None",
            "and 2 line_items_confirmed",
            "completed false, and 1 line_items_confirmed",
            "completed true, and 0 line_items_updated",
            "an event line_items_confirmed of nobody",
            "the vendor has 300000 of 150000",
            "and its payment is",
            "the vendor has 7 for pcr_of_nobody",
            "taken twice",
            "and line_items has CREATED",
            "checkout_orders has 0 rows",
            "answered in two ways",
            "the client was told 402",
            "4 clients asked, and 1 were answered",
        ] {
            assert!(found.contains(damage), "{damage} was not found:\n{found}");
        }
        assert_eq!(report.event_copies, 1);
        engine.shutdown(std::time::Duration::from_secs(1)).await;
    }
}
