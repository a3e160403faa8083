//! Clients that start sagas until they are told to stop, no faster than the workers can follow.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use saga_core::Engine;
use saga_postgres::PostgresBuilder;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, PgConnection};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::checker::LeaseFacts;
use crate::error::CampaignError;
use crate::ledger::Ledger;
use crate::notes::{Client, Notes, secret};
use crate::sagas::{Holds, Sagas};

/// How many sagas may be open before clients wait.
const OPEN_MAX: i64 = 300;
/// How many clients there are.
const CLIENTS: u64 = 3;
/// How long a client waits between two orders.
const PAUSE: Duration = Duration::from_millis(12);

/// Where the clients go.
#[derive(Clone, Debug)]
pub struct Road {
    /// The journal, as clients reach it.
    pub through: String,
    /// The journal, past all faults.
    pub direct: String,
    /// Whether a proxy pools transactions.
    pub pooling: bool,
    /// The campaign's seed.
    pub seed: u64,
}

/// Clients at work.
#[derive(Debug)]
pub struct Traffic {
    stop: watch::Sender<bool>,
    clients: JoinSet<Result<Notes, CampaignError>>,
    watching: JoinSet<()>,
    leases: Leases,
}

/// All leases that were ever seen: the journal forgets them.
type Leases = Arc<Mutex<BTreeMap<i64, LeaseFacts>>>;

impl Traffic {
    /// Starts the clients.
    #[must_use]
    pub fn start(road: &Road, ledger: Ledger) -> Self {
        let (stop, open) = (watch::Sender::new(false), watch::Sender::new(0));
        let (mut clients, mut watching) = (JoinSet::new(), JoinSet::new());
        for nth in 0..CLIENTS {
            let (road, stopped, open) = (road.clone(), stop.subscribe(), open.subscribe());
            clients.spawn(async move { orders(&road, ledger, nth, stopped, open).await });
        }
        let (direct, leases) = (road.direct.clone(), Leases::default());
        let seen = leases.clone();
        watching.spawn(async move { watch_server(&direct, &open, &seen).await });
        Self { stop, clients, watching, leases }
    }

    /// Lets each client finish its order.
    ///
    /// # Errors
    /// When a client could not work.
    pub async fn stop(&mut self) -> Result<Notes, CampaignError> {
        self.stop.send_replace(true);
        let mut all = Notes::default();
        while let Some(notes) = self.clients.join_next().await {
            all.extend(notes??);
        }
        Ok(all)
    }

    /// The leases that were seen, until now.
    pub async fn leases(&mut self) -> BTreeMap<i64, LeaseFacts> {
        self.watching.shutdown().await;
        self.leases.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn orders(
    road: &Road,
    ledger: Ledger,
    nth: u64,
    stop: watch::Receiver<bool>,
    mut open: watch::Receiver<i64>,
) -> Result<Notes, CampaignError> {
    let sagas = Sagas::new(ledger)?;
    let engine = loop {
        match engine(road, &sagas).await {
            Ok(engine) => break engine,
            Err(error) if *stop.borrow() => return Err(error),
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    };
    let random = fastrand::Rng::with_seed(road.seed ^ (nth << 56));
    let (prefix, card) = (format!("c{nth}"), secret(road.seed));
    let (mut client, mut notes) = (Client { engine, sagas, random, prefix, card }, Notes::default());
    let mut number = 0;
    while !*stop.borrow() {
        if *open.borrow_and_update() > OPEN_MAX {
            tokio::time::sleep(PAUSE).await;
            continue;
        }
        number += 1;
        client.order(number, &mut notes).await;
        tokio::time::sleep(PAUSE).await;
    }
    Ok(notes)
}

pub(crate) async fn engine(road: &Road, sagas: &Sagas) -> Result<Engine, CampaignError> {
    let journal = PostgresBuilder::from_url(&road.through)?.migrate(false).transaction_pooling(road.pooling);
    let journal = journal.listen(false).call_timeout(Duration::from_secs(2)).open().await?;
    let engine = sagas.register(Engine::builder(journal).client_only(), Holds::Both);
    Ok(engine.start_timeout(Duration::from_secs(2)).open().await?)
}

/// Keeps count of the sagas that are open, and of leases, as far as the server answers.
async fn watch_server(direct: &str, open: &watch::Sender<i64>, leases: &Leases) {
    const OPEN: &str = "SELECT count(*) FROM saga.live WHERE standing <> 1";
    const LEASES: &str = "SELECT epoch, worker, (extract(epoch FROM fenced_at) * 1000000)::bigint FROM saga.lease";
    loop {
        let Ok(mut connection) = connect(direct).await else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        while let Ok(count) = sqlx::query_scalar(OPEN).fetch_one(&mut connection).await {
            open.send_replace(count);
            let seen: Result<Vec<(i64, String, Option<i64>)>, _> =
                sqlx::query_as(LEASES).fetch_all(&mut connection).await;
            note(leases, seen.unwrap_or_default());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

fn note(leases: &Leases, seen: Vec<(i64, String, Option<i64>)>) {
    let seen = seen.into_iter().map(|(epoch, worker, fenced_at)| (epoch, LeaseFacts { worker, fenced_at }));
    leases.lock().unwrap_or_else(PoisonError::into_inner).extend(seen);
}

/// A connection of the campaign's own, that is told from the workers'.
///
/// # Errors
/// When the server does not answer.
pub(crate) async fn connect(url: &str) -> Result<PgConnection, sqlx::Error> {
    let options: PgConnectOptions = url.parse()?;
    options.application_name("campaign").disable_statement_logging().connect().await
}
