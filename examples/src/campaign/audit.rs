//! Looks at what is left: the tables, the journal, the vendor's books, the events, and what clients were told.

use std::collections::{BTreeMap, BTreeSet};

use checkout_workflows::initiate::store::{ExecutionStatus, Stores};
use reqwest::StatusCode;
use saga_core::Engine;
use saga_core::journal::{JournalError, ListFilter, SagaStatus};
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
    for checkout in world.checkouts {
        let id = &checkout.id;
        let Some(context) = world.stores.execution_contexts.get(id).await? else {
            report.findings.push(format!("{id} was initiated, and there is no trace of it"));
            continue;
        };
        let completed = match context.status {
            ExecutionStatus::Completed => true,
            ExecutionStatus::RolledBack => false,
            ExecutionStatus::Initialized => {
                report.findings.push(format!("{id} ({}) has not ended", checkout.scenario));
                continue;
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
    let known = |event: &&Arrived| !statuses.contains_key(&event.execution_context_id);
    for event in world.arrived.iter().filter(known) {
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
        let completed = statuses.get(&id).copied().unwrap_or(false);
        if net != if completed { amount } else { 0 } {
            let problem = format!("{id}: completed {completed}, {state}, and the vendor has {net} of {amount}");
            report.findings.push(problem);
        }
        let open = matches!(state.as_str(), "CREATED" | "PENDING");
        if completed != (state == "SUCCEEDED") || open {
            report.findings.push(format!("{id}: completed {completed}, and its payment is {state}"));
        }
        *paid.entry(id).or_insert(0_usize) += 1;
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
