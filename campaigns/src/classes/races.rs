//! F14: a signal, a cancellation, a time limit and an operator, all at the moment at which the saga's wait ends.

use std::time::Duration;

use saga_core::engine::{OperatorError, Resolution, SignalError};
use saga_core::verify::{Invariant, Violation};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::arena::Arena;
use crate::error::CampaignError;
use crate::ledger::Script;
use crate::notes::{Client, Notes};
use crate::sagas::Order;

/// How many races there are at once.
const RACES: u64 = 120;
/// How many clients share them.
const CLIENTS: u64 = 6;
/// The time limit of a payment's wait.
const WAIT: Duration = Duration::from_secs(3);

/// What came of a race: what clients were told, and whether the saga was cancelled in time.
struct Raced {
    notes: Notes,
    cancelled: bool,
    odd: Option<String>,
}

/// Many races at once.
pub(super) async fn run(arena: &mut Arena) -> Result<(), CampaignError> {
    let nth = arena.count("heats");
    arena.fire("heats");
    let mut races = JoinSet::new();
    for client in 0..CLIENTS {
        let client = std::sync::Arc::new(arena.client(format!("race-{nth}-{client}")).await?);
        for race in 0..RACES / CLIENTS {
            // Around the time limit, each a little off.
            let off: [u64; 4] = std::array::from_fn(|_| arena.random.u64(0..120));
            let client = client.clone();
            races.spawn(async move { one(&client, race, off).await });
        }
    }
    while let Some(raced) = races.join_next().await {
        let Raced { notes, cancelled, odd } = raced?;
        arena.notes.extend(notes);
        *arena.fired.entry("races").or_default() += 1;
        *arena.fired.entry(if cancelled { "cancelled" } else { "cancelled_too_late" }).or_default() += 1;
        arena.found.extend(odd.map(|odd| Violation::new(Invariant::Audit, odd)));
    }
    arena.progress.fired(&arena.fired);
    Ok(())
}

async fn one(client: &Client, race: u64, off: [u64; 4]) -> Raced {
    let (mut notes, key) = (Notes::default(), format!("{}-{race}", client.prefix));
    let order = Order { number: race, cents: 100, goods: 1, script: Script::Fine, ..Order::default() };
    client.start(|sagas| &sagas.payment, "payment", key.clone(), order.clone(), &mut notes).await;
    let at = |nth: usize| Instant::now() + WAIT - Duration::from_millis(60) + Duration::from_millis(off[nth]);
    let [signal_at, cancel_at, operator_at, again_at] = [at(0), at(1), at(2), at(3)];
    let Some(saga) = notes.started.first().map(|started| started.saga) else {
        return Raced { notes, cancelled: false, odd: None };
    };
    let operator = client.engine.operator();
    let (mut signalled, mut started) = (Notes::default(), Notes::default());
    let ((), cancelled, decided, ()) = tokio::join!(
        async {
            tokio::time::sleep_until(signal_at).await;
            client.signal(&key, "paid", &mut signalled).await;
        },
        async {
            // Mostly before the others: one that comes later is too late.
            tokio::time::sleep_until(cancel_at - Duration::from_millis(60)).await;
            operator.cancel(saga, "campaign", "a race").await
        },
        async {
            tokio::time::sleep_until(operator_at).await;
            operator.resolve(saga, "ship", Resolution::Retry, "campaign", "a race").await
        },
        async {
            tokio::time::sleep_until(again_at).await;
            client.start(|sagas| &sagas.payment, "payment", key.clone(), order, &mut started).await;
        },
    );
    notes.extend(signalled);
    notes.extend(started);
    // Each is answered: done, or why not.
    let odd = [cancelled.as_ref().err(), decided.as_ref().err()].into_iter().flatten().find(|error| !is_fair(error));
    Raced { odd: odd.map(|odd| format!("{key}: an operator was told: {odd}")), notes, cancelled: cancelled.is_ok() }
}

/// Whether that may be answered in a race.
fn is_fair(error: &OperatorError) -> bool {
    match error {
        OperatorError::Refused { .. } | OperatorError::Busy { .. } | OperatorError::NotFound { .. } => true,
        // On a machine with too much to do.
        OperatorError::NotSent { source, .. } => matches!(source, SignalError::Unavailable { .. }),
        _ => false,
    }
}
