//! One run of a class: a server, a ledger, workers and clients; faults, then healing, then the checker.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use saga_core::journal::{End, SagaStatus};
use saga_core::machine::Record;
use saga_core::verify::{Invariant, Violation};
use saga_postgres::PostgresJournal;
use saga_testkit::postgres::{Cluster, TestDatabase};
use sqlx::postgres::PgConnectOptions;
use tempfile::TempDir;

use crate::checker::{Facts, LeaseFacts, check};
use crate::classes::{Class, Clock, Pooler};
use crate::error::{CampaignError, io};
use crate::gather::gather;
use crate::ledger::{Ledger, LedgerServer, Rates};
use crate::notes::{Client, Notes, secret};
use crate::proxy::{Knobs, Proxy, journal_commits};
use crate::report::{ClassReport, Progress};
use crate::sagas::Sagas;
use crate::simulation;
use crate::traffic::{Road, Traffic, connect};
use crate::workers::{Launch, Workers};

/// How many workers there are.
const WORKERS: usize = 4;
/// How long everything may take to end once the faults have stopped.
const HEALED_WITHIN: Duration = Duration::from_secs(120);

/// How long a client of a class may take to reach the journal.
const CLIENT_WITHIN: Duration = Duration::from_secs(30);

/// Among so many sagas, everything has to have happened for a run to mean something.
const MANY: usize = 1_500;

/// What a class does its faults to.
#[derive(Debug)]
pub struct Arena {
    /// The server.
    pub cluster: Cluster,
    /// The journal's database.
    pub database: TestDatabase,
    /// The workers.
    pub workers: Workers,
    /// What stands before the server, where the class wants it.
    pub proxy: Proxy,
    /// What pools transactions, where the class wants it.
    pub pooler: Option<Pooler>,
    /// The dice.
    pub random: fastrand::Rng,
    /// How often each fault has fired.
    pub fired: BTreeMap<&'static str, u64>,
    /// What is shown meanwhile.
    pub progress: Progress,
    /// What the class's own clients were told.
    pub notes: Notes,
    /// What the class saw that must not be.
    pub found: Vec<Violation>,
    /// Where clients go.
    pub road: Road,
    /// The participants' ledger.
    pub ledger: Ledger,
    /// The server's clock, where the class has a hand on it.
    pub clock: Option<Clock>,
    /// A directory of its own.
    pub dir: TempDir,
}

impl Arena {
    /// A fault has fired.
    pub fn fire(&mut self, fault: &'static str) {
        *self.fired.entry(fault).or_default() += 1;
        self.progress.fired(&self.fired);
    }

    /// How often it has.
    #[must_use]
    pub fn count(&self, fault: &str) -> u64 {
        self.fired.get(fault).copied().unwrap_or(0)
    }

    /// Waits for a time within these bounds, in milliseconds.
    pub async fn pause(&mut self, millis: std::ops::Range<u64>) {
        let wait = self.random.u64(millis);
        tokio::time::sleep(Duration::from_millis(wait)).await;
    }

