//! What a worker must learn when the answer to a call of the journal was lost.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::net::SocketAddr;
use std::time::Duration;

use campaigns::proxy::{Proxy, journal_commits};
use saga_core::journal::{Journal as _, NewSaga};
use saga_core::{Definition, Digest, Engine, SagaId, SagaOutcome, step_fn};
use saga_postgres::PostgresJournal;
use saga_testkit::postgres::Cluster;
use sqlx::postgres::PgConnectOptions;

const TTL: Duration = Duration::from_secs(60);

/// A journal through a proxy that loses what it is told to, of what the filter names; and the same one directly.
async fn world(commits: fn(&str) -> Option<&'static str>) -> (Proxy, PostgresJournal, PostgresJournal) {
    let database = Cluster::shared().await.unwrap().database().await.unwrap();
    let options: PgConnectOptions = database.url().parse().unwrap();
    let upstream: SocketAddr = format!("127.0.0.1:{}", options.get_port()).parse().unwrap();
    let proxy = Proxy::start(upstream, 1, commits).await.unwrap();
    let through = options.clone().host("127.0.0.1").port(proxy.address().port());
    let direct = PostgresJournal::from_options(options).await.unwrap();
    (proxy, PostgresJournal::from_options(through).await.unwrap(), direct)
}

fn claims(sql: &str) -> Option<&'static str> {
    journal_commits(sql).filter(|kind| *kind == "claim")
}

fn new_saga(nth: i64) -> NewSaga {
    let (definition, key, body) = ("d".to_owned(), nth.to_string(), "[]".to_owned());
    NewSaga { id: SagaId::new(), definition, version: 1, key, input: Digest::of_text(""), body, nonce: nth }
}

#[tokio::test]
async fn a_claim_whose_answer_was_lost_is_not_answered_by_another_claim() {
    let (proxy, journal, _) = world(claims).await;
    let (lease, _) = journal.open_lease("w", TTL).await.unwrap();
    journal.start(None, &[new_saga(1), new_saga(2), new_saga(3)]).await.unwrap();
    let definitions = [("d".to_owned(), 1)];
    // From here on the connection has been used before.
    assert_eq!(journal.claim(lease, &definitions, 1).await.unwrap().sagas.len(), 1);
    proxy.cut_next(1);
    let lost = journal.claim(lease, &definitions, 1).await;
    assert_eq!((proxy.counts().lost(), journal.owned(lease).await.unwrap().len()), (1, 2));
    // Whoever is not told that an answer was lost never asks what it owns.
    assert!(lost.is_err_and(|error| error.is_unavailable()));
}

#[tokio::test]
async fn sagas_whose_claim_was_not_answered_are_run() {
    let (proxy, journal, direct) = world(claims).await;
    let definition = Definition::build("d", 1, |saga, n| {
        let same = saga.query("same", step_fn(async |_, n: i64| Ok(n)), n);
        saga.returns(same)
    })
    .unwrap();
    let engine = Engine::builder(journal).register(&definition).poll_interval(Duration::from_millis(10));
    let engine = engine.open().await.unwrap();
    let client = Engine::builder(direct).register(&definition).client_only();
    let client = client.open().await.unwrap();
    for n in 0..20 {
        proxy.cut_next(1);
        let saga = client.start(&definition, &n.to_string(), n).await.unwrap();
        let outcome = tokio::time::timeout(Duration::from_secs(20), saga.outcome()).await;
        assert_eq!(outcome.expect("the saga is run").unwrap(), SagaOutcome::Completed(n));
    }
    assert!(proxy.counts().lost() >= 10, "{:?}", proxy.counts());
    engine.shutdown(Duration::from_secs(1)).await;
}
