//! The campaign from beginning to end.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use checkout_workflows::initiate::store::Stores;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use indicatif::{ProgressBar, ProgressStyle};
use saga_core::Engine;
use saga_core::journal::Journal;
use saga_postgres::PostgresJournal;
use saga_sqlite::SqliteJournal;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::CampaignError;
use super::audit::{World, audit, unfinished};
use super::events::{Sink, in_stream};
use super::report::Report;
use super::scenario::{Checkout, checkouts};
use super::server::{POLICIES, Places, Process, free_address};
use super::traffic::{Answered, Clients};
use crate::server::{PAYMENT_WEBHOOK, for_operators};
use crate::vendor::{StandIn, serve};

/// How long checkouts may take to end once nothing is killed any more.
const SETTLE_MAX: Duration = Duration::from_secs(240);
/// Between two kills, in milliseconds: from the midst of a start to some hundred steps.
const BETWEEN_KILLS_MS: std::ops::Range<u64> = 40..900;
/// How often it is looked whether all is done.
const LOOK_PAUSE: Duration = Duration::from_millis(200);

/// What the campaign is told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How many checkouts.
    pub requests: usize,
    /// How often the server is killed.
    pub kills: usize,
    /// The seed of the payments and of the moments at which the server is killed.
    pub seed: u64,
    /// An empty Postgres database, instead of a SQLite file.
    pub database_url: Option<String>,
    /// A NATS server with JetStream and no stream yet, instead of HTTP.
    pub nats_url: Option<String>,
}

/// Runs the campaign in this directory.
///
/// # Errors
/// When something does not start, or clients get no answer. What the audit finds is in the report.
pub async fn run(settings: &Settings, dir: &Path) -> Result<Report, CampaignError> {
    let began = Instant::now();
    let address = free_address()?;
    let database_url =
        settings.database_url.clone().unwrap_or_else(|| format!("sqlite://{}", dir.join("initiate.db").display()));
    let sink = Sink::default();
    let events = match &settings.nats_url {
        Some(url) => ["--nats-url".to_owned(), url.clone()],
        None => ["--events-url".to_owned(), sink.serve().await?],
    };
    let policies = dir.join("policies.json");
    std::fs::write(&policies, POLICIES)?;
    let (vendor_url, log) = (String::new(), dir.join("server.log"));
    let mut places = Places { address, database_url, vendor_url, events, log, policies };
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    places.vendor_url = format!("http://{}", listener.local_addr()?);
    let secret = places.config()?.webhook_secret()?;
    let stand_in = StandIn::new(secret.expose().as_bytes(), Some(format!("{}{PAYMENT_WEBHOOK}", places.url())))?;
    tokio::spawn(serve(listener, stand_in.clone()));

    let clients = Clients::new(&places.url(), places.config()?)?;
    let checkouts = checkouts(settings.requests, settings.seed);
    // The first start makes the tables.
    let mut server = Process::start(&places)?;
    server.ready(&places).await?;
    let killed = kill_and_ask(settings, &places, &mut server, &clients, &checkouts).await?;
    server.ready(&places).await?;
    let answered = answers(killed.asked).await?;
    let (engine, stores) = look(&places).await?;
    settle(&engine, &stand_in, settings.requests).await?;
    // Events that are under way are published before it ends.
    server.stop().await?;
    let arrived = match &settings.nats_url {
        Some(url) => in_stream(url).await?,
        None => sink.arrived(),
    };
    let report =
        Report { kills: killed.kills, sent_again: clients.sent_again.load(Ordering::Relaxed), ..Report::default() };
    let booked = stand_in.booked();
    let world = World {
        checkouts: &checkouts,
        answered: &answered,
        arrived: &arrived,
        booked: &booked,
        stores: &stores,
        engine: &engine,
    };
    let mut report = audit(&world, report).await?;
    report.seconds = began.elapsed().as_secs_f64();
    engine.shutdown(Duration::from_secs(1)).await;
    Ok(report)
}

type Asked = Vec<JoinHandle<Result<Answered, CampaignError>>>;

struct Killed {
    kills: usize,
    asked: Asked,
}

/// Lets clients ask, some between any two kills, and kills the server at random moments.
async fn kill_and_ask(
    settings: &Settings,
    places: &Places,
    server: &mut Process,
    clients: &Clients,
    checkouts: &[Checkout],
) -> Result<Killed, CampaignError> {
    let bar = bar(settings.kills, "kills")?;
    let mut rng = fastrand::Rng::with_seed(settings.seed);
    let (mut asked, mut waiting) = (Asked::new(), checkouts.iter());
    for kills in 0..settings.kills {
        let share = (checkouts.len() - asked.len()).div_ceil(settings.kills - kills);
        asked.extend(waiting.by_ref().take(share).map(|checkout| tokio::spawn(clients.clone().run(checkout.clone()))));
        tokio::time::sleep(Duration::from_millis(rng.u64(BETWEEN_KILLS_MS))).await;
        server.kill().await?;
        *server = Process::start(places)?;
        bar.inc(1);
        bar.set_message(format!("{} clients", asked.len()));
    }
    asked.extend(waiting.map(|checkout| tokio::spawn(clients.clone().run(checkout.clone()))));
    bar.finish_and_clear();
    Ok(Killed { kills: settings.kills, asked })
}

async fn answers(asked: Asked) -> Result<Vec<Answered>, CampaignError> {
    let bar = bar(asked.len(), "answers")?;
    let mut asked: FuturesUnordered<_> = asked.into_iter().collect();
    let mut answered = Vec::new();
    while let Some(answer) = asked.next().await {
        answered.push(answer??);
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(answered)
}

/// Waits until all checkouts have ended, and all webhooks were posted and seen to. What has not by then, the
/// audit finds.
async fn settle(engine: &Engine, stand_in: &StandIn, checkouts: usize) -> Result<(), CampaignError> {
    let bar = bar(checkouts, "ended")?;
    let until = Instant::now() + SETTLE_MAX;
    let mut quiet = 0;
    // Twice in a row: what one look did not see, such as a webhook between two states, the next one does.
    while quiet < 2 && Instant::now() < until {
        let (left, webhooks) = (unfinished(engine).await?.len(), stand_in.webhooks_pending());
        bar.set_position(checkouts.saturating_sub(left) as u64);
        bar.set_message(format!("{webhooks} webhooks to come"));
        quiet = if left == 0 && webhooks == 0 { quiet + 1 } else { 0 };
        tokio::time::sleep(LOOK_PAUSE).await;
    }
    bar.finish_and_clear();
    Ok(())
}

/// A look at the journal and the tables, from outside of the server.
async fn look(places: &Places) -> Result<(Engine, Stores), CampaignError> {
    let url = &places.database_url;
    let journal: Arc<dyn Journal> = match url.strip_prefix("sqlite://") {
        Some(path) => Arc::new(SqliteJournal::open(path).await?),
        None => Arc::new(PostgresJournal::connect(url).await?),
    };
    let engine = for_operators(Engine::builder_shared(journal), url).await?.client_only().open().await?;
    Ok((engine, Stores::open(url).await?))
}

fn bar(length: usize, what: &str) -> Result<ProgressBar, CampaignError> {
    let bar = ProgressBar::new(length as u64);
    bar.set_style(ProgressStyle::with_template(&format!("{{bar:40}} {{pos}}/{{len}} {what}, {{msg}}"))?);
    Ok(bar)
}