    /// A client of the class's own.
    ///
    /// # Errors
    /// When it cannot reach the journal.
    pub async fn client(&mut self, prefix: String) -> Result<Client, CampaignError> {
        let sagas = Sagas::new(self.ledger)?;
        let until = Instant::now() + CLIENT_WITHIN;
        let engine = loop {
            match crate::traffic::engine(&self.road, &sagas).await {
                Ok(engine) => break engine,
                Err(error) if Instant::now() > until => return Err(error),
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        };
        let random = fastrand::Rng::with_seed(self.random.u64(..));
        Ok(Client { engine, sagas, random, prefix, card: secret(self.road.seed) })
    }

    /// Takes note of what the proxy has done.
    pub fn note_proxy(&mut self) {
        let counts = self.proxy.counts();
        for (fault, count) in [
            ("lost_commits", counts.lost()),
            ("lost_requests", counts.lost_requests),
            ("silent_connections", counts.silent),
            ("delayed_messages", counts.delayed),
            ("resets", counts.resets),
        ] {
            if count > 0 {
                self.fired.insert(fault, count);
            }
        }
        self.progress.fired(&self.fired);
    }
}

/// Runs the class once.
///
/// # Errors
/// When it could not be run. What it found is in the report.
pub async fn run(class: Class, seed: u64, scale: u64, limit: Duration) -> Result<ClassReport, CampaignError> {
    if class == Class::Simulation {
        return simulation::run(seed, simulation::SEEDS * scale);
    }
    let began = Instant::now();
    class.probe()?;
    let progress = Progress::new(class, seed);
    let mut world = World::new(class, seed, progress).await?;
    let injected = class.inject(&mut world.arena, scale, limit).await;
    world.arena.note_proxy();
    world.arena.progress.says("healing");
    let own = world.arena.notes.started.len();
    let notes = match injected {
        Ok(()) => world.heal().await?,
        Err(error) => return Err(error),
    };
    let healed = world.arena.fired.clone();
    let World { mut arena, ledger, direct, traffic } = world;
    // The clients' connections go with them, and what a pooler keeps open.
    drop((traffic, arena.pooler.take()));
    arena.progress.says("checking");
    let logs = arena.dir.path().join("logs");
    let mut facts = gather(&direct, Ledger::at(ledger.address()), ledger.book(), notes, &logs, &secret(seed)).await?;
    facts.first_jump = arena.clock.as_ref().and_then(Clock::first_jump);
    let mut violations = check(&facts);
    violations.append(&mut arena.found);
    let mut report = summary(class, seed, &facts, own, healed.clone());
    report.trivial.extend(class.unfired(scale, &healed));
    if !violations.is_empty() {
        report.evidence = Some(keep(class, seed, &facts, &violations, arena.dir)?);
    }
    report.violations = violations;
    report.seconds = began.elapsed().as_secs_f64();
    arena.progress.finish(&report);
    Ok(report)
}

struct World {
    arena: Arena,
    ledger: LedgerServer,
    traffic: Traffic,
    direct: String,
}

impl World {
    async fn new(class: Class, seed: u64, progress: Progress) -> Result<Self, CampaignError> {
        progress.says("starting");
        let clock = class.clock()?;
        let cluster = class.cluster(clock.as_ref()).await?;
        let database = cluster.database().await?;
        let direct = database.url().to_owned();
        PostgresJournal::connect(&direct).await?.close().await;
        let options: PgConnectOptions = direct.parse()?;
        let upstream = SocketAddr::from(([127, 0, 0, 1], options.get_port()));
        let proxy = Proxy::start(upstream, seed, journal_commits).await.map_err(io("starting the proxy"))?;
        let ledger = LedgerServer::start(Rates::default(), seed).await.map_err(io("starting the ledger"))?;
        let dir = tempfile::tempdir().map_err(io("making a directory"))?;
        let logs = dir.path().join("logs");
        std::fs::create_dir(&logs).map_err(io("making a directory for logs"))?;
        let pooler = class.pooler(upstream.port())?;
        let through = class.road(&direct, upstream.port(), proxy.address().port(), pooler.as_ref());
        let pooling = pooler.is_some();
        let launch = Launch {
            program: PathBuf::from(PROGRAM),
            database_url: through.clone(),
            ledger: ledger.address(),
            logs,
            pooling,
            environment: class.environment(),
        };
        let workers = Workers::start(launch, WORKERS)?;
        let road = Road { through, direct: direct.clone(), pooling, seed };
        let traffic = Traffic::start(&road, Ledger::at(ledger.address()));
        let random = fastrand::Rng::with_seed(seed);
        let (fired, notes, found, book) = (BTreeMap::new(), Notes::default(), Vec::new(), Ledger::at(ledger.address()));
        let arena = Arena {
            cluster,
            database,
            workers,
            proxy,
            pooler,
            random,
            fired,
            progress,
            notes,
            found,
            road,
            ledger: book,
            clock,
            dir,
        };
        Ok(Self { arena, ledger, traffic, direct })
    }

    /// No faults any more: everything has to end. What does not shows to the checker.
    async fn heal(&mut self) -> Result<(Notes, BTreeMap<i64, LeaseFacts>), CampaignError> {
        self.arena.proxy.set(Knobs::default());
        let ended = self.arena.workers.revive()?;
        if ended > 0 {
            // A worker outlives every outage of its journal.
            *self.arena.fired.entry("workers_gave_up").or_default() += ended;
        }
        let mut notes = self.traffic.stop().await?;
        notes.extend(std::mem::take(&mut self.arena.notes));
        let until = Instant::now() + HEALED_WITHIN;
        while Instant::now() < until && !self.is_over().await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let leases = self.traffic.leases().await;
        self.arena.workers.stop(Duration::from_secs(10)).await?;
        Ok((notes, leases))
    }

