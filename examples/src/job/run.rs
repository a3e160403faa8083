//! The job from beginning to end.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use checkout_workflows::shop::{NewCheckout, Shop};
use checkout_workflows::{ConfirmCheckout, Confirmation};
use comfy_table::Table;
use comfy_table::presets::ASCII_MARKDOWN;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use indicatif::{ProgressBar, ProgressStyle};
use saga_core::journal::DeadLetter;
use saga_core::{Definition, Engine, SagaHandle, SagaOutcome};
use serde::Serialize;

use super::JobError;
use super::audit::{World, audit, excused, read_shop};
use super::carts::{self, Expected};
use super::processes::{self, Process};
use super::worker::Places;
use crate::gateway::AuthorizationRow;

/// What the job is told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// A file of carts, instead of those that come with the job.
    pub carts: Option<PathBuf>,
    /// How many checkouts.
    pub checkouts: usize,
    /// How often a worker is killed.
    pub kills: usize,
    /// How many workers there are at a time.
    pub workers: usize,
    /// The seed of the gateway's random faults.
    pub seed: u64,
    /// The share of gateway calls that lose their answer, and of those that get 503.
    pub fault_rate: f64,
    /// A Postgres database, instead of a SQLite file of its own.
    pub database_url: Option<String>,
}

/// How it went.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// Checkouts by their end.
    pub completed: usize,
    /// Undone.
    pub rolled_back: usize,
    /// Undone, though the cart was good: the gateway's faults outlasted the attempts.
    pub turned_by_faults: usize,
    /// Waiting for a human.
    pub dead_lettered: usize,
    /// Workers killed.
    pub kills: usize,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// Captured and not paid back, in minor units.
    pub captured_minor: i64,
    /// Dead letters: key, step and error.
    pub dead_letters: Vec<String>,
    /// What the audit found.
    pub findings: Vec<String>,
}

/// Runs the job in this directory.
///
/// # Errors
/// When the directory holds an earlier run, when something does not start, or does not end in time.
pub async fn run(settings: &Settings, dir: &Path) -> Result<Report, JobError> {
    let began = Instant::now();
    let (ledger, shop) = (dir.join("ledger.db"), dir.join("shop.db"));
    for file in [&ledger, &shop] {
        if file.exists() {
            // The gateway's books of one run and the checkouts of another would not agree.
            return Err(format!("{} is from an earlier run: name an empty directory", file.display()).into());
        }
    }
    let (_gateway, gateway_url) = processes::gateway(&ledger, settings.fault_rate, settings.seed).await?;
    let database_url = settings.database_url.clone().unwrap_or_else(|| format!("sqlite://{}", shop.display()));
    let places = Places { database_url, gateway_url };
    let (shop, expected, points) = seed(settings, &places).await?;
    let (engine, definition) = places.engine().await?;
    let engine = engine.client_only().open().await?;
    let mut workers = Workers::start(&places, settings.workers.max(1))?;
    let mut handles = Vec::new();
    for session in expected.keys() {
        handles.push(confirm(&engine, &definition, session).await?);
    }
    let outcomes = outcomes(&handles, &mut workers, settings.kills).await?;
    workers.stop().await?;
    let began_with = Began { expected: &expected, points };
    let report = Report { seconds: began.elapsed().as_secs_f64(), kills: workers.kills, ..Report::default() };
    let report = check(report, &engine, &shop, &places, &began_with, &outcomes).await?;
    engine.shutdown(Duration::from_secs(1)).await;
    Ok(report)
}

/// Fills the shelves and the carts, and says how each checkout is expected to end.
async fn seed(settings: &Settings, places: &Places) -> Result<(Shop, BTreeMap<String, Expected>, i64), JobError> {
    let templates = carts::read(settings.carts.as_deref())?;
    if let Some(path) = places.database_url.strip_prefix("sqlite://") {
        std::fs::File::create(path)?;
    }
    let shop = Shop::connect(&places.database_url).await?;
    shop.migrate().await?;
    let (mut expected, mut points) = (BTreeMap::new(), 0);
    let mut checkouts: Vec<NewCheckout> = Vec::new();
    for (nth, template) in (0..settings.checkouts).zip(templates.iter().cycle()) {
        let checkout = template.checkout(nth)?;
        expected.insert(checkout.checkout.checkout_session_id.clone(), template.expect);
        checkouts.push(checkout);
    }
    for ((sku, warehouse), quantity) in carts::stock_for(&checkouts) {
        shop.insert_stock(&sku, &warehouse, quantity).await?;
    }
    for checkout in checkouts {
        // As many points as the carts are to use: none may be left over, and none given twice.
        points += checkout.checkout.loyalty_points_to_use;
        shop.credit_points(&checkout.checkout.customer_id, checkout.checkout.loyalty_points_to_use).await?;
        shop.insert_checkout(checkout).await?;
    }
    Ok((shop, expected, points))
}

/// Starts a checkout, and every tenth one twice: the customer clicked again.
async fn confirm(
    engine: &Engine,
    definition: &Definition<ConfirmCheckout, Confirmation>,
    session: &str,
) -> Result<(String, SagaHandle<Confirmation>), JobError> {
    let request = ConfirmCheckout { checkout_session_id: session.to_owned() };
    let handle = engine.start(definition, session, request.clone()).await?;
    if session.ends_with('0') {
        let again = engine.start(definition, session, request).await?;
        if again.id() != handle.id() {
            return Err(format!("{session} was confirmed twice").into());
        }
    }
    Ok((session.to_owned(), handle))
}

