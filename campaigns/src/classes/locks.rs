//! F15: many sagas want few locks, in any order. None waits for ever, and none is served before one that came earlier.

use std::time::Duration;

use saga_core::verify::{Invariant, Violation};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::arena::Arena;
use crate::error::CampaignError;
use crate::ledger::Script;
use crate::notes::Notes;
use crate::sagas::Order;
use crate::traffic::connect;

/// How many sagas there are at once.
const SAGAS: u64 = 64;
/// And how many entities.
const ENTITIES: u8 = 8;

/// So few places in lines are left when the next crowd comes.
const FEW: i64 = 60;
/// Or when so long has passed.
const CROWD_MAX: Duration = Duration::from_secs(6);

/// Those that wait, and those that have what somebody in front of them waits for.
const LOOK: &str = "SELECT (SELECT count(*) FROM saga.lock WHERE token IS NULL), (SELECT count(*) FROM saga.lock ahead \
    JOIN saga.lock served ON served.key = ahead.key AND ahead.arrival < served.arrival WHERE served.token IS NOT NULL)";
/// Deadlocks that the server had to end.
const DEADLOCKS: &str = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";

/// One crowd before the locks.
pub(super) async fn contend(arena: &mut Arena) -> Result<(), CampaignError> {
    let nth = arena.count("crowds");
    arena.fire("crowds");
    let mut starting = JoinSet::new();
    for saga in 0..SAGAS / 8 {
        let client = arena.client(format!("crowd-{nth}-{saga}")).await?;
        let mut wants: Vec<Vec<String>> = Vec::new();
        for _ in 0..8 {
            let many = arena.random.usize(1..5);
            let entities = arena.random.choose_multiple(0..ENTITIES, many);
            wants.push(entities.into_iter().map(|entity| format!("shelf-{entity}")).collect());
        }
        starting.spawn(async move {
            let mut notes = Notes::default();
            for (number, entities) in wants.into_iter().enumerate() {
                let order = Order { number: number as u64, entities, script: Script::Fine, ..Order::default() };
                let key = format!("{}-{number}", client.prefix);
                client.start(|sagas| &sagas.shelf, "shelf", key, order, &mut notes).await;
            }
            notes
        });
    }
    look(arena, &mut starting).await?;
    while let Some(notes) = starting.join_next().await {
        arena.notes.extend(notes?);
    }
    *arena.fired.entry("contending_sagas").or_default() += SAGAS;
    Ok(())
}

/// Looks at the lines until most have been served.
async fn look(arena: &mut Arena, starting: &mut JoinSet<Notes>) -> Result<(), CampaignError> {
    let mut connection = connect(arena.database.url()).await?;
    let until = Instant::now() + CROWD_MAX;
    loop {
        let (waiting, passed): (i64, i64) = sqlx::query_as(LOOK).fetch_one(&mut connection).await?;
        arena.fire("lock_looks");
        *arena.fired.entry("waiting_seen").or_default() += u64::try_from(waiting).unwrap_or(0);
        if passed > 0 {
            let finding = format!("{passed} sagas have a lock that one in front of them waits for");
            arena.found.push(Violation::new(Invariant::EntityLocks, finding));
        }
        // What is left of the crowd goes on beside the next one.
        if (waiting < FEW && starting.is_empty()) || Instant::now() > until {
            break;
        }
        while let Some(notes) = starting.try_join_next() {
            arena.notes.extend(notes?);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let deadlocks: i64 = sqlx::query_scalar(DEADLOCKS).fetch_one(&mut connection).await?;
    if deadlocks > 0 {
        arena.found.push(Violation::new(Invariant::EntityLocks, format!("{deadlocks} deadlocks in the server")));
    }
    Ok(())
}