    /// Whether all that is left waits for a human. While the server does not answer it is not.
    async fn is_over(&self) -> bool {
        const OPEN: &str = "SELECT (SELECT count(*) FROM saga.live WHERE owner IS NOT NULL OR standing NOT IN (1, 4)) \
            + (SELECT count(*) FROM saga.outbox WHERE NOT dead)";
        let Ok(mut connection) = connect(&self.direct).await else { return false };
        sqlx::query_scalar::<_, i64>(OPEN).fetch_one(&mut connection).await.is_ok_and(|open| open == 0)
    }
}

/// This program, which is also the workers'; also when its file was replaced meanwhile by a newer build.
const PROGRAM: &str = "/proc/self/exe";

/// What happened, beside what is wrong.
/// `own` of the sagas are the class's, and not of all shapes.
fn summary(class: Class, seed: u64, facts: &Facts, own: usize, fired: BTreeMap<&'static str, u64>) -> ClassReport {
    let mut report = ClassReport::new(class, seed);
    report.fired = fired.into_iter().map(|(fault, count)| (fault.to_owned(), count)).collect();
    let mut seen = |what: &str, count: usize| {
        report.seen.insert(what.to_owned(), count as u64);
    };
    let with = |status: SagaStatus| facts.sagas.iter().filter(|saga| saga.status == status).count();
    let records = || facts.sagas.iter().flat_map(|saga| &saga.turns).flat_map(|turn| &turn.records);
    seen("sagas", facts.sagas.len());
    seen("completed", with(SagaStatus::Ended(End::Completed)));
    seen("rolled_back", with(SagaStatus::Ended(End::RolledBack)));
    seen("needs_attention", with(SagaStatus::NeedsAttention));
    seen("interrupted", records().filter(|record| matches!(record, Record::Interrupted { .. })).count());
    seen("crashed", records().filter(|record| matches!(record, Record::Interrupted { crashed: true, .. })).count());
    seen("probed", records().filter(|record| matches!(record, Record::Probed { .. })).count());
    seen("late_signals", records().filter(|record| matches!(record, Record::FollowedUp { .. })).count());
    seen("locked", records().filter(|record| matches!(record, Record::Locking { .. })).count());
    seen("events", facts.book.deliveries.len());
    seen("epochs", facts.leases.len());
    for (what, count) in [
        ("answers_lost", facts.book.faults[0]),
        ("calls_lost", facts.book.faults[1]),
        ("effects_late", facts.book.faults[2]),
        ("null_undos", facts.book.null_undos),
        ("late_refused", facts.book.late_refused),
        ("client_repeats", facts.notes.repeated),
    ] {
        report.seen.insert(what.to_owned(), count);
    }
    let enough = facts.sagas.len() >= MANY + own;
    let rare = ["effects_late", "null_undos", "late_refused", "late_signals"].into_iter().filter(|_| enough);
    for what in
        ["completed", "rolled_back", "probed", "answers_lost", "calls_lost", "locked", "events"].into_iter().chain(rare)
    {
        if report.seen.get(what).copied().unwrap_or(0) == 0 {
            report.trivial.push(format!("nothing was {what}"));
        }
    }
    report
}

/// Keeps what is needed to understand what went wrong: the histories of the sagas named, and the logs.
fn keep(
    class: Class,
    seed: u64,
    facts: &Facts,
    violations: &[Violation],
    dir: TempDir,
) -> Result<PathBuf, CampaignError> {
    let path = dir.keep();
    let mut text = format!("{} seed {seed}\n\n", class.id());
    for violation in violations {
        text.push_str(&format!("{violation}\n"));
    }
    let named = |saga: &&crate::checker::SagaFacts| {
        violations.iter().any(|violation| violation.saga == Some(saga.id) && violation.invariant != Invariant::Secrets)
    };
    for saga in facts.sagas.iter().filter(named) {
        text.push_str(&format!("\n{} {} {} {:?}\n", saga.id, saga.definition, saga.key, saga.status));
        for (nth, turn) in saga.turns.iter().enumerate() {
            text.push_str(&format!("  {nth} {} {:?} {:?}\n", turn.at, turn.epoch, turn.records));
        }
        for (key, entry) in facts.book.entries.iter().filter(|(_, entry)| entry.saga == Some(saga.id)) {
            text.push_str(&format!("  {key} {entry:?}\n"));
        }
    }
    std::fs::write(path.join("violations.txt"), text).map_err(io("writing what was found"))?;
    Ok(path)
}
