//! F17: workers of one version and of the next, side by side, rolled out and rolled back while sagas of both run.

use std::time::Duration;

use crate::arena::Arena;
use crate::error::CampaignError;
use crate::ledger::Script;
use crate::sagas::{Holds, Order};

/// How many sagas of the next version are started beside each switch.
const SAGAS: u64 = 12;
/// How long a worker may take to stop. One in four is killed instead.
const GRACE: Duration = Duration::from_secs(3);

/// One switch of all workers, one after the other: to the next version, or back to the one before.
pub(super) async fn switch(arena: &mut Arena) -> Result<(), CampaignError> {
    let nth = arena.count("version_switches");
    let holds = if nth.is_multiple_of(2) { Holds::Both } else { Holds::All };
    let client = arena.client(format!("next-{nth}")).await?;
    let mut notes = std::mem::take(&mut arena.notes);
    for place in 0..arena.workers.count() {
        for number in 0..SAGAS / 4 {
            let cents = arena.random.i64(100..10_000);
            let script = if arena.random.u8(0..4) == 0 { Script::Declined } else { Script::Fine };
            let order = Order { number, cents, goods: 1, script, ..Order::default() };
            let key = format!("{}-{place}-{number}", client.prefix);
            client.start(|sagas| &sagas.checkout_2, "checkout", key, order, &mut notes).await;
            *arena.fired.entry("next_version_sagas").or_default() += 1;
        }
        let grace = if arena.random.u8(0..4) == 0 { Duration::ZERO } else { GRACE };
        arena.workers.replace(place, holds, grace).await?;
        arena.pause(100..500).await;
    }
    arena.notes = notes;
    arena.fire("version_switches");
    Ok(())
}

/// In the end there is a worker for each version.
pub(super) async fn finish(arena: &mut Arena) -> Result<(), CampaignError> {
    for place in 0..2 {
        arena.workers.replace(place, Holds::Both, GRACE).await?;
    }
    Ok(())
}
