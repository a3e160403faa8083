//! The cost of what workers do all the time follows what is live, and not what is stored: on full tables every
//! statement of the hot path finds its rows by an index, and by the one that is meant for it.
//!
//! The plans are those of the journal's own calls, statements within functions included, as `auto_explain` tells them.

#![allow(clippy::unwrap_used, reason = "tests")]

mod calls;
mod plan;
mod tables;

use std::collections::{BTreeMap, BTreeSet};

use saga_core::journal::Lease;
use saga_postgres::{PostgresBuilder, PostgresJournal};
use saga_testkit::postgres::Cluster;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, PgConnection};

use plan::{Heard, Scan};

/// The plans that are made for the very values of a call, and those that serve all values: a connection goes from
/// the first to the second by itself.
const CACHES: [&str; 2] = ["force_custom_plan", "force_generic_plan"];

async fn journal(url: &str, cache: &str) -> PostgresJournal {
    let explained = [
        ("session_preload_libraries", "auto_explain"),
        ("auto_explain.log_min_duration", "0"),
        ("auto_explain.log_nested_statements", "on"),
        ("auto_explain.log_format", "json"),
        ("client_min_messages", "log"),
        ("plan_cache_mode", cache),
    ];
    let options = url.parse::<PgConnectOptions>().unwrap().options(explained);
    PostgresBuilder::from_options(options).listen(false).open().await.unwrap()
}

/// How the calls find their rows, one line for each.
async fn scans_of_all_calls(heard: &Heard, url: &str, lease: Lease, label: &str) -> String {
    let mut scans: BTreeMap<&'static str, BTreeSet<Scan>> = BTreeMap::new();
    for cache in CACHES {
        let journal = journal(url, cache).await;
        heard.take();
        let round = format!("{label}-{cache}");
        calls::all(&journal, lease, &round, &mut |call| scans.entry(call).or_default().extend(heard.take())).await;
    }
    let looking = scans.into_iter().filter(|(_, scans)| !scans.is_empty());
    let told: Vec<String> = looking
        .map(|(call, scans)| {
            let scans: Vec<String> = scans.iter().map(ToString::to_string).collect();
            format!("{call}: {}", scans.join(", "))
        })
        .collect();
    told.join("\n")
}

/// A journal that was empty for a night has had its tables vacuumed, and the planner takes them for empty; what it plans
/// then it keeps while they fill. To go through all that is live to find a batch's sagas in it looks cheap then.
#[tokio::test]
async fn every_hot_statement_goes_by_the_index_that_is_meant_for_it_on_full_tables_even_if_they_are_taken_for_empty() {
    let heard = Heard::listen();
    let cluster = Cluster::start_private().await.unwrap();
    let database = cluster.database().await.unwrap();
    let lease = tables::fill(database.url()).await;
    let on_full = scans_of_all_calls(&heard, database.url(), lease, "full").await;
    // What is gone through as a whole are partial indexes: messages and grants that are unread, letters that are open.
    insta::assert_snapshot!(on_full, @"
    append: live_pkey, turn_pkey
    append again: live_pkey, turn_pkey
    append and ask for locks: live_pkey, lock_line, lock_saga, saga_definition_key_key, turn_pkey
    append and end: live_pkey, lock_saga, message_unread, saga_pkey, turn_pkey, lock_saga (the first), message_unread (the first)
    append and give up locks: live_pkey, lock_line, lock_saga, saga_definition_key_key, turn_pkey
    append and open a dead letter: live_pkey, saga_definition_key_key, turn_pkey
    append and park: live_pkey, lock_granted, message_unread, saga_pkey, turn_pkey
    append and read a message: live_pkey, lock_saga, message_unread, saga_definition_key_key, saga_pkey, turn_pkey
    append and send: live_pkey, saga_definition_key_key, turn_pkey
    append and start another: live_pkey, saga_definition_key_key, turn_pkey
    append with events: live_pkey, turn_pkey
    claim: live_due, live_owner, live_pkey, saga_pkey
    claim one: live_pkey, saga_pkey, turn_pkey
    expired: ended_pkey
    fence: live_owner
    find: live_pkey, saga_definition_key_key, turn_pkey
    forget: dead_letter_pkey, ended_pkey, message_pkey, saga_definition_key_key, saga_pkey, turn_pkey, message_unread (all of it)
    inbox: live_pkey, saga_definition_key_key, lock_granted (all of it), message_unread (all of it)
    load: saga_pkey, turn_pkey
    outbox: outbox_pkey, outbox_relay, outbox_relay (the first)
    owned: live_owner, saga_pkey
    send: live_pkey, message_pkey, saga_definition_key_key
    settle events: outbox_event
    start again: saga_definition_key_key, saga_pkey
    summary: live_pkey, saga_pkey, turn_pkey
    unalerted dead letters: saga_pkey, dead_letter_oldest (all of it)
    ");
    tables::take_for_empty(database.url()).await;
    let taken_for_empty = scans_of_all_calls(&heard, database.url(), lease, "empty").await;
    assert_eq!(taken_for_empty, on_full, "plans go by what was in the tables when they were made");
}

/// With short arrays, plans for the very values of a call look cheaper than those for all: then every call with one
/// turn plans all its statements anew, which takes more than everything else that it does.
#[tokio::test]
async fn functions_of_the_hot_path_keep_their_plans_and_none_is_compiled() {
    let database = Cluster::shared().await.unwrap().database().await.unwrap();
    PostgresJournal::connect(database.url()).await.unwrap();
    let mut connection = PgConnection::connect(database.url()).await.unwrap();
    let anew = sqlx::query_scalar::<_, String>(
        "SELECT proname::text FROM pg_proc WHERE pronamespace = 'saga'::regnamespace \
         AND 'enable_hashjoin=off' = ANY (proconfig) AND 'plan_cache_mode=force_generic_plan' <> ALL (proconfig) ORDER BY 1",
    );
    assert_eq!(anew.fetch_all(&mut connection).await.unwrap(), [""; 0]);
    let by_bitmaps = sqlx::query_scalar::<_, String>(
        "SELECT proname::text FROM pg_proc WHERE pronamespace = 'saga'::regnamespace \
         AND 'enable_hashjoin=off' = ANY (proconfig) AND 'enable_bitmapscan=off' <> ALL (proconfig) ORDER BY 1",
    );
    assert_eq!(by_bitmaps.fetch_all(&mut connection).await.unwrap(), [""; 0]);
    // A table that can only be scanned, where scans are switched off, looks so dear that its plan is compiled each time.
    let compiled = sqlx::query_scalar::<_, String>(
        "SELECT proname::text FROM pg_proc WHERE pronamespace = 'saga'::regnamespace \
         AND 'enable_seqscan=off' = ANY (proconfig) AND 'jit=off' <> ALL (proconfig) ORDER BY 1",
    );
    assert_eq!(compiled.fetch_all(&mut connection).await.unwrap(), [""; 0]);
}