type Outcomes = BTreeMap<String, SagaOutcome<Confirmation>>;

/// Waits for all checkouts to end, and kills workers on the way.
async fn outcomes(
    handles: &[(String, SagaHandle<Confirmation>)],
    workers: &mut Workers<'_>,
    kills: usize,
) -> Result<Outcomes, JobError> {
    let bar = ProgressBar::new(handles.len() as u64);
    bar.set_style(ProgressStyle::with_template("{bar:40} {pos}/{len} checkouts, {msg}")?);
    let mut waiting: FuturesUnordered<_> =
        handles.iter().map(async |(session, handle)| (session.clone(), handle.outcome().await)).collect();
    let mut outcomes = Outcomes::new();
    while let Some((session, outcome)) = waiting.next().await {
        outcomes.insert(session, outcome?);
        bar.inc(1);
        // Spread over the whole run: the last kill comes while some are still under way.
        if workers.kills < kills && outcomes.len() * (kills + 1) >= handles.len() * (workers.kills + 1) {
            workers.kill_one().await?;
        }
        bar.set_message(format!("{} workers killed", workers.kills));
    }
    bar.finish_and_clear();
    Ok(outcomes)
}

/// The worker processes.
struct Workers<'p> {
    places: &'p Places,
    running: Vec<Process>,
    kills: usize,
}

impl<'p> Workers<'p> {
    fn start(places: &'p Places, count: usize) -> Result<Self, JobError> {
        let running = (1..=count).map(|nth| processes::worker(places, &format!("worker-{nth}")));
        Ok(Self { places, running: running.collect::<Result<_, _>>()?, kills: 0 })
    }

    /// Kills one, and starts another in its place.
    async fn kill_one(&mut self) -> Result<(), JobError> {
        self.kills += 1;
        let nth = self.kills % self.running.len();
        let fresh = processes::worker(self.places, &format!("worker-{}-after-{}", nth + 1, self.kills))?;
        std::mem::replace(&mut self.running[nth], fresh).kill().await
    }

    async fn stop(&mut self) -> Result<(), JobError> {
        for worker in self.running.drain(..) {
            worker.stop().await?;
        }
        Ok(())
    }
}

/// What the world was like when the job began.
struct Began<'e> {
    expected: &'e BTreeMap<String, Expected>,
    /// Loyalty points, over all customers.
    points: i64,
}

/// Counts, and audits from the outside.
async fn check(
    mut report: Report,
    engine: &Engine,
    shop: &Shop,
    places: &Places,
    began: &Began<'_>,
    outcomes: &Outcomes,
) -> Result<Report, JobError> {
    let expected = began.expected;
    let letters = engine.dead_letters(10_000).await?;
    report.dead_letters = letters.iter().map(describe).collect();
    for (session, expected) in expected {
        let ended = match outcomes.get(session) {
            Some(SagaOutcome::Completed(_)) => Expected::Completed,
            Some(SagaOutcome::RolledBack(_)) => Expected::RolledBack,
            Some(SagaOutcome::NeedsAttention(_)) => Expected::DeadLetter,
            None => return Err(format!("{session} has no outcome").into()),
        };
        match ended {
            Expected::Completed => report.completed += 1,
            Expected::RolledBack => report.rolled_back += 1,
            Expected::DeadLetter => report.dead_lettered += 1,
        }
        // Faults and kills may turn a good checkout back; nothing may make one succeed that must fail.
        if ended == Expected::Completed && *expected != Expected::Completed {
            report.findings.push(format!("{session} completed, and was expected to end as {expected:?}"));
        }
        // However patient the gateway's faults make it: what is owed is undone, unless it was said to fail.
        if ended == Expected::DeadLetter && *expected != Expected::DeadLetter {
            report.findings.push(format!("{session} waits for a human, and was expected to end as {expected:?}"));
        }
        report.turned_by_faults += usize::from(ended == Expected::RolledBack && *expected == Expected::Completed);
    }
    let rows: Vec<AuthorizationRow> = reqwest::get(format!("{}/ledger", places.gateway_url)).await?.json().await?;
    report.captured_minor = rows.iter().map(|row| row.captured - row.refunded).sum();
    let mut world =
        World { authorizations: rows, excused: excused(&letters), points: (began.points, 0, 0), ..World::default() };
    read_shop(shop, &mut world).await?;
    report.findings.extend(audit(&world));
    if outcomes.len() != expected.len() {
        report.findings.push(format!("{} checkouts and {} outcomes", expected.len(), outcomes.len()));
    }
    Ok(report)
}

fn describe(letter: &DeadLetter) -> String {
    let step = letter.step.as_ref().map_or("the saga", |step| step.as_str());
    format!(
        "{}: {} {} ({}, {} attempts): {}",
        letter.key, letter.op, step, letter.reason, letter.attempts, letter.error
    )
}

/// The outcome as a table.
#[must_use]
pub fn table(report: &Report) -> String {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN);
    table.set_header(["outcome", "count"]);
    let rows = [
        ("completed", report.completed.to_string()),
        ("rolled back", report.rolled_back.to_string()),
        ("of these only because of faults", report.turned_by_faults.to_string()),
        ("dead letters", report.dead_lettered.to_string()),
        ("workers killed", report.kills.to_string()),
        ("captured, minor units", report.captured_minor.to_string()),
        ("seconds", format!("{:.1}", report.seconds)),
        ("audit findings", report.findings.len().to_string()),
    ];
    for (name, count) in rows {
        table.add_row([name.to_owned(), count]);
    }
    table.to_string()
}
