//! The campaign in small: whatever the server is killed in, every checkout ends, and the books are right.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::process::{Output, Stdio};
use std::time::Duration;

use saga_testkit::nats::NatsServer;
use saga_testkit::postgres::Cluster;
use tokio::process::Command;

async fn campaign(flags: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_initiate-campaign"));
    command.args(["--requests", "42", "--kills", "5"]).args(flags).stdin(Stdio::null()).kill_on_drop(true);
    tokio::time::timeout(Duration::from_secs(300), command.output()).await.unwrap().unwrap()
}

fn is_clean(output: &Output) {
    let (told, wrong) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{told}\n{wrong}");
    assert!(told.contains("| checkouts               | 42    |"), "{told}");
}

#[tokio::test]
async fn every_checkout_ends_however_often_the_server_is_killed_on_sqlite() {
    is_clean(&campaign(&["--seed", "7"]).await);
}

#[tokio::test]
async fn every_checkout_ends_however_often_the_server_is_killed_on_postgres_with_nats() {
    let database = Cluster::shared().await.unwrap().database().await.unwrap();
    // Its own: the stream has to be new.
    let nats = NatsServer::start().await.unwrap();
    is_clean(&campaign(&["--seed", "8", "--database-url", database.url(), "--nats-url", &nats.url()]).await);
}
